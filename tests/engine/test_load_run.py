"""A finished run is opened as it was when it ended."""

from pathlib import Path

from ebomlc_dist.engine.load_run import load_trained, stored_config
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.run import train
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.methods.contract import Streams
from tests.support.runs import alone, tiny_config


def last_streams(folder: Path, method: str, **train_settings: bool) -> Streams:
    """What the reopened method's images are drawn from."""
    config = tiny_config(method, train={"epochs": 2, **train_settings})
    train(config, folder, quiet=True, runtime=alone())
    paths = RunFolder(folder)
    stored = stored_config(paths)
    return load_trained(stored, paths, load_everywhere(stored, alone()), alone()).method.streams


def test_what_was_held_out_to_the_end_is_held_out_still(tmp_path: Path) -> None:
    assert last_streams(tmp_path, "ebomlc-s", epoch_scores=True).held_out == 0.2


def test_a_method_of_two_stages_is_in_its_second(tmp_path: Path) -> None:
    assert last_streams(tmp_path, "glc").noisy_images == "union"
