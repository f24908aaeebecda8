"""A frozen extractor, given or trained first: the corrector's features come from a model that no longer changes."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.dry_run import describe
from ebomlc_dist.engine.load_run import load_trained
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.run_status import truth_in_status
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.run_folder import RunFolder, read_status
from ebomlc_dist.launch.watchdog import Verdict
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.models.hub import load_model
from tests.support.pool import RankPool
from tests.support.runs import alone, outcome, runtime_of, same_tensors, tiny_config, train_until


def with_extractor(folder: Path):
    method = config_from_mapping({"name": "ebomlc", "features": "frozen", "extractor": folder})
    return tiny_config().model_copy(update={"method": method})


def test_a_run_with_a_frozen_extractor(tmp_path: Path) -> None:
    train(tiny_config("ce"), tmp_path / "first", quiet=True, runtime=alone())
    config, runtime = with_extractor(tmp_path / "first" / "model"), alone()
    training = build(config, load_everywhere(config, runtime), runtime)
    extractor = training.networks["extractor"]
    vector, statistics = extractor.vector.detach().clone(), extractor.statistics.clone()
    for step in range(3):
        training.step(training.loader.batch(step))
    assert torch.equal(extractor.vector, vector)
    assert torch.equal(extractor.statistics, statistics)
    assert not extractor.module.training
    summary = train(config, tmp_path / "second", quiet=True, runtime=alone())
    assert summary["finished"]
    assert (tmp_path / "second" / "meta_model" / "model.safetensors").exists()


def test_a_label_corrector_is_no_extractor(tmp_path: Path) -> None:
    train(tiny_config(), tmp_path / "first", quiet=True, runtime=alone())
    config = with_extractor(tmp_path / "first" / "meta_model")
    with pytest.raises(InputError, match="cannot be the extractor"):
        train(config, tmp_path / "second", quiet=True, runtime=alone())


def test_frozen_features_need_an_extractor() -> None:
    with pytest.raises(ValueError, match="go together"):
        config_from_mapping({"name": "ebomlc", "features": "frozen"})


def trained_first(images: str):
    method = config_from_mapping({"name": "ebomlc", "features": "frozen", "extractor_images": images})
    return tiny_config(train={"log_interval": 5}).model_copy(update={"method": method})


@pytest.mark.parametrize(("images", "method"), [("clean", "ce-clean"), ("noisy", "ce")])
def test_the_extractor_is_trained_first_in_one_command(tmp_path: Path, images: str, method: str) -> None:
    config = trained_first(images)
    summary = train(config, tmp_path / "run", quiet=True, runtime=alone())
    assert summary["finished"]
    inner = json.loads((tmp_path / "run" / "extractor" / "summary.json").read_text())
    assert (inner["method"], inner["epochs"], inner["finished"]) == (method, config.train.epochs, True)
    assert summary["extractor"] == {"images": images, "accuracy_last": inner["accuracy_last"]}

    train(tiny_config(method), tmp_path / "alone", quiet=True, runtime=alone())
    expected = dict(load_model(tmp_path / "alone" / "model")[0].state_dict())
    assert same_tensors(dict(load_model(tmp_path / "run" / "extractor" / "model")[0].state_dict()), expected)
    checkpoint = CheckpointStore(tmp_path / "run" / "checkpoints").load()
    assert checkpoint is not None
    assert same_tensors(checkpoint.tensors("extractor"), expected), "it was the one that was used, and it stayed"

    given = with_extractor(tmp_path / "alone" / "model")
    train(given, tmp_path / "given", quiet=True, runtime=alone())
    stored = CheckpointStore(tmp_path / "given" / "checkpoints").load()
    assert stored is not None
    for group in ("main", "meta"):
        assert same_tensors(checkpoint.tensors(group), stored.tensors(group)), "the same as with the file"

    runtime = alone()
    training = load_trained(config, RunFolder(tmp_path / "run"), load_everywhere(config, runtime), runtime)
    assert same_tensors(training.networks["extractor"].state(), expected)


def test_the_start_panel_says_that_an_extractor_is_trained_first(tmp_path: Path) -> None:
    runtime = alone()
    for config, said in ((trained_first("clean"), True), (tiny_config(), False)):
        rows = dict(describe(config, tmp_path, load_everywhere(config, runtime), runtime, {}))
        assert ("extractor" in rows) == said
    assert (
        "on the trusted images, trained first"
        in dict(describe(trained_first("clean"), tmp_path, load_everywhere(config, runtime), runtime, {}))["extractor"]
    )


def test_a_run_that_was_stopped_while_its_extractor_was_trained_goes_on(tmp_path: Path) -> None:
    config = trained_first("clean")
    train_until(config, tmp_path / "straight", alone())

    folder = tmp_path / "stopped"
    # By the run's own STOP file, at the extractor's third step.
    assert train_until(config, folder, alone(), stop_after=3) is None
    status = read_status(folder)
    assert (status.state, status.code) == ("stopped", 75)
    assert not (folder / "STOP").exists()
    assert (folder / "extractor" / "checkpoints").exists()
    assert not (folder / "extractor" / "summary.json").exists()
    assert not (folder / "config.json").exists()

    assert train_until(config, folder, alone()) is not None
    for name in (".", "extractor"):
        tensors, lines, _ = outcome(folder / name)
        expected, expected_lines, _ = outcome(tmp_path / "straight" / name)
        assert same_tensors(tensors, expected)
        assert lines == expected_lines


def on_ranks(communicator: Communicator, folder: Path, stop_after: int | None) -> bool:
    return train_until(trained_first("clean"), folder, runtime_of(communicator), stop_after) is not None


def test_two_ranks_stop_and_go_on_while_the_extractor_is_trained(tmp_path: Path, two_ranks: RankPool) -> None:
    assert two_ranks.run(on_ranks, tmp_path / "straight", None) == [True, True]
    assert two_ranks.run(on_ranks, tmp_path / "stopped", 3) == [False, False]
    assert not (tmp_path / "stopped" / "config.json").exists()
    assert two_ranks.run(on_ranks, tmp_path / "stopped", None) == [True, True]
    assert same_tensors(outcome(tmp_path / "stopped")[0], outcome(tmp_path / "straight")[0])


def test_a_rank_that_is_lost_while_the_extractor_is_trained_fails_both_runs(tmp_path: Path) -> None:
    runtime = replace(alone(), watchdog=SimpleNamespace(listener=None))  # type: ignore[arg-type]
    outer, inner = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run" / "extractor")
    for paths in (outer, inner):
        paths.logs.mkdir(parents=True)
    with truth_in_status(outer, runtime):
        own = runtime.watchdog.listener  # type: ignore[union-attr]
        with truth_in_status(inner, runtime):
            runtime.watchdog.listener(Verdict(1, 7, "rank 1 is gone"), True)  # type: ignore[union-attr]
        assert runtime.watchdog.listener is own  # type: ignore[union-attr]
    assert runtime.watchdog.listener is None  # type: ignore[union-attr]
    for paths in (outer, inner):
        status = read_status(paths.root)
        assert (status.state, status.reason) == ("failed", "rank 1 is gone")


def test_bad_input_is_refused_before_the_extractor_is_trained(tmp_path: Path) -> None:
    method = {"name": "ebomlc", "features": "frozen", "extractor_images": "clean", "lower_objective": "with_clean"}
    config = tiny_config(train={"global_clean_batch_size": 1}).model_copy(
        update={"method": config_from_mapping(method)}
    )
    with pytest.raises(InputError, match="cannot be split into an upper and a lower half"):
        train(config, tmp_path, quiet=True, runtime=alone())
    assert not (tmp_path / "extractor").exists()
