"""Threads and precision that a run chooses on a CPU by real steps that are thrown away."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine import trials
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.dry_run import preview
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.trials import settle
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.launch import cores
from ebomlc_dist.sweeps.cells import cells_of
from ebomlc_dist.sweeps.grid import grid_from
from tests.support.pool import RankPool
from tests.support.runs import alone, assert_same, outcome, runtime_of, same_tensors, tiny_config, train_until

Times = dict[int, float]
SMALL: Times = {1: 0.001, 2: 0.004, 4: 0.02, 8: 0.6}
LARGE: Times = {1: 8.0, 2: 4.1, 4: 2.2, 8: 1.2}


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody chose, and the process has its threads back afterwards."""
    before = torch.get_num_threads()
    for name in cores.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(trials, "share_of_cores", lambda: 8)
    yield
    torch.set_num_threads(before)


def long(method: str = "ce", **changes: dict) -> RunConfig:
    """A run of 100 steps."""
    train = {"epochs": 20, "global_noisy_batch_size": 60, **changes.pop("train", {})}
    return tiny_config(method, train=train, **changes)


@pytest.fixture
def taking(monkeypatch: pytest.MonkeyPatch) -> Callable[[Times], list[int]]:
    """Makes steps take a time by the number of threads; returns the numbers that were tried, in order."""

    def make(times: Times) -> list[int]:
        tried: list[int] = []

        def timed(take: Callable[[], None]) -> float:
            take()
            if torch.get_num_threads() not in tried:
                tried.append(torch.get_num_threads())
            return times[torch.get_num_threads()]

        monkeypatch.setattr(trials, "_timed", timed)
        return tried

    return make


def settled(config: RunConfig, paths: RunFolder | None = None) -> tuple[RunConfig, dict[str, str], int]:
    found, notes = settle(config, load_everywhere(config, alone()), alone(), paths)
    return found, notes, torch.get_num_threads()


@pytest.mark.parametrize(
    ("times", "found", "tried"),
    [
        (SMALL, 1, [8, 4, 2, 1]),
        # Where half the threads take much longer, a quarter is not tried.
        (LARGE, 8, [8, 4]),
        # About alike: the fewest.
        ({1: 2.0, 2: 1.04, 4: 1.0, 8: 1.02}, 2, [8, 4, 2, 1]),
    ],
)
def test_the_fewest_threads_that_real_steps_are_fastest_with(
    taking: Callable[[Times], list[int]], times: Times, found: int, tried: list[int]
) -> None:
    asked = taking(times)
    _, notes, threads = settled(long())
    assert (threads, asked) == (found, tried)
    assert f"{1000 * times[found]:.1f} ms a step with {found}" in notes["threads"]


