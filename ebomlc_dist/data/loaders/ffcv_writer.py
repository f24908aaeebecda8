"""Packing images for FFCV: what was packed before stays valid until what comes in its place is whole."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.inputs.lazy import ImageFiles, keeps_own_size
from ebomlc_dist.data.inputs.safe_paths import listed, open_regular
from ebomlc_dist.data.loaders.ffcv_extra import import_ffcv
from ebomlc_dist.data.loaders.ffcv_pack import MANIFEST, PACKED, Pack
from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable, operations


def write_pack(folder: Path, images: Tensor | ImageFiles, images_digest: str, progress: Progress | None = None) -> Pack:
    """Pack images into ``folder``, in the place of what was packed there before.

    Args:
        folder: is made where it is missing.
        images: (N, C, H, W) uint8, or files; N ≥ 1.
        images_digest: see `Pack`.
        progress: called with (images packed, images in all).

    Raises:
        InputError: images that cannot be decoded, all of them, or ffcv is not installed.
        NoSpace: the disk is full.
    """
    import_ffcv()
    # Only now, as it names ffcv.
    from ebomlc_dist.data.loaders.beton import write_beton

    own_size = keeps_own_size(images)
    channels, height, width = images.frame if isinstance(images, ImageFiles) else images.shape[1:]
    needed = _bytes(images)
    failures: list[str] = []
    durable.make_folder(folder)
    temporary = folder / durable.temporary_name("images.beton")
    with FileLock(folder / ".lock"), durable.explained(folder, needed):
        durable.remove_litter(folder)
        if operations.current().free_bytes(folder) < needed:
            raise durable.NoSpace(f"{folder} needs {needed} bytes and has less; free some, or give another --pack-dir")
        try:
            frame = (int(channels), int(height), int(width))
            write_beton(temporary, _good(images, failures, progress), len(images), frame, own_size=own_size)
            if failures:
                raise InputError(
                    f"{len(failures)} of {len(images)} images cannot be read: {listed(failures)}. Fix or delete "
                    "them, or skip them with --skip-unreadable, here and in the runs"
                )
            size, sha256 = _flushed(temporary)
            pack = Pack(
                images_digest=images_digest,
                num_images=len(images),
                frame=frame,
                own_size=own_size,
                file=f"{sha256[:16]}.beton",
                size=size,
                sha256=sha256,
            )
            operations.current().rename(temporary, folder / pack.file)
        finally:
            temporary.unlink(missing_ok=True)
        # The swap: readers find the old file by the old pack.json, or the new one by the new.
        durable.sync_folder(folder)
        durable.write_json(folder / MANIFEST, pack.model_dump())
        for entry in folder.iterdir():
            if PACKED.fullmatch(entry.name) and entry.name != pack.file:
                operations.current().unlink(entry)
    return pack


def _good(images: Tensor | ImageFiles, failures: list[str], progress: Progress | None) -> Iterator[NDArray[np.uint8]]:
    """Every image; one pixel in the place of those that cannot be decoded, with the reason in ``failures``."""
    found = images.read_all() if isinstance(images, ImageFiles) else (image.numpy() for image in images)
    for done, image in enumerate(found, start=1):
        if isinstance(image, str):
            failures.append(image)
            image = np.zeros(_shape(images, done - 1), dtype=np.uint8)
        yield image
        if progress and (done % 100 == 0 or done == len(images)):
            progress(done, len(images))


def _shape(images: Tensor | ImageFiles, row: int) -> tuple[int, ...]:
    return (images.frame[0], *images.sizes[row].tolist()) if isinstance(images, ImageFiles) else images.shape[1:]


def _flushed(path: Path) -> tuple[int, str]:
    """Return size and sha256 (hex) of a file that is on the disk when this returns."""
    calls = operations.current()
    descriptor = calls.open(path, os.O_RDONLY)
    try:
        calls.fsync(descriptor)
        calls.forget(descriptor)
    finally:
        calls.close(descriptor)
    with open_regular(path.resolve()) as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _bytes(images: Tensor | ImageFiles) -> int:
    """Return bytes of all pixels as they are packed."""
    if not isinstance(images, ImageFiles):
        return images.numel()
    channels = 3 if images.own_size else images.frame[0]
    return channels * int(images.sizes.prod(axis=1).sum())
