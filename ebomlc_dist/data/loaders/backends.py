"""The three backends: what holds or reads the images of a run."""

from collections.abc import Callable, Generator
from itertools import count
from typing import cast

import torch
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.inputs.feature_rows import FeatureRows
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


class HostRows:
    """Features that are gathered from this process's memory, or from a mapped file, as a batch is made (`Pixels`)."""

    reads = False

    def __init__(self, features: FeatureRows) -> None:
        self._features = features

    def frames(self, step: int) -> None:
        """Nothing is read ahead."""

    def of(self, rows: Tensor, frames: Tensor | None) -> Tensor:
        """(n, D): the features ``rows``."""
        return self._features[rows]

    def close(self) -> None:
        """Nothing reads ahead."""


class RowReader(Prefetcher):
    """Features gathered on the host for another device, where they do not fit into its memory."""

    def __init__(self, features: FeatureRows) -> None:
        super().__init__()
        self._features = features

    def frames(self, first: int) -> Generator[Tensor]:
        """See `Prefetcher`; (n, D)."""
        for step in count(first):
            yield self._features[torch.from_numpy(self.rows(step))]


Group = Callable[[RankSlice], Pixels]
"""Gives the images of each of several shares, which are always asked for the same steps."""


def open_backend(dataset: NoisyDataset, data: DataConfig, device: torch.device) -> Callable[[], Group]:
    """Return a function that starts a group of shares on the backend that `choose_loader` chooses.

    Raises:
        InputError: see `choose_loader`; packed images that are damaged; ffcv cannot be imported.
    """
    choice = choose_loader(dataset, data, device)
    if isinstance(dataset.images, FeatureRows) and (device.type == "cpu" or choice.name != "resident"):
        rows = dataset.images
        return (lambda: lambda share: HostRows(rows)) if device.type == "cpu" else lambda: _read_by(RowReader(rows))
    if choice.name == "resident":
        held = dataset.images.whole() if isinstance(dataset.images, FeatureRows) else cast(Tensor, dataset.images)
        resident = ResidentPixels(held, device)
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
