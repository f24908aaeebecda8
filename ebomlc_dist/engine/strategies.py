"""How a network is held: whole on every rank, or spread over them."""

import torch
from torch import nn

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed import zero
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import MAIN_MODELS
from ebomlc_dist.models.activation_checkpointing import recompute_blocks
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import Network

STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}
"""Strategy → DeepSpeed's stage."""


def check_strategy(config: RunConfig, world_size: int) -> None:
    """Raise `InputError` where the strategy of ``config`` cannot take its steps. It names one that can."""
    recorded = [flag for flag, on in _recorders(config) if on]
    if config.train.activation_checkpointing and recorded:
        raise InputError(
            f"--activation-checkpointing does not go with {recorded[0]}, which chooses itself what to keep for the "
            "backward pass; leave one of the two out"
        )
    if config.train.strategy == "replicated":
        return
    asked = f"--strategy {config.train.strategy}"
    if config.train.strategy in STAGES and not zero.installed():
        raise InputError(
            f"{asked} needs DeepSpeed, which is not installed; pip install 'ebomlc_dist[deepspeed]', or take "
            "--strategy fsdp"
        )
    if world_size == 1:
        raise InputError(
            f"{asked} spreads a model over processes and there is one; give --num-processes, or leave it out"
        )
    if recorded:
        raise InputError(
            f"{asked} gathers parameters within a pass, which {recorded[0]} cannot hold; leave one of them out"
        )
    mode = getattr(config.method, "hypergradient", "finite_difference")
    if mode != "finite_difference":
        raise InputError(
            f"{asked} does not go with {config.method.name}'s hypergradient {mode}, which needs all parameters in one "
            "graph; take --set method.hypergradient=finite_difference, or a method without one, such as ebomlc"
        )


def _recorders(config: RunConfig) -> tuple[tuple[str, bool], ...]:
    return ("--compile", config.train.compile), ("--cuda-graph", config.train.cuda_graph)


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
    strategy = config.train.strategy if name in MAIN_MODELS else "replicated"
    again = config.train.activation_checkpointing and name in MAIN_MODELS
    if again and not recompute_blocks(module, whole=strategy == "replicated"):
        raise InputError(
            f"the model {config.model.name} has no repeated blocks to compute again; leave --activation-"
            "checkpointing out"
        )
    if strategy == "replicated":
        compiled = config.train.compile and name in MAIN_MODELS
        network = FlatNetwork(module, autocast=autocast, loss_scale=loss_scale, compiled=compiled)
        agree(network, runtime)
        return network
    for tensor in module.state_dict().values():
        runtime.communicator.broadcast(tensor)
    if strategy == "fsdp":
        # Its import takes a quarter of a second, which other runs do not pay.
        from ebomlc_dist.distributed.fsdp import ShardedModule

        return ShardedModule(module, runtime.communicator, autocast=autocast, loss_scale=loss_scale)
    stage = STAGES[strategy]
    return zero.ZeroModule(module, runtime.communicator, stage, autocast=autocast, loss_scale=loss_scale)


def agree(network: Network, runtime: Runtime) -> None:
    """Rank 0's first bits on every rank; a spread network's are a function of the configuration."""
    if network.whole:
        runtime.communicator.broadcast(network.vector.detach())
        for parameter in network.module.parameters():
            if not parameter.requires_grad:
                runtime.communicator.broadcast(parameter)
    runtime.communicator.broadcast(network.statistics)
