"""Augmentation in batches, on the device: pad, random crop, random horizontal flip, normalise.

The random numbers are a pure function of (seed, step) and are drawn for the whole **global** batch, then sliced by
shard: a sample's pixels are the same at every world size. The pixel work has static shapes, reads no tensor value on
the host, and equals torchvision's pad, crop, hflip and normalise on each image bit for bit.
"""

from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ebomlc_dist.data.seeds import child

Kind = Literal["pad-crop-flip", "pad-crop", "none"]
PadMode = Literal["zero", "reflect"]


class Augmentation(Protocol):
    """What is done to the images of one stream between where they are held and the model.

    Attributes:
        rows: k, numbers drawn for a sample.
    """

    @property
    def rows(self) -> int: ...

    def of_share(self, step: int, global_batch_size: int, share: slice, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(k, n) int64: what is drawn for each sample of a part of global batch ``step``.

        Args:
            step: counted from 0 over the whole run.
            global_batch_size: draws are made for so many samples, at every world size.
            share: the part.
            rows: (n,) which images they are.
        """
        ...

    def apply(self, images: Tensor, drawn: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """(n, C, H, W) float32, normalised, from (n, C, h, w) uint8 and what was drawn, on the device."""
        ...


class Unaugmented:
    """Features as they are (an `Augmentation`): nothing is drawn."""

    rows = 0

    def of_share(self, step: int, global_batch_size: int, share: slice, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(0, n) int64."""
        return np.zeros((0, len(rows)), dtype=np.int64)

    def apply(self, images: Tensor, drawn: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """See `normalise`."""
        return normalise(images, mean, std)


class AugmentStream:
    """The draws of one stream of batches (an `Augmentation`).

    Attributes:
        kind: ``pad-crop-flip``, ``pad-crop``, or ``none``.
        pad: P pixels on every side before the crop back to the image's own size.
        pad_mode: they are zeros, or the image mirrored at its border pixels.
    """

    rows = 3

    def __init__(self, kind: Kind, pad: int, seed: np.random.SeedSequence, pad_mode: PadMode = "zero") -> None:
        self.kind = kind
        self.pad = 0 if kind == "none" else pad
        self.pad_mode: PadMode = pad_mode
        self._seed = seed

    def draws(self, step: int, global_batch_size: int) -> NDArray[np.int64]:
        """(3, B) int64 for global batch ``step``: top and left of the crop in 0…2P, and whether to flip (0 or 1)."""
        if self.kind == "none":
            return np.zeros((3, global_batch_size), dtype=np.int64)
        bits = np.random.PCG64(child(self._seed, step)).random_raw((3, global_batch_size))
        drawn = np.empty((3, global_batch_size), dtype=np.int64)
        # The upper 32 bits, scaled: the same numbers with every numpy, and a bias below 1e-8.
        drawn[:2] = ((bits[:2] >> np.uint64(32)) * np.uint64(2 * self.pad + 1)) >> np.uint64(32)
        drawn[2] = bits[2] >> np.uint64(63) if self.kind == "pad-crop-flip" else 0
        return drawn

    def of_share(self, step: int, global_batch_size: int, share: slice, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(3, n) int64: the draws of a part of a global batch. Which images they are for decides nothing."""
        return self.draws(step, global_batch_size)[:, share]

    def apply(self, images: Tensor, drawn: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """See `augment`."""
        return augment(images, drawn, self.pad, mean, std, self.pad_mode)


def augment(images: Tensor, draws: Tensor, pad: int, mean: Tensor, std: Tensor, pad_mode: PadMode = "zero") -> Tensor:
    """Crop and flip each image as drawn, then normalise.

    Args:
        images: (n, C, H, W) uint8.
        draws: (3, n) int64 on the same device, as `AugmentStream.draws` gives them.
        pad: P, the padding that the draws were made for.
        mean, std: (C,) float32, see `normalise`.
        pad_mode: see `AugmentStream`; ``reflect`` needs sides longer than P.

    Returns:
        (n, C, H, W) float32.
    """
    top, left, flip = draws
    cropped = _crop(_padded(images, pad, pad_mode), top, left, pad) if pad else images
    # XOR with a mask of all or no bits selects without a branch; `torch.where` on uint8 takes ten times as long.
    mask = (-flip).to(torch.uint8).view(-1, 1, 1, 1)
    return normalise(cropped ^ ((cropped ^ cropped.flip(-1)) & mask), mean, std)


def normalise(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(pixel / 255 − mean) / std of images, (value − mean) / std of features, as float32.

    Args:
        images: (n, C, H, W) uint8, or features (n, D).
        mean, std: (C,) float32 on the same device, in units of 0…1; or (D,).
    """
    if images.dim() == 2:
        return images.to(torch.float32).sub(mean).div_(std)
    pixels = images.to(torch.float32).div_(255)
    return pixels.sub_(mean.view(-1, 1, 1)).div_(std.view(-1, 1, 1))


def _padded(images: Tensor, pad: int, pad_mode: PadMode) -> Tensor:
    """(n, C, H + 2P, W + 2P) uint8."""
    if pad_mode == "zero":
        return functional.pad(images, (pad, pad, pad, pad))
    # torch reflects no uint8 images.
    for axis in (2, 3):
        last = images.shape[axis] - 1
        places = torch.arange(-pad, last + pad + 1, device=images.device)
        images = images.index_select(axis, last - (last - places.abs()).abs())
    return images


def _crop(padded: Tensor, top: Tensor, left: Tensor, pad: int) -> Tensor:
    """(n, C, H, W) windows of the padded images at ``top``, ``left``: each a gather of n·C·H rows of W pixels."""
    number, channels, plane_height, plane_width = padded.shape
    height, width = plane_height - 2 * pad, plane_width - 2 * pad
    # Row r of this view is the W pixels from flat position r on, so that a crop needs one index a row, not a pixel.
    rows = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    planes = torch.arange(number * channels, device=padded.device).view(number, channels, 1) * plane_height
    lines = planes + top.view(-1, 1, 1) + torch.arange(height, device=padded.device)
    return rows.index_select(0, (lines * plane_width + left.view(-1, 1, 1)).view(-1)).view(
        number, channels, height, width
    )
