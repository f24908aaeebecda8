"""Activation checkpointing: a block keeps its inputs alone, and is computed again in the backward pass.

Half again a forward pass of time for the memory of the activations within the blocks. Both passes see the parameters
that were in force in the first one, and running statistics move once.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from ebomlc_dist.models.blocks import blocks


def recompute_blocks(module: nn.Module, *, whole: bool) -> int:
    """Recompute every repeated block of ``module`` in the backward pass; return the number of blocks.

    Args:
        module: changed in place.
        whole: whether passes may be given other parameters than the module's own, as `FlatNetwork.at` does. A spread
            network has them in place on the way back.
    """
    found = blocks(module)
    for block in found:
        block.forward = _recomputed(block, block.forward, whole)
    return len(found)


def _recomputed(block: nn.Module, forward: Callable[..., Any], whole: bool) -> Callable[..., Any]:
    def run(*inputs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs)
        statistics = list(block.buffers())
        again = forward
        if whole:
            in_force = {**dict(block.named_parameters()), **dict(block.named_buffers())}

            def again(*given: Any) -> Any:
                block.forward = forward
                try:
                    return functional_call(block, in_force, given)
                finally:
                    block.forward = run

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _Unmoved(statistics)

        return checkpoint(again, *inputs, use_reentrant=False, context_fn=contexts)

    return run


class _Unmoved:
    """A block within which ``tensors`` may be written to; afterwards they are as before. It can be entered again."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tensors
        self._before: list[Tensor] = []

    def __enter__(self) -> None:
        self._before = [tensor.clone() for tensor in self._tensors]

    def __exit__(self, *exception: object) -> None:
        with torch.no_grad():
            for tensor, old in zip(self._tensors, self._before, strict=True):
                tensor.copy_(old)
        self._before = []
