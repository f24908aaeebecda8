"""The steps of every method on a sharded main model: those of the replicated one."""


import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.fsdp import ShardedModule
from ebomlc_dist.numerics.flat import FlatModule
from ebomlc_dist.numerics.network import Network
from tests.methods.rows import CASES
from tests.support.pool import RankPool
from tests.support.problem import Sizes, make_learner, run_steps

STEPS = 5
SIZES = Sizes(noisy=11, clean=7, lower_clean=5)
State = dict[str, Tensor]


def sharded(module: nn.Module, communicator: Communicator) -> ShardedModule:
    mesh = DeviceMesh.from_group(dist.group.WORLD, "cpu")
    return ShardedModule(module, mesh, communicator.sum)


def state_of(networks: dict[str, Network]) -> State:
    return {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state().items()}


def on_a_rank(communicator: Communicator, method: str, settings: dict, kind: str) -> State:
    def wrap(name: str, module: nn.Module) -> Network:
        spread = kind == "fsdp" and name in ("main", "peer")
        return sharded(module, communicator) if spread else FlatModule(module)

    learner = make_learner(method, communicator, wrap=wrap, **settings)
    run_steps(learner, STEPS, communicator.rank, communicator.world_size, SIZES)
    return state_of(learner.networks)


@pytest.mark.parametrize(("method", "settings"), CASES, ids=str)
def test_five_steps_are_those_of_the_replicated_model(two_ranks: RankPool, method: str, settings: dict) -> None:
    whole = two_ranks.run(on_a_rank, method, settings, "replicated")
    spread = two_ranks.run(on_a_rank, method, settings, "fsdp")
    for found, expected in zip(spread, whole, strict=True):
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(found[name], tensor, rtol=1e-9, atol=1e-11, msg=lambda m, n=name: f"{n}: {m}")
