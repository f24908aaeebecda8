"""What must come before what where work is queued on several streams or groups, by the order of the calls."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.fsdp import ShardedModule
from ebomlc_dist.distributed.zero import ZeroModule
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.testing.problem import SmallNet
from tests.support.pool import RankPool


class NotedStream:
    """A stream of FSDP's that notes when it is told to wait for the current one, and when it gathers."""

    def __init__(self, name: str, stream: Any, notes: list[str]) -> None:
        self._name, self._stream, self._notes = name, stream, notes

    def wait_stream(self, other: Any) -> None:
        if not isinstance(other, NotedStream):
            self._notes.append(f"{self._name} waits")

    def record_event(self) -> Any:
        self._notes.append(f"{self._name} is used")
        return self._stream.record_event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def noted_passes(communicator: Communicator) -> list[str]:
    """A backward pass whose point was written after its forward pass, as a look-ahead's is."""
    torch.manual_seed(0)
    network, notes = ShardedModule(SmallNet(batch_norm=False), communicator), []
    objective = network(torch.randn(4, 1, 6, 6))[0].square().sum()
    context = network.module._get_fsdp_state()._comm_ctx  # type: ignore[operator, union-attr]
    context.all_gather_copy_in_stream = NotedStream("copy-in", context.all_gather_copy_in_stream, notes)
    context.all_gather_stream = NotedStream("gather", context.all_gather_stream, notes)
    copy = torch._foreach_copy_

    def noted_copy(held: list[Tensor], pieces: list[Tensor]) -> Any:
        notes.append("copied")
        return copy(held, pieces)

    torch._foreach_copy_ = noted_copy
    try:
        network.place(network.vector + 0.1)
        gradients(objective, [network])
    finally:
        torch._foreach_copy_ = copy
    return notes


def test_gathers_of_a_backward_pass_wait_for_what_was_written(two_ranks: RankPool) -> None:
    for notes in two_ranks.run(noted_passes):
        # Two points are put in place; then FSDP copies in what it gathers.
        assert notes[:8] == 2 * ["copied", "copy-in waits", "gather waits"] + ["copied", "gather is used"]


class Handle:
    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def wait(self) -> None:
        self._notes.append("waited for the mean")


class Reducing(Communicator):
    """Of two ranks, whose all-reduce is noted and not carried out."""

    def __init__(self, notes: list[str]) -> None:
        super().__init__(torch.device("cpu"), world_size=2)
        self.notes = notes


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def all_reduce(buffer: Tensor, **_: object) -> Handle:
        found.append("mean under way")
        return Handle(found)

    monkeypatch.setattr("torch.distributed.all_reduce", all_reduce)
    return found


def zero_of(communicator: Communicator, stage: int, notes: list[str]) -> ZeroModule:
    """One whose engine notes what it is asked for."""
    network = ZeroModule.__new__(ZeroModule)
    network._communicator, network._stage = communicator, stage
    network._engine = SimpleNamespace(backward=lambda total, retain_graph: notes.append("DeepSpeed sums"))
    network.run = lambda module, *inputs: notes.append("DeepSpeed gathers")  # type: ignore[method-assign]
    network.module = torch.nn.Identity()
    return network


@pytest.mark.parametrize(
    ("stage", "act", "said"),
    [
        (1, lambda network: network.backward(torch.ones(()), False), "DeepSpeed sums"),
        (3, lambda network: network.backward(torch.ones(()), False), "DeepSpeed sums"),
        (3, lambda network: network._pass(torch.ones(1)), "DeepSpeed gathers"),
    ],
)
def test_one_group_at_a_time_is_under_way(
    stage: int, act: Callable[[ZeroModule], object], said: str, notes: list[str]
) -> None:
    communicator = Reducing(notes)
    pending = communicator.mean_of_sums([torch.ones(3)], 2)
    act(zero_of(communicator, stage, notes))
    assert notes == ["mean under way", "waited for the mean", said]
    (mean,) = pending.wait()
    assert mean.tolist() == [0.5] * 3
    assert communicator._under_way == []


def test_stages_that_gather_nothing_in_a_pass_let_the_mean_go_on(notes: list[str]) -> None:
    communicator = Reducing(notes)
    communicator.mean_of_sums([torch.ones(3)], 2)
    zero_of(communicator, 2, notes)._pass(torch.ones(1))
    assert notes == ["mean under way", "DeepSpeed gathers"]
