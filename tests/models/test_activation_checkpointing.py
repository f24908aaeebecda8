"""Blocks that are computed again on the way back: the same steps, bit for bit, for less memory."""

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.models import activation_checkpointing
from ebomlc_dist.models.activation_checkpointing import recompute_blocks
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.testing.problem import SmallNet, make_learner, run_steps
from tests.methods.rows import CASES
from tests.support.blocks import BlockNet

STEPS = 3


def wrapped(prepare: Callable[[nn.Module], object]) -> Callable[[str, nn.Module], FlatNetwork]:
    def wrap(name: str, module: nn.Module) -> FlatNetwork:
        if name in ("main", "peer"):
            prepare(module)
        return FlatNetwork(module)

    return wrap


def again(module: nn.Module) -> None:
    assert recompute_blocks(module, whole=True) == 2


def state_after(method: str, settings: dict, prepare: Callable[[nn.Module], object]) -> dict[str, Tensor]:
    alone = Communicator(torch.device("cpu"))
    learner = make_learner(method, alone, wrap=wrapped(prepare), main_model=BlockNet, **settings)
    run_steps(learner, STEPS)
    return learner.state()


def differing(method: str, settings: dict, prepare: Callable[[nn.Module], object]) -> list[str]:
    plain, found = state_after(method, settings, lambda module: None), state_after(method, settings, prepare)
    return [name for name, tensor in plain.items() if not torch.equal(found[name], tensor)]


@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_every_method_takes_the_same_steps(method: str, settings: dict) -> None:
    assert differing(method, settings, again) == []


def test_statistics_that_move_twice_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation_checkpointing, "_Unmoved", lambda tensors: nullcontext())
    assert "main.statistics" in differing("ebomlc", {}, again)


def test_parameters_that_are_not_in_force_are_seen() -> None:
    settings = {"hypergradient": "finite_difference"}
    assert "meta.vector" in differing("mlc", settings, lambda module: recompute_blocks(module, whole=False))


def test_less_is_kept_for_the_way_back() -> None:
    assert 2 * kept(again) < kept(lambda module: None)


def kept(prepare: Callable[[nn.Module], object]) -> int:
    """Bytes of activations that a pass keeps."""
    module = BlockNet(batch_norm=True)
    prepare(module)
    network, images = FlatNetwork(module), torch.randn(16, 1, 10, 10)
    own = {p.data_ptr() for p in module.parameters()}
    found: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            found[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits, _ = network(images)
    size = sum(found.values())
    gradients(logits.sum(), [network])
    return size


def test_a_network_without_blocks_has_none_to_compute_again() -> None:
    assert recompute_blocks(SmallNet(batch_norm=True), whole=True) == 0
