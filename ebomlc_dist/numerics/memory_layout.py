"""Where the tensors of a network lie in its vector.

Images are channels-last (n, H, W, C in memory), and cuDNN and oneDNN want the weights of a convolution alike: a weight
that lies otherwise is copied into order in each pass, and its gradient after it. So a weight (O, I, H, W) lies as
(O, H, W, I) in the vector, and the network sees it permuted. Names, shapes and values are what they were: a file that
holds tensors by name says nothing of it.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


class Layout:
    """The places of tensors of given shapes in one vector, behind one another.

    Args:
        shapes: theirs, in the vector's order.
        channels_last: whether those of four dimensions lie as (O, H, W, I).
    """

    def __init__(self, shapes: Sequence[torch.Size], channels_last: bool) -> None:
        self._sizes = [shape.numel() for shape in shapes]
        self._in_memory = [_last(shape) if channels_last and len(shape) == 4 else shape for shape in shapes]
        self._permuted = [channels_last and len(shape) == 4 for shape in shapes]

    def split(self, vector: Tensor) -> list[Tensor]:
        """The tensors in a vector (P,), as views of it; differentiable."""
        pieces = zip(vector.split(self._sizes), self._in_memory, self._permuted, strict=True)
        return [
            piece.view(shape).permute(0, 3, 1, 2) if permuted else piece.view(shape)
            for piece, shape, permuted in pieces
        ]

    def join(self, tensors: Sequence[Tensor]) -> Tensor:
        """(P,), the inverse of `split`, of tensors in any memory format; differentiable. One that fits is not copied
        but into the vector.
        """
        return torch.cat(list(self._flat(tensors)))

    def _flat(self, tensors: Sequence[Tensor]) -> Iterator[Tensor]:
        for tensor, permuted in zip(tensors, self._permuted, strict=True):
            # `reshape` would take two operators for a copy.
            yield (tensor.permute(0, 2, 3, 1) if permuted else tensor).contiguous().view(-1)


def _last(shape: torch.Size) -> torch.Size:
    outputs, inputs, height, width = shape
    return torch.Size((outputs, height, width, inputs))
