"""Bytes a process holds for the main model in EBOMLC's step, on paper, by strategy.

Vectors of P float32 values, P the main model's parameters (`methods.value_gap`, `methods.ebomlc`):

    parameters w; momentum of SGD; gradients ∇_wG, ∇_wF and the direction d_w; look-ahead w';
    one buffer into which a reduction packs its gradient

∇_wQ is ∇_wG itself (``stop_gradient``). All are counted as alive at once, which is an upper limit. Not counted:
activations, running statistics, the meta model, the allocator's own.

Strategies, after Rajbhandari et al. 2020 (ZeRO): zero1 divides the optimiser state among N processes, zero2 gradients
and buffer too, zero3 and fsdp all; the last two hold the largest layer whole while it computes. The division is assumed
even.
"""

from typing import get_args

from ebomlc_dist.config import Strategy

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
VALUE_BYTES = 4
GRADIENT_VECTORS = 3
BUFFER_VECTORS = 1


def main_model_bytes(strategy: Strategy, world_size: int, parameters: int, largest_layer: int) -> float:
    """Bytes a process; ``largest_layer``: parameters of the largest layer that is gathered at once."""
    state = 1.0
    gradients = float(GRADIENT_VECTORS + BUFFER_VECTORS)
    models = 2.0  # w and w'
    gathered = 0
    if world_size > 1:
        if strategy != "replicated":
            state /= world_size
        if strategy in ("zero2", "zero3", "fsdp"):
            gradients /= world_size
        if strategy in ("zero3", "fsdp"):
            models /= world_size
            gathered = largest_layer
    return VALUE_BYTES * ((state + gradients + models) * parameters + gathered)
