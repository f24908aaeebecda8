"""The three backends: what holds or reads the images of a run."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.choice import choose_loader
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.ffcv_extra import import_ffcv
from ebomlc_dist.data.loader import Pixels
from ebomlc_dist.data.pack import checked_file, pack_folder
from ebomlc_dist.data.read_ahead import ReadAhead, ReadPixels
from ebomlc_dist.data.resident import ResidentPixels
from ebomlc_dist.data.share import Share
from ebomlc_dist.data.worker_reader import WorkerReader

Group = Callable[[Share], Pixels]
"""Gives the images of each of several shares, which are always asked for the same steps."""


def open_backend(dataset: NoisyDataset, data: DataConfig, device: torch.device) -> Callable[[], Group]:
    """What begins groups of shares, whose images come from the backend that `choose_loader` chooses.

    Raises:
        InputError: see `choose_loader`; packed images that are damaged; ffcv cannot be imported.
    """
    choice = choose_loader(dataset, data, device)
    if choice.name == "resident":
        resident = ResidentPixels(cast(Tensor, dataset.images), device)
        return lambda: lambda share: resident
    pinned = device.type == "cuda"
    if choice.pack is None:
        return lambda: _read_by(WorkerReader(dataset.images, num_workers=data.num_workers, pinned=pinned))
    path = checked_file(pack_folder(data), choice.pack)
    import_ffcv()
    # Only now, as it names ffcv.
    from ebomlc_dist.data.ffcv_reader import FfcvReader

    frame, own_size = choice.pack.frame, choice.pack.own_size
    return lambda: _read_by(
        FfcvReader(str(path), frame, own_size=own_size, num_workers=data.num_workers, pinned=pinned)
    )


def _read_by(reader: ReadAhead) -> Group:
    return lambda share: ReadPixels(reader, share)
