"""The steps of every method on a sharded main model: those of the replicated one."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.fsdp import ShardedModule, mesh_of
from ebomlc_dist.numerics.flat import FlatModule
from ebomlc_dist.numerics.network import Network, Summed
from tests.methods.rows import CASES
from tests.support.pool import RankPool
from tests.support.problem import Sizes, SmallNet, make_learner, run_steps

STEPS = 5
SIZES = Sizes(noisy=11, clean=7, lower_clean=5)
State = dict[str, Tensor]


def sharded(module: nn.Module, communicator: Communicator, kind: type[ShardedModule]) -> ShardedModule:
    return kind(module, mesh_of(communicator), communicator.sum)


def state_of(networks: dict[str, Network]) -> State:
    return {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state().items()}


def on_a_rank(communicator: Communicator, method: str, settings: dict, kind: str) -> State:
    def wrap(name: str, module: nn.Module) -> Network:
        spread = kind != "replicated" and name in ("main", "peer")
        return sharded(module, communicator, CONTROLS.get(kind, ShardedModule)) if spread else FlatModule(module)

    learner = make_learner(method, communicator, wrap=wrap, **settings)
    run_steps(learner, STEPS, communicator.rank, communicator.world_size, SIZES)
    return state_of(learner.networks)


def sharded_too(settings: dict) -> bool:
    return settings.get("hypergradient", "forward_mode") == "finite_difference"


HYPERGRADIENT = ("mlc", "l2rw", "mw-net", "pmw-net")
RUN = [(m, s) for m, s in CASES if m not in HYPERGRADIENT or sharded_too(s)]
QUICK = ("ebomlc", "mlc-d", "ce", "dividemix", "l2rw")
# A difference of two passes, divided by a length of 1e-2 at most, carries rounding that much further.
DIFFERENCE = {"rtol": 1e-6, "atol": 1e-8}
EXACT = {"rtol": 1e-9, "atol": 1e-11}


@pytest.mark.parametrize(
    ("method", "settings"),
    [pytest.param(m, s, marks=() if m in QUICK else pytest.mark.slow) for m, s in RUN],
    ids=str,
)
def test_five_steps_are_those_of_the_replicated_model(two_ranks: RankPool, method: str, settings: dict) -> None:
    whole = two_ranks.run(on_a_rank, method, settings, "replicated")
    spread = two_ranks.run(on_a_rank, method, settings, "fsdp")
    bounds = DIFFERENCE if method in HYPERGRADIENT else EXACT
    for found, expected in zip(spread, whole, strict=True):
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, **bounds, msg=lambda m, n=name: f"{n}: {m}")


class OwnShardAlone(ShardedModule):
    """Inner products of this rank's part only."""

    def dots(self, *pairs: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        return tuple(torch.dot(first, second).double() for first, second in pairs)


class StaysAhead(ShardedModule):
    """A look-ahead whose point is left in the shards."""

    def __call__(self, *inputs: Tensor) -> object:
        return self._pass(*inputs)


class Averaged(ShardedModule):
    """Gradients divided by the number of ranks, as data parallel wrappers do."""

    def collect(self, pieces: Sequence[Tensor | None]) -> Summed:
        return Summed(super().collect(pieces).part / 2)


CONTROLS = {"own": OwnShardAlone, "ahead": StaysAhead, "averaged": Averaged}


@pytest.mark.parametrize("kind", CONTROLS)
def test_the_comparison_can_fail(two_ranks: RankPool, kind: str) -> None:
    settings = {"barrier_strength": 0.5}
    (expected, _) = two_ranks.run(on_a_rank, "ebomlc", settings, "replicated")
    (found, _) = two_ranks.run(on_a_rank, "ebomlc", settings, kind)
    assert any((found[name] - expected[name]).abs().max() > 1e-6 for name in expected if name.startswith("main"))


def test_a_look_ahead_leaves_no_bit_behind(two_ranks: RankPool) -> None:
    assert two_ranks.run(ahead_and_back) == [True, True]


def ahead_and_back(communicator: Communicator) -> bool:
    torch.manual_seed(3)
    network = sharded(SmallNet(batch_norm=True), communicator, ShardedModule)
    images = torch.randn(4, 1, 6, 6)
    with torch.no_grad():
        before = network.state()
        network.at(network.vector + 0.1, images)
        network(images)
        after = network.state()
        placed = network.named(torch.cat([p.to_local().reshape(-1) for p in network.module.parameters()]))
    return all(torch.equal(before[n], after[n]) for n in network.shapes) and all(
        torch.equal(placed[n], before[n]) for n in network.shapes
    )
