"""A run goes on from a checkpoint whatever order its weights had in memory when it was written."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from ebomlc_dist.engine import build
from ebomlc_dist.engine.load_run import load_trained, stored_config
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.files.run_folder import RunFolder
from tests.support.runs import alone, outcome, tiny_config, train_until

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 6


def inputs_before_outputs(patch: pytest.MonkeyPatch) -> None:
    """Weights lie as torch makes them, (O, I, H, W)."""
    patch.setattr(build, "takes_channels_last", lambda *_: False)


def near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Float32 sums in another order."""
    if found.keys() != expected.keys():
        return False
    return all(
        torch.allclose(tensor.double(), expected[name].double(), rtol=1e-3, atol=1e-4)
        for name, tensor in found.items()
        if not name.startswith("ranks/")
    )


def moved(found: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in found.items() if name.startswith(f"{group}/")}


@pytest.mark.parametrize("group", ["main", "average-main", "optimizer-main"])
def test_a_run_goes_on_in_the_other_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    """Weights, their average and momentum keep their meaning: the next steps are the same up to rounding."""
    train = {"epochs": 2, "weight_average": 0.9, "checkpoint_steps": 1}
    config = tiny_config("ebomlc", train=train)
    with monkeypatch.context() as patch:
        inputs_before_outputs(patch)
        train_until(config, tmp_path / "whole", alone(), STEPS)
        train_until(config, tmp_path / "changed", alone(), STEPS - 2)
    before = outcome(tmp_path / "changed")[0]
    assert all(tensor.is_contiguous() for tensor in before.values())
    train_until(config, tmp_path / "changed", alone(), STEPS)
    found, expected = outcome(tmp_path / "changed")[0], outcome(tmp_path / "whole")[0]
    assert near(moved(found, group), moved(expected, group))
    assert not near(moved(before, group), moved(expected, group)), "two steps do not show"


def test_a_finished_run_in_the_other_order_is_opened_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config("ebomlc", train={"epochs": 1})
    with monkeypatch.context() as patch:
        inputs_before_outputs(patch)
        train_until(config, tmp_path, alone())
    paths = RunFolder(tmp_path)
    stored = stored_config(paths)
    opened = load_trained(stored, paths, load_everywhere(stored, alone()), alone())
    expected = moved(outcome(tmp_path)[0], "main")
    for name, tensor in opened.networks["main"].state().items():
        assert torch.equal(tensor, expected[f"main/{name}"])
    momentum = opened.optimizers["main"].state()["momentum_buffer"]
    for name, tensor in opened.networks["main"].named(momentum).items():
        assert torch.equal(tensor, outcome(tmp_path)[0][f"optimizer-main/momentum_buffer/{name}"])
