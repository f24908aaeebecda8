"""Images held on the device as uint8, gathered and augmented there: the loader for sets that fit into memory."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.augment import AugmentStream, augment
from ebomlc_dist.data.index_stream import IndexStream, shard
from ebomlc_dist.methods.contract import Batch


class ResidentLoader:
    """One rank's view of one stream of global batches (a `StreamLoader`).

    Attributes:
        stream: the order of samples.
        augment: the draws of augmentation.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        index: Tensor,
        stream: IndexStream,
        augment: AugmentStream,
        mean: Tensor,
        std: Tensor,
        *,
        rank: int,
        world_size: int,
        device: torch.device | str,
        part: Sequence[int] | None = None,
        trusted_from: int | None = None,
    ) -> None:
        """Put what is not yet on the device there; tensors that are there already are shared, not copied.

        Args:
            images: (N, C, H, W) uint8, all images; several loaders may share them.
            labels: (n,) int64, the label each sample of this stream's set is trained with.
            index: (n,) int64 rows of ``images``, beside ``labels``.
            stream: order over 0…n−1.
            augment: draws for the stream's global batches.
            mean, std: (C,) float32.
            rank, world_size: whose share this is.
            device: where the images live.
            part: begin and end within each global batch, where this loader serves a part of it; else all of it.
            trusted_from: position from which on the set's labels are trusted ones; None where none is told apart.
        """
        if not len(labels) == len(index) == stream.size:
            raise ValueError(f"{len(labels)} labels, {len(index)} indices and a stream over {stream.size} do not fit")
        self.stream = stream
        self.augment = augment
        self._device = torch.device(device)
        self._images, self._labels, self._index, self._mean, self._std = (
            tensor.to(self._device) for tensor in (images, labels, index, mean, std)
        )
        begin, end = part or (0, stream.global_batch_size)
        share = shard(end - begin, rank, world_size)
        self._count = share.stop - share.start
        self._offset, self._total = share.start, end - begin
        self._trusted_from = trusted_from
        # An empty share borrows one sample of the global batch, so that shapes stay valid; it counts 0.
        self._share = slice(begin + share.start, begin + share.stop) if self._count else slice(0, 1)

    def batch(self, step: int) -> Batch:
        """This rank's share of global batch ``step``; see `Batch` for an empty share."""
        size = self.stream.global_batch_size
        host = np.concatenate([self.stream.positions(step)[None], self.augment.draws(step, size)])
        packed = self._to_device(host[:, self._share])
        positions = packed[0]
        images = self._images.index_select(0, self._index[positions])
        pixels = augment(images, packed[1:], self.augment.pad, self._mean, self._std)
        # Convolutions are a fifth faster in this layout, and keep it through the network.
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        return Batch(
            pixels,
            self._labels[positions],
            self._count,
            offset=self._offset,
            total=self._total,
            positions=positions,
            trusted=None if self._trusted_from is None else positions >= self._trusted_from,
        )

    def _to_device(self, values: NDArray[np.int64]) -> Tensor:
        """One small copy that the host does not wait for."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)
