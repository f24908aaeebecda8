"""Bytes a process holds for the main model in EBOMLC's step, on paper, by strategy.

Vectors of P float32 values, P the main model's parameters (`methods.value_gap`, `methods.ebomlc`):

    parameters w; momentum of SGD; gradients ∇_wG, ∇_wF and the direction d_w; the direction of the step before, which
    the optimiser keeps; look-ahead w'; one buffer into which a reduction packs its gradient

∇_wQ is ∇_wG itself (``stop_gradient``). All are counted as alive at once. Not counted: activations, running statistics,
the meta model, what a backend copies to send, the allocator's own. ``tools/main_model_memory`` measures real steps.

Strategies, after Rajbhandari et al. 2020 (ZeRO): zero1 divides the optimiser state among N processes, zero2 gradients
and buffer too, zero3 and fsdp all; zero3 holds the largest layer whole while it computes. fsdp, which is
`distributed.fsdp`, holds w a second time, in the shards that passes are made with, and gathers a block at once together
with what stands in none. The division is assumed even.
"""

from dataclasses import dataclass
from typing import get_args

from torch import nn

from ebomlc_dist.config import Strategy
from ebomlc_dist.models.blocks import blocks

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
VALUE_BYTES = 4
GRADIENT_VECTORS = 4
BUFFER_VECTORS = 1


@dataclass(frozen=True)
class Size:
    """What of a main model decides its memory: numbers of parameters.

    Attributes:
        parameters: of all of it.
        largest_layer: of the largest module's own.
        gathered: of the largest block and of what stands in none.
    """

    parameters: int
    largest_layer: int
    gathered: int

    @classmethod
    def of(cls, model: nn.Module) -> "Size":
        """The size of a model, which may be on the meta device."""
        total, inside = _count(model), [_count(block) for block in blocks(model)]
        layers = [sum(p.numel() for p in module.parameters(recurse=False)) for module in model.modules()]
        return cls(total, max(layers), total - sum(inside) + max(inside, default=0))


def main_model_bytes(strategy: Strategy, world_size: int, size: Size) -> float:
    """Bytes a process."""
    state = 1.0
    gradients = float(GRADIENT_VECTORS + BUFFER_VECTORS)
    models = 2.0  # w and w'
    whole = 0
    if world_size > 1:
        if strategy != "replicated":
            state /= world_size
        if strategy in ("zero2", "zero3", "fsdp"):
            gradients /= world_size
        if strategy == "zero3":
            models /= world_size
            whole = size.largest_layer
        if strategy == "fsdp":
            models = (models + 1) / world_size
            whole = size.gathered
    return VALUE_BYTES * ((state + gradients + models) * size.parameters + whole)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
