"""How a network is held: whole on every rank, or spread over them."""

import torch
from torch import nn

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.fsdp import ShardedModule, mesh_of
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.errors import InputError
from ebomlc_dist.numerics.flat import FlatModule
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import Network

MAIN_MODELS = ("main", "peer")
"""The networks that a strategy spreads; the others are small, and steer."""


def check_strategy(config: RunConfig, world_size: int) -> None:
    """Raise `InputError` where the strategy of ``config`` cannot take its steps, with what does."""
    if config.train.strategy == "replicated":
        return
    asked = f"--strategy {config.train.strategy}"
    if world_size == 1:
        raise InputError(
            f"{asked} spreads a model over processes and there is one; give --num-processes, or leave it out"
        )
    for flag, on in (("--compile", config.train.compile), ("--cuda-graph", config.train.cuda_graph)):
        if on:
            raise InputError(
                f"{asked} gathers parameters within a pass, which {flag} cannot hold; leave one of them out"
            )
    mode = getattr(config.method, "hypergradient", "finite_difference")
    if mode != "finite_difference":
        raise InputError(
            f"{asked} does not go with {config.method.name}'s hypergradient {mode}, which needs all parameters in one "
            "graph; take --set method.hypergradient=finite_difference, or a method without one, such as ebomlc"
        )


def hold(
    name: str,
    module: nn.Module,
    config: RunConfig,
    runtime: Runtime,
    *,
    autocast: torch.dtype | None,
    loss_scale: LossScale | None,
) -> Network:
    """``module`` as the network ``name`` of a run, with rank 0's bits. Collective."""
    if config.train.strategy == "fsdp" and name in MAIN_MODELS:
        for tensor in module.state_dict().values():
            runtime.communicator.broadcast(tensor)
        mesh, total = mesh_of(runtime.communicator), runtime.communicator.sum
        return ShardedModule(module, mesh, total, autocast=autocast, loss_scale=loss_scale)
    compiled = config.train.compile and name in MAIN_MODELS
    network = FlatModule(module, autocast=autocast, loss_scale=loss_scale, compiled=compiled)
    agree(network, runtime)
    return network


def agree(network: Network, runtime: Runtime) -> None:
    """Rank 0's first bits on every rank; a spread network's are a function of the configuration."""
    if network.whole:
        runtime.communicator.broadcast(network.vector.detach())
    runtime.communicator.broadcast(network.statistics)
