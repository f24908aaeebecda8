"""Whole runs on spread main models: as replicated ones, and each continues what the other began."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.zero import installed
from ebomlc_dist.engine import build
from ebomlc_dist.engine.load_run import load_trained, stored_config
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.strategies import check_strategy
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.models.hub import load_model
from tests.support.pool import RankPool
from tests.support.runs import alone, outcome, runtime_of, same_tensors, tiny_config, train_until

# Two epochs of five steps in float32; sums of squares and of gradients are formed in another order.
BOUND = 1e-5
STOP_AFTER = 7


with_deepspeed = pytest.mark.skipif(not installed(), reason="DeepSpeed is not installed")
ZERO = [pytest.param(f"zero{stage}", marks=[with_deepspeed, pytest.mark.slow]) for stage in (1, 2, 3)]


def run(communicator: Communicator, folder: Path, strategy: str, stop_after: int | None = None) -> None:
    if strategy.startswith("zero"):
        # As launchers set it; DeepSpeed asks for it. The ranks are processes of their own.
        os.environ["LOCAL_RANK"] = str(communicator.rank)
    train = {"global_noisy_batch_size": 60, "epochs": 2, "strategy": strategy}
    train_until(tiny_config("ebomlc-s", train=train), folder, runtime_of(communicator), stop_after)


def run_fast(communicator: Communicator, folder: Path, strategy: str) -> None:
    """A network part of whose weights is fixed, with a moving average of the others."""
    if strategy.startswith("zero"):
        os.environ["LOCAL_RANK"] = str(communicator.rank)
    train = {"global_noisy_batch_size": 60, "epochs": 2, "strategy": strategy, "weight_average": 0.9}
    model = {"name": "fast-cnn", "widths": (8, 8, 16)}
    config = tiny_config("ebomlc-s", train=train, model=model, data={"image_size": 16})
    # Sharded weights lie as torch has them. Its sums go in another order over others, and weights here reach 30.
    original = build.takes_channels_last
    build.takes_channels_last = lambda *_: False
    try:
        train_until(config, folder, runtime_of(communicator))
    finally:
        build.takes_channels_last = original


def furthest(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference in parameters and momentum."""
    assert found.keys() == expected.keys()
    names = [name for name in expected if name.startswith(("main/", "meta/", "optimizer-main/"))]
    return max(float((found[n] - expected[n]).abs().max()) for n in names if expected[n].is_floating_point())


@pytest.fixture
def replicated(tmp_path: Path, two_ranks: RankPool) -> Path:
    two_ranks.run(run, tmp_path / "replicated", "replicated")
    return tmp_path / "replicated"


@pytest.mark.parametrize("strategy", ["fsdp", *ZERO])
def test_a_spread_run_ends_where_the_replicated_one_does(
    tmp_path: Path, two_ranks: RankPool, replicated: Path, strategy: str
) -> None:
    folder = tmp_path / strategy
    two_ranks.run(run, folder, strategy)
    assert 0 < furthest(outcome(folder)[0], outcome(replicated)[0]) < BOUND
    spread, whole = (load_model(RunFolder(place).model)[0].state_dict() for place in (folder, replicated))
    assert spread.keys() == whole.keys()
    assert all(torch.allclose(spread[name], whole[name], atol=BOUND) for name in whole)


@pytest.mark.parametrize("strategy", ["fsdp", *ZERO])
def test_fixed_weights_stay_and_an_average_is_kept_where_a_model_is_spread(
    tmp_path: Path, two_ranks: RankPool, strategy: str
) -> None:
    found = {}
    for name in ("replicated", strategy):
        two_ranks.run(run_fast, tmp_path / name, name)
        found[name] = outcome(tmp_path / name)[0]
    assert 0 < furthest(found[strategy], found["replicated"]) < BOUND
    fixed = [name for name in found["replicated"] if name.endswith(("whitening.weight", "norm1.weight"))]
    assert len(fixed) == 4
    assert all(torch.equal(found[strategy][name], found["replicated"][name]) for name in fixed)
    averaged = [name for name in found["replicated"] if name.startswith("average-main/")]
    assert averaged
    assert all(torch.allclose(found[strategy][name], found["replicated"][name], atol=BOUND) for name in averaged)


