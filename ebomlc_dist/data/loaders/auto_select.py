"""Choose the loader backend of a run. All give the same batches: the choice decides time and memory alone."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import NoisyDataset, digest_of
from ebomlc_dist.data.inputs.feature_rows import FeatureRows
from ebomlc_dist.data.loaders.ffcv_extra import has_ffcv, require_ffcv
from ebomlc_dist.data.loaders.ffcv_pack import Pack, pack_folder, read_pack
from ebomlc_dist.errors import InputError
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.launch.environment import local_world_size

_SHARE = 0.5
"""Of a memory that images may take; the rest is for the network, and for everybody else."""
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Choice:
    """A backend.

    Attributes:
        name: which.
        reason: why, for the start panel.
        pack: the packed images, for ``ffcv``.
    """

    name: Literal["resident", "ffcv", "dataloader"]
    reason: str
    pack: Pack | None = None


def check_loader(data: DataConfig) -> None:
    """Raise `InputError` for a backend that was asked for and cannot be had, before any image is read."""
    if data.loader == "ffcv":
        require_ffcv()
        _pack_to_read(data)


def held_in_memory(data: DataConfig, needed: int) -> bool:
    """Return whether ``needed`` bytes of decoded images are to lie in this machine's memory.

    Decided from what the machine has, not from what is free: every process of a machine decides alike.
    """
    return data.loader == "resident" or (data.loader == "auto" and needed <= _SHARE * _memory() / local_world_size())


def choose_loader(dataset: NoisyDataset, data: DataConfig, device: torch.device | str) -> Choice:
    """Return the backend for these data on this device.

    ``auto`` takes ``resident`` where the images fit, else ``ffcv`` where they are packed and ffcv is installed, else
    ``dataloader``.

    Raises:
        InputError: what was asked for cannot be had: files that do not fit one size, or no packed images of this set.
    """
    images = dataset.images
    if isinstance(images, FeatureRows):
        return _of_features(images, data, torch.device(device))
    asked = "asked for"
    if data.loader == "dataloader":
        return Choice("dataloader", asked)
    if data.loader == "ffcv":
        return Choice("ffcv", asked, _matching(dataset, data, _pack_to_read(data)))
    if data.loader == "resident" and not isinstance(images, Tensor):
        raise InputError("images that keep their size are not held in memory; choose --loader dataloader or ffcv")
    if isinstance(images, Tensor) and (data.loader == "resident" or _fits_device(images, torch.device(device))):
        reason = f"{images.numel() / 2**30:.2f} GiB of images fit into memory" if data.loader == "auto" else asked
        return Choice("resident", reason)
    large = "the images do not fit into memory" if data.augment != "resized-crop-flip" else "images keep their size"
    folder = pack_folder(data)
    try:
        pack = read_pack(folder)
        if pack is None:
            return Choice("dataloader", f"{large}, and `ebomlc pack` has not been run")
        _matching(dataset, data, pack)
    except InputError as error:
        return Choice("dataloader", f"{large}, and {error}")
    if not has_ffcv():
        return Choice("dataloader", f"{large}, and {folder} is packed but ffcv is not installed")
    return Choice("ffcv", f"{large}, and {folder} is packed", pack)


def _of_features(features: FeatureRows, data: DataConfig, device: torch.device) -> Choice:
    if data.loader == "ffcv":
        raise InputError("--loader ffcv packs images, and these data are features; leave it out")
    gib = f"{features.num_bytes / 2**30:.2f} GiB of features"
    if not on_gpu(device):
        return Choice("resident", f"{gib}, gathered from {'a mapped file' if features.mapped else 'memory'}")
    fits = features.num_bytes <= _SHARE * torch.cuda.get_device_properties(device).total_memory
    if data.loader == "resident" or (data.loader == "auto" and fits):
        return Choice("resident", f"{gib} on the device")
    return Choice("dataloader", f"{gib} stay on the host")


def _pack_to_read(data: DataConfig) -> Pack:
    folder = pack_folder(data)
    pack = read_pack(folder)
    if pack is None:
        raise InputError(
            f"--loader ffcv needs packed images and {folder} has none; run `ebomlc pack` with the same data, or name "
            "their folder with --pack-dir"
        )
    return pack


def _matching(dataset: NoisyDataset, data: DataConfig, pack: Pack) -> Pack:
    """``pack``, if it is of these images."""
    if pack.images_digest != digest_of(dataset.images, dataset.image_digest):
        raise InputError(
            f"{pack_folder(data)} was packed from other images, in another order or in another size; run `ebomlc pack` "
            "again"
        )
    return pack


def _fits_device(images: Tensor, device: torch.device) -> bool:
    if not on_gpu(device):
        return True  # they lie in this memory already
    return images.numel() <= _SHARE * torch.cuda.get_device_properties(device).total_memory


def _memory() -> float:
    """Return bytes of memory that this machine, or the container around this process, has."""
    total = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        return min(total, float(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such file; "max"
        return total
