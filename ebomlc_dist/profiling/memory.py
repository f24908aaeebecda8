"""Bytes a process holds for the main model in EBOMLC's step, on paper, by strategy.

Vectors of P float32 values, P the main model's parameters (`methods.ebomlc`):

    parameters w; momentum of SGD; gradients ∇_wG, ∇_wF and the direction d_w; look-ahead w'; and, replicated, one
    buffer into which a reduction packs its gradient

∇_wQ is ∇_wG itself (``stop_gradient``). All are counted as alive at once. Not counted: activations, running statistics,
the meta model, what a backend copies to send, the allocator's own. ``tools/strategies`` measures real steps.

Spread over N processes each of these is 1/N of a vector, evenly. On top come what passes are made with and the gradient
before it is summed into parts:

    fsdp            w in shards (P/N), the largest block with what stands in none, and its gradient
    zero1           w whole, the gradient whole
    zero2           w whole, a bucket of the gradient
    zero3           w and the gradient in parts (2 P/N), the largest layer, its gradient, a bucket
"""

from dataclasses import dataclass
from typing import get_args

from torch import nn

from ebomlc_dist.config import Strategy
from ebomlc_dist.models.blocks import blocks

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
VALUE_BYTES = 4
VECTORS = 6


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


def main_model_bytes(strategy: Strategy, world_size: int, size: Size, bucket: int) -> float:
    """Bytes a process; ``bucket``: values of a gradient that are summed at once, where that is not all of it."""
    if strategy == "replicated" or world_size == 1:
        return VALUE_BYTES * (VECTORS + 1) * size.parameters
    whole, bucket = size.parameters, min(size.parameters, bucket)
    part = whole / world_size
    on_top = {
        "fsdp": part + 2 * size.gathered,
        "zero1": 2 * whole,
        "zero2": whole + bucket,
        "zero3": 2 * part + 2 * size.largest_layer + bucket,
    }
    return VALUE_BYTES * (VECTORS * part + on_top[strategy])


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
