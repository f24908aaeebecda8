"""A run whose images followed their own size keeps the size that it found."""

from pathlib import Path

from ebomlc_dist.api import load
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.engine.load_run import stored_config
from ebomlc_dist.engine.run import train
from ebomlc_dist.files.run_folder import RunFolder
from tests.data.support import write_image, write_tree
from tests.support.runs import alone, tiny_config


def test_the_size_that_was_found_stays_with_the_run(tmp_path: Path) -> None:
    data = write_tree(tmp_path / "data", ("train", "test")).model_copy(update={"image_size": "auto"})
    for number, place in enumerate(sorted((tmp_path / "data").rglob("*.png"))):
        write_image(place, (90, 100), seed=number)
    config = tiny_config("ce", noise={"kind": "none"}, model={"name": "resnet8"}).model_copy(update={"data": data})
    train(config, tmp_path / "run", quiet=True, runtime=alone())
    # The same command goes on, as it asks for the same.
    train(config, tmp_path / "run", quiet=True, runtime=alone(), resume=True)
    stored = stored_config(RunFolder(tmp_path / "run"))
    assert stored.data.image_size == 64
    # By the stored size and split the data are those of the run.
    dataset = load_dataset(stored.data, stored.noise, stored.seeds, needs_clean=False)
    assert dataset.images.shape == (6, 3, 64, 64)
    assert load(tmp_path / "run").evaluate()["num_test"] == 6
