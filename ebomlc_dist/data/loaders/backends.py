"""The three backends: what holds or reads the images of a run."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.loaders.auto_select import choose_loader
from ebomlc_dist.data.loaders.ffcv_extra import import_ffcv
from ebomlc_dist.data.loaders.ffcv_pack import checked_file, pack_folder
from ebomlc_dist.data.loaders.index_stream import RankSlice
from ebomlc_dist.data.loaders.prefetch import PrefetchedPixels, Prefetcher
from ebomlc_dist.data.loaders.streams import Pixels
from ebomlc_dist.data.loaders.workers import WorkerReader
from ebomlc_dist.gpu import on_gpu


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


Group = Callable[[RankSlice], Pixels]
"""Gives the images of each of several shares, which are always asked for the same steps."""


def open_backend(dataset: NoisyDataset, data: DataConfig, device: torch.device) -> Callable[[], Group]:
    """Return a function that starts a group of shares on the backend that `choose_loader` chooses.

    Raises:
        InputError: see `choose_loader`; packed images that are damaged; ffcv cannot be imported.
    """
    choice = choose_loader(dataset, data, device)
    if choice.name == "resident":
        resident = ResidentPixels(cast(Tensor, dataset.images), device)
        return lambda: lambda share: resident
    pinned = on_gpu(device)
    if choice.pack is None:
        return lambda: _read_by(WorkerReader(dataset.images, num_workers=data.num_workers, pinned=pinned))
    path = checked_file(pack_folder(data), choice.pack)
    import_ffcv()
    # Only now, as it names ffcv.
    from ebomlc_dist.data.loaders.ffcv_reader import FfcvReader

    frame, own_size = choice.pack.frame, choice.pack.own_size
    return lambda: _read_by(
        FfcvReader(str(path), frame, own_size=own_size, num_workers=data.num_workers, pinned=pinned)
    )


def _read_by(reader: Prefetcher) -> Group:
    return lambda share: PrefetchedPixels(reader, share)