def test_a_choice_stands_and_so_does_the_share_where_results_must_repeat(
    taking: Callable[[Times], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = taking(SMALL)
    torch.set_num_threads(3)
    for config in (long(train={"deterministic": True}), tiny_config("ce")):
        assert settled(config)[1:] == ({}, 3)
    for name in cores.VARIABLES:
        with monkeypatch.context() as patch:
            patch.setenv(name, "5")
            assert settled(long())[1:] == ({}, 3)
            assert cores.chosen_threads() == 5
    # A launcher's own 1 is nobody's choice.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores.chosen_threads() == 1
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert cores.chosen_threads() is None
    assert tried == []


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, 7),
        ({"cpu.max": "max 100000"}, 7),
        ({"cpu.max": "250000 100000"}, 3),
        ({"cpu.max": "5000 100000"}, 1),
        ({"cpu.max": "9900000 100000"}, 7),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 7),
        ({"cpu.max": "what"}, 7),
    ],
)
def test_a_containers_quota_is_kept_to(
    files: dict[str, str], found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    monkeypatch.setattr(cores, "_CGROUP", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores.available_cores() == found


@pytest.mark.parametrize("value", ["abc", "0", "-1", "", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBOMLC_NUM_THREADS", value)
    with pytest.raises(InputError, match=r"EBOMLC_NUM_THREADS=.* is no number of threads"):
        cores.chosen_threads()


def test_the_trial_leaves_nothing_and_the_run_says_what_it_chose(
    taking: Callable[[Times], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    config = long("ebomlc", meta_model={"dropout": 0.2})
    tried = taking(SMALL)
    before = torch.get_num_threads()
    train(config, tmp_path / "tried", panel=True, quiet=True, runtime=alone())
    assert tried == [8, 4, 2, 1]
    assert "1 thread(s) each (tried: 1.0 ms a step with 1," in capsys.readouterr().err
    assert torch.get_num_threads() == before
    assert json.loads((tmp_path / "tried" / "environment.json").read_text())["threads"] == 1
    monkeypatch.setenv("EBOMLC_NUM_THREADS", "1")
    torch.set_num_threads(1)
    train(config, tmp_path / "chosen", quiet=True, runtime=alone())
    assert_same(tmp_path / "tried", tmp_path / "chosen")
    # The comparison sees one step too many.
    monkeypatch.setattr(trials, "_trial", trials._trial.__wrapped__)
    other = config.model_copy(update={"seeds": config.seeds.model_copy(update={"seed": 1})})
    train(other, tmp_path / "other", quiet=True, runtime=alone())
    assert not same_tensors(outcome(tmp_path / "other")[0], outcome(tmp_path / "chosen")[0])


def test_a_run_goes_on_with_the_threads_that_it_began_with(
    taking: Callable[[Times], list[int]], tmp_path: Path
) -> None:
    tried = taking(SMALL)
    assert train_until(long(), tmp_path / "run", alone(), stop_after=7) is None
    tried.clear()
    found = settled(long(), RunFolder(tmp_path / "run"))
    assert found[1:] == ({"threads": "as the run began"}, 1)
    assert tried == []
    environment = tmp_path / "run" / "environment.json"
    environment.write_text(json.dumps(json.loads(environment.read_text()) | {"threads": 4}))
    assert settled(long(), RunFolder(tmp_path / "run"))[2] == 4


def on_ranks(communicator: Communicator, config: RunConfig) -> tuple[int, str]:
    """The number that this rank settles on, where the second rank is slow with two threads alone."""
    times = [{1: 0.3, 2: 0.26}, {1: 0.3, 2: 0.9}][communicator.rank]
    original, before = (trials._timed, trials.share_of_cores), torch.get_num_threads()
    chosen = {name: os.environ.pop(name) for name in cores.VARIABLES if name in os.environ}

    def timed(take: Callable[[], None]) -> float:
        take()
        return times[torch.get_num_threads()]

    trials._timed, trials.share_of_cores = timed, lambda: 2
    try:
        runtime = runtime_of(communicator)
        _, notes = settle(config, load_everywhere(config, runtime), runtime)
        return torch.get_num_threads(), notes["threads"]
    finally:
        os.environ.update(chosen)
        trials._timed, trials.share_of_cores = original
        torch.set_num_threads(before)


def test_the_slowest_rank_decides_for_all(two_ranks: RankPool) -> None:
    found = two_ranks.run(on_ranks, long(model={"norm": "group"}))
    assert found == [(1, "tried: 300.0 ms a step with 1, 900.0 ms a step with 2")] * 2


@pytest.mark.parametrize(
    ("has", "speeds", "found"),
    [(True, {"no": 1.0, "bf16": 0.5}, "bf16"), (True, {"no": 1.0, "bf16": 0.95}, "no"), (False, {}, "no")],
)
def test_auto_is_bf16_where_the_processor_has_it_and_is_faster(
    has: bool, speeds: dict[str, float], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EBOMLC_NUM_THREADS", "1")
    monkeypatch.setattr(trials, "has_bf16", lambda: has)
    built: list[str] = []

    def building(config: RunConfig, *rest: object) -> object:
        built.append(config.train.precision)
        return build(config, *rest)

    monkeypatch.setattr(trials, "build", building)
    monkeypatch.setattr(trials, "_timed", lambda take: speeds[built[-1]])
    config, notes, _ = settled(long(train={"precision": "auto"}))
    assert config.train.precision == found
    assert built == list(speeds)
    assert notes["train.precision"].startswith("auto: ")


def test_a_run_stores_what_auto_stood_for_and_goes_on_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("EBOMLC_NUM_THREADS", "1")
    monkeypatch.setattr(trials, "_precision", lambda *_, **__: ("bf16", "auto: it is faster"))
    config = long(train={"precision": "auto"})
    assert train_until(config, tmp_path / "run", alone(), stop_after=7) is None
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["precision"] == "bf16"
    monkeypatch.setattr(trials, "_precision", lambda *_, **__: pytest.fail("chosen anew"))
    train(config, tmp_path / "run", resume=True, quiet=True, panel=True, runtime=alone())
    assert "precision: bf16 (from auto: as the run began)" in capsys.readouterr().err
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["precision"] == "bf16"


def test_a_preview_says_what_auto_stands_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trials, "_precision", lambda *_, **__: ("bf16", "auto: it is faster"))
    rows = dict(preview(long(train={"precision": "auto"}), tmp_path, alone(), {}, time_steps=False))
    assert rows["precision"] == "bf16 (from auto: it is faster)"


def test_where_runs_are_compared_auto_is_refused() -> None:
    grid = grid_from({"recipes": ["digits:tiny"], "set": {"train.precision": "auto"}}, "a test", "grid")
    with pytest.raises(InputError, match=r"choose no, bf16 or fp16, not auto"):
        cells_of(grid)
    config = tiny_config("ce", train={"precision": "auto"})
    with pytest.raises(InputError, match=r"chosen by a run for its machine"):
        build(config, load_everywhere(config, alone()), alone())
