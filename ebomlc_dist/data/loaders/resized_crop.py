"""Random resized crop of images of any size, in batches, on the device; and the centre crop of evaluation.

Which part of an image is cut out is drawn as torchvision's ``RandomResizedCrop`` draws it (Szegedy et al. 2015): an
area of 8 … 100 % of the image at an aspect ratio of 3/4 … 4/3, ten tries, else the largest part in the middle that the
ratios allow. The draws are a pure function of (seed, step) over the whole **global** batch, as in `augment`.
"""

import math

import numpy as np
import torch
import torchvision  # noqa: F401  # brings torch.ops.torchvision
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.loaders.augment import normalise
from ebomlc_dist.data.seeds import child

AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
CENTRE = 0.875
"""Share of the shorter side that the centre crop shows."""

_TRIES = 10
_BLOCK = 64


class ResizedCropStream:
    """The draws of one stream of batches (an `Augmentation`).

    Attributes:
        side: H and W of the images that come out.
    """

    rows = 5

    def __init__(self, sizes: NDArray[np.int64], side: tuple[int, int], seed: np.random.SeedSequence) -> None:
        """``sizes`` (N, 2): height and width of every image of the set."""
        self.side = side
        self._sizes = sizes
        self._seed = seed

    def draws(self, step: int, global_batch_size: int) -> NDArray[np.float64]:
        """(41, B) numbers in 0…1: flip, then area, ratio, top and left of every try."""
        bits = np.random.PCG64(child(self._seed, step)).random_raw((1 + 4 * _TRIES, global_batch_size))
        return np.ldexp((bits >> np.uint64(11)).astype(np.float64), -53)

    def of_share(self, step: int, global_batch_size: int, share: slice, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """(5, n): top, left, height and width of what is cut out of the images ``rows``, and whether to flip."""
        drawn = self.draws(step, global_batch_size)[:, share]
        boxes = _boxes(self._sizes[rows], drawn[1:].reshape(_TRIES, 4, -1))
        return np.concatenate([boxes, (drawn[:1] >= 0.5).astype(np.int64)])

    def apply(self, images: Tensor, drawn: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """(n, C, H, W) float32: the parts, resized, flipped and normalised.

        Args:
            images: (n, C, h, w) uint8 frames.
            drawn: (5, n) int64 on the same device, see `of_share`.
            mean, std: (C,) float32.
        """
        pixels = _resized(images, drawn[:4], self.side)
        return normalise(torch.where(drawn[4].view(-1, 1, 1, 1) > 0, pixels.flip(-1), pixels), mean, std)


def centre_crop(images: Tensor, sizes: Tensor, side: tuple[int, int]) -> Tensor:
    """Return the middle square of each image, `CENTRE` of its shorter side, resized.

    Args:
        images: (n, C, h, w) uint8 frames.
        sizes: (n, 2) int64, height and width of each image in its frame.
        side: H and W.

    Returns:
        (n, C, H, W) uint8.
    """
    edge = (CENTRE * sizes.amin(dim=1)).round_().clamp_min_(1).to(torch.int64) if len(sizes) else sizes[:, 0]
    corner = (sizes - edge[:, None]) // 2
    boxes = torch.stack([corner[:, 0], corner[:, 1], edge, edge])
    cropped = images.new_empty(len(images), images.shape[1], *side)
    for begin in range(0, len(images), _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        cropped[rows] = _resized(images[rows], boxes[:, rows], side).round_().clamp_(0, 255).to(torch.uint8)
    return cropped


def _resized(images: Tensor, boxes: Tensor, side: tuple[int, int]) -> Tensor:
    """(n, C, H, W) float32 in 0…255, bilinear and averaged: ``boxes`` (4, n) of the images; nothing beyond is read."""
    top, left, height, width = boxes.float()
    # From the middle of the first pixel to the middle of the last: neighbours outside the part have no weight.
    # One pixel alone still needs an extent, or no sample falls on it.
    right, bottom = left + (width - 1).clamp_min(0.01), top + (height - 1).clamp_min(0.01)
    corners = [edge + 0.5 for edge in (left, top, right, bottom)]
    numbers = torch.arange(len(images), dtype=torch.float32, device=images.device)
    # Not `torchvision.ops.roi_align`: on a GPU under deterministic algorithms that takes a slow way of Python's.
    boxed = torch.stack([numbers, *corners], dim=1)
    return torch.ops.torchvision.roi_align(images.float(), boxed, 1.0, *side, sampling_ratio=-1, aligned=True)


def _boxes(sizes: NDArray[np.int64], drawn: NDArray[np.float64]) -> NDArray[np.int64]:
    """(4, n) top, left, height and width for images of ``sizes`` (n, 2) from ``drawn`` (tries, 4, n) in 0…1."""
    height, width = sizes.T.astype(np.float64)
    area = height * width * (AREA[0] + (AREA[1] - AREA[0]) * drawn[:, 0])
    low, high = math.log(RATIO[0]), math.log(RATIO[1])
    ratio = np.exp(low + (high - low) * drawn[:, 1])
    heights, widths = np.rint(np.sqrt(area / ratio)), np.rint(np.sqrt(area * ratio))
    fits = (heights >= 1) & (heights <= height) & (widths >= 1) & (widths <= width)
    tops, lefts = np.floor(drawn[:, 2] * (height - heights + 1)), np.floor(drawn[:, 3] * (width - widths + 1))
    tries = np.stack([tops, lefts, heights, widths], axis=1)
    chosen = np.take_along_axis(tries, fits.argmax(axis=0)[None, None], axis=0)[0]
    tall, wide = np.minimum(height, np.rint(width / RATIO[0])), np.minimum(width, np.rint(height * RATIO[1]))
    middle = np.stack([(height - tall) // 2, (width - wide) // 2, tall, wide])
    return np.where(fits.any(axis=0), chosen, middle).astype(np.int64)
