"""Batches of one stream: images from whatever holds them, augmented and normalised on the device, with their labels."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.augment import Augmentation
from ebomlc_dist.data.loader import Pixels
from ebomlc_dist.data.share import Share
from ebomlc_dist.methods.contract import Batch


class BatchLoader:
    """One rank's view of one stream of global batches (a `StreamLoader`).

    Attributes:
        share: which samples.
        stream: the order of samples.
        augment: the draws of augmentation.
        pixels: where images come from.
    """

    def __init__(
        self,
        pixels: Pixels,
        labels: Tensor,
        share: Share,
        augment: Augmentation,
        mean: Tensor,
        std: Tensor,
        *,
        device: torch.device | str,
        trusted_from: int | None = None,
        old_labels: Tensor | None = None,
    ) -> None:
        """Put what is not yet on the device there; tensors that are there already are shared, not copied.

        Args:
            pixels: the images of the share, by step.
            labels: (n,) int64, the label each sample of this stream's set is trained with.
            share: the share of a rank in a stream over 0…n−1.
            augment: draws for the stream's global batches.
            mean, std: (C,) float32.
            device: where batches are made.
            trusted_from: position from which on the set's labels are trusted ones; None where none is told apart.
            old_labels: (n,) int64, see `Batch`.
        """
        if len(labels) != share.stream.size:
            raise ValueError(f"{len(labels)} labels and a stream over {share.stream.size} do not fit")
        self.share = share
        self._trusted_from = trusted_from
        self.stream = share.stream
        self.augment = augment
        self.pixels = pixels
        self._device = torch.device(device)
        self._labels, self._mean, self._std = (tensor.to(self._device) for tensor in (labels, mean, std))
        self._old_labels = None if old_labels is None else old_labels.to(self._device)

    def batch(self, step: int) -> Batch:
        """This rank's share of global batch ``step``; see `Batch` for an empty share."""
        positions = self.share.positions(step)
        rows = self.share.index[positions]
        drawn = self.augment.of_share(step, self.stream.global_batch_size, self.share.part, rows)
        packed = self._to_device(np.concatenate([positions[None], rows[None], drawn]))
        images = self.pixels.at(step, packed[1])
        pixels = self.augment.apply(images, packed[2:], self._mean, self._std)
        # Convolutions are a fifth faster in this layout, and keep it through the network.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return Batch(
            pixels,
            self._labels[packed[0]],
            self.share.count,
            offset=self.share.offset,
            total=self.share.total,
            positions=packed[0],
            trusted=None if self._trusted_from is None else packed[0] >= self._trusted_from,
            old_labels=None if self._old_labels is None else self._old_labels[packed[0]],
        )

    def close(self) -> None:
        """End what reads ahead."""
        self.pixels.close()

    def _to_device(self, values: NDArray[np.int64]) -> Tensor:
        """One small copy that the host does not wait for."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)
