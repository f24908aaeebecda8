"""Images held on the device as uint8 and gathered there: the backend for sets that fit into memory."""

import torch
from torch import Tensor


class ResidentPixels:
    """All images on the device (`Pixels`). Streams share one of these, hence one copy of the images.

    Attributes:
        images: (N, C, H, W) uint8 on the device.
    """

    reads = False

    def __init__(self, images: Tensor, device: torch.device | str) -> None:
        self.images = images.to(device)

    def frames(self, step: int) -> None:
        """Nothing is read."""

    def of(self, rows: Tensor, frames: Tensor | None) -> Tensor:
        """(n, C, H, W) uint8: the images ``rows``."""
        return self.images.index_select(0, rows)

    def close(self) -> None:
        """Nothing reads ahead."""