@pytest.mark.parametrize("strategy", ["fsdp", *ZERO])
def test_a_spread_run_continues_bit_for_bit(tmp_path: Path, two_ranks: RankPool, strategy: str) -> None:
    two_ranks.run(run, tmp_path / "control", strategy)
    two_ranks.run(run, tmp_path / "stopped", strategy, STOP_AFTER)
    two_ranks.run(run, tmp_path / "stopped", strategy)
    assert same_tensors(outcome(tmp_path / "stopped")[0], outcome(tmp_path / "control")[0])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("replicated", "fsdp"),
        ("fsdp", "replicated"),
        *(
            pytest.param(*pair, marks=[with_deepspeed, pytest.mark.slow])
            for pair in (("zero1", "fsdp"), ("fsdp", "zero3"), ("zero3", "replicated"), ("replicated", "zero2"))
        ),
    ],
)
def test_one_strategy_continues_what_the_other_began(
    tmp_path: Path, two_ranks: RankPool, replicated: Path, first: str, second: str
) -> None:
    folder = tmp_path / "changed"
    two_ranks.run(run, folder, first, STOP_AFTER)
    half = outcome(folder)[0]
    two_ranks.run(run, folder, second)
    tensors, _, summary = outcome(folder)
    assert summary["finished"] is True
    expected = outcome(replicated)[0]
    assert furthest(tensors, expected) < BOUND < furthest(half, expected)


def test_one_process_opens_what_was_trained_spread(tmp_path: Path, two_ranks: RankPool) -> None:
    two_ranks.run(run, tmp_path, "fsdp")
    config = stored_config(RunFolder(tmp_path))
    opened = load_trained(config, RunFolder(tmp_path), load_everywhere(config, alone()), alone()).networks["main"]
    trained = load_model(RunFolder(tmp_path).model)[0].state_dict()
    assert opened.whole
    assert all(torch.equal(tensor, trained[name]) for name, tensor in opened.state().items())


def test_one_process_continues_what_two_began_spread(tmp_path: Path, two_ranks: RankPool) -> None:
    two_ranks.run(run, tmp_path, "fsdp", STOP_AFTER)
    begun = outcome(tmp_path)[0]
    run(Communicator(torch.device("cpu")), tmp_path, "replicated")
    tensors, _, summary = outcome(tmp_path)
    assert summary["finished"] is True
    assert summary["world_size"] == 1
    assert {n: t.shape for n, t in tensors.items() if n.startswith("main/")} == {
        n: t.shape for n, t in begun.items() if n.startswith("main/")
    }


@pytest.mark.parametrize(
    ("method", "settings", "train", "world_size", "line"),
    [
        ("ebomlc", {}, {}, 1, "--num-processes"),
        ("ebomlc", {}, {"compile": True}, 2, "--compile"),
        ("ebomlc", {}, {"cuda_graph": True}, 2, "--cuda-graph"),
        ("mlc", {}, {}, 2, "hypergradient=finite_difference"),
        ("l2rw", {"hypergradient": "double_backward"}, {}, 2, "hypergradient=finite_difference"),
    ],
)
def test_what_cannot_be_spread_is_refused_with_what_can(
    method: str, settings: dict, train: dict, world_size: int, line: str
) -> None:
    config = tiny_config(method, train=train | {"strategy": "fsdp"})
    config = config.model_copy(update={"method": config_from_mapping({"name": method, **settings})})
    with pytest.raises(InputError, match=line):
        check_strategy(config, world_size)


@pytest.mark.parametrize("method", ["ebomlc", "ebomlc-s", "mlc-d", "glc", "ce", "dividemix", "coteaching-plus"])
def test_methods_without_a_hypergradient_are_not(method: str) -> None:
    check_strategy(tiny_config(method, train={"strategy": "fsdp"}), 2)
