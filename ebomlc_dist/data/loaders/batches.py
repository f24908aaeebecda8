"""Batches of one stream: images from whatever holds them, augmented and normalised on the device, with their labels."""

import numpy as np
import torch
from torch import Tensor

from ebomlc_dist.data.loaders.augment import Augmentation
from ebomlc_dist.data.loaders.index_stream import RankSlice
from ebomlc_dist.data.loaders.streams import Pixels, StreamInputs
from ebomlc_dist.methods.contract import Batch

_PLACES = 2
"""Rows of numbers before the labels: places in the set, and rows of the images."""


class BatchLoader:
    """One rank's view of one stream of global batches (a `StreamLoader`).

    Attributes:
        share: which samples.
        stream: the order of samples.
        augment: the draws of augmentation.
        pixels: where images come from.
        shape: (k, n) of a batch's numbers: position, row, label, then what augmentation draws.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: Tensor,
        share: RankSlice,
        augment: Augmentation,
        mean: Tensor,
        std: Tensor,
        *,
        device: torch.device | str,
        trusted_from: int | None = None,
        old_labels: Tensor | None = None,
        smoothing: float = 0.0,
    ) -> None:
        """Make ready.

        Args:
            pixels: the images of the share, by step.
            labels: (n,) int64, the label each sample of this stream's set is trained with.
            share: the share of a rank in a stream over 0…n−1.
            augment: draws for the stream's global batches.
            mean, std: (C,) float32.
            device: where batches are made.
            trusted_from: position from which on the set's labels are trusted ones; None where none is told apart.
            old_labels: (n,) int64, see `Batch`.
            smoothing: see `Batch`.
        """
        if len(labels) != share.stream.size:
            raise ValueError(f"{len(labels)} labels and a stream over {share.stream.size} do not fit")
        self.share = share
        self._trusted_from = trusted_from
        self._smoothing = smoothing
        self.stream = share.stream
        self.augment = augment
        self.pixels = pixels
        self._given = np.stack([given.cpu().numpy() for given in (labels, old_labels) if given is not None])
        self.shape = (_PLACES + len(self._given) + augment.rows, len(share))
        self._device = torch.device(device)
        self._mean, self._std = mean.to(self._device), std.to(self._device)

    @property
    def reads(self) -> bool:
        """See `StreamLoader`."""
        return self.pixels.reads

    def inputs(self, step: int) -> StreamInputs:
        """See `StreamLoader`."""
        positions = self.share.positions(step)
        rows = self.share.index[positions]
        drawn = self.augment.of_share(step, self.stream.global_batch_size, self.share.part, rows)
        numbers = np.concatenate([[positions, rows], self._given[:, positions], drawn])
        return StreamInputs(numbers, self.pixels.frames(step))

    def make(self, numbers: Tensor, frames: Tensor | None) -> Batch:
        """See `StreamLoader`, and `Batch` for an empty share."""
        drawn = _PLACES + len(self._given)
        positions, rows, *given = numbers[:drawn]
        images = self.pixels.of(rows, frames)
        pixels = self.augment.apply(images, numbers[drawn:], self._mean, self._std)
        if pixels.dim() == 4:
            # Convolutions are a fifth faster in this layout, and keep it through the network.
            pixels = pixels.contiguous(memory_format=torch.channels_last)
        return Batch(
            pixels,
            given[0],
            self.share.count,
            offset=self.share.offset,
            total=self.share.total,
            positions=positions,
            trusted=None if self._trusted_from is None else positions >= self._trusted_from,
            old_labels=given[1] if len(given) > 1 else None,
            smoothing=self._smoothing,
        )

    def close(self) -> None:
        """End what reads ahead."""
        self.pixels.close()
