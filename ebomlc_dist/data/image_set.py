"""Images by row, whether they lie in memory or are decoded when they are asked for."""

import hashlib
from typing import Protocol

import torch
from torch import Tensor


class ImageSet(Protocol):
    """What the program asks of a set of images: a (N, C, H, W) uint8 tensor meets it, and so does `ImageFiles`."""

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """(n, C, H, W) uint8 for (n,) int64 rows, as they are evaluated: without augmentation."""
        ...


def digest_of(images: ImageSet, file_digest: str | None) -> str:
    """sha256 (hex) of a set of images: ``file_digest`` where they come from files, else of shape and pixels."""
    if file_digest is not None or not isinstance(images, Tensor):
        return file_digest or ""
    digest = hashlib.sha256(repr(tuple(images.shape)).encode())
    digest.update(images.contiguous().numpy().data)
    return digest.hexdigest()
