"""Image files that are decoded on access, for sets that do not fit into memory."""

import hashlib
import os
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.dataset import InputSet
from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.inputs.decode import Header, attempt, decode_image, without_pillow_warnings
from ebomlc_dist.data.inputs.grey_levels import FULL, Levels
from ebomlc_dist.data.inputs.read import THREADS, Probe, common_size, probe_images
from ebomlc_dist.data.inputs.safe_paths import shown
from ebomlc_dist.data.loaders.resized_crop import centre_crop
from ebomlc_dist.errors import InputError

Found = TypeVar("Found")


@dataclass(frozen=True)
class ImageFiles:
    """Files of images (an `InputSet`).

    Every image has a frame, and all frames have one shape. Where images are resized to H×W, the frame is the image.
    Where they keep their own size, the image lies in the upper left corner of its frame, and the augmentation cuts a
    part out of it (see `resized_crop`); evaluation takes the centre.

    Attributes:
        names: as they were listed, for messages.
        paths: real paths, beside ``names``.
        sizes: (N, 2) int64, height and width of each image within its frame.
        frame: (C, h, w) of every frame.
        side: H and W of the images that a model sees.
        own_size: whether images keep their own size.
        max_pixels: larger images are refused before they are decoded.
        levels: what becomes of more than 8 bits.
    """

    names: Sequence[str]
    paths: Sequence[Path]
    sizes: NDArray[np.int64]
    frame: tuple[int, int, int]
    side: tuple[int, int]
    own_size: bool
    max_pixels: int
    levels: Levels = FULL

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W) as a model sees them."""
        return torch.Size((len(self.paths), self.frame[0], *self.side))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: Tensor) -> Tensor:
        """(n, C, H, W) uint8, decoded on a pool of threads. Raises `InputError` for files that cannot be decoded."""
        return self._seen(index.tolist(), self._decoded(self.read_frame, index.tolist()))

    def read(self, row: int) -> NDArray[np.uint8] | str:
        """One image (C, h, w) uint8 as it is without its frame, or why it cannot be decoded."""
        found = self._attempted(row)
        return f"{shown(self.names[row])} {found}" if isinstance(found, str) else found

    def read_frame(self, row: int) -> NDArray[np.uint8]:
        """One frame (C, h, w) uint8. Raises `InputError` where the image cannot be decoded."""
        image = self.read(row)
        if isinstance(image, str):
            raise InputError(f"{image}; fix or delete it, or give --skip-unreadable to skip all such images")
        return self._framed(image)

    def read_good(self) -> tuple[Tensor, dict[int, str]]:
        """Return the images that can be decoded, in order, (n, C, H, W) uint8; and row → why, of the others."""
        failures: dict[int, str] = {}
        rows, frames = [], []
        for row, found in enumerate(self._decoded(self._attempted, range(len(self)))):
            if isinstance(found, str):
                failures[row] = found
            else:
                rows.append(row)
                frames.append(self._framed(found))
        return self._seen(rows, frames), failures

    def failures(self, progress: Progress | None = None) -> dict[int, str]:
        """Return row → why, of the images that cannot be decoded. ``progress``: (images tried, images in all)."""
        found: dict[int, str] = {}
        for block in torch.arange(len(self)).split(8 * THREADS):
            for row, image in zip(block.tolist(), self._decoded(self._attempted, block.tolist()), strict=True):
                if isinstance(image, str):
                    found[row] = image
            if progress:
                progress(int(block[-1]) + 1, len(self))
        return found

    def read_all(self) -> Iterator[NDArray[np.uint8] | str]:
        """`read` of every row in turn, decoded ahead on a pool of threads."""
        for block in torch.arange(len(self)).split(8 * THREADS):
            yield from self._decoded(self.read, block.tolist())

    def part(self, begin: int, end: int) -> "ImageFiles":
        """Return the images ``begin`` … ``end`` − 1, in frames of the same shape."""
        rows = slice(begin, end)
        return replace(self, names=self.names[rows], paths=self.paths[rows], sizes=self.sizes[rows])

    def without(self, rows: Container[int]) -> "ImageFiles":
        """Return the other images, in frames of the same shape."""
        kept = [row for row in range(len(self)) if row not in rows]
        names, paths = [self.names[row] for row in kept], [self.paths[row] for row in kept]
        return replace(self, names=names, paths=paths, sizes=self.sizes[kept])

    def _attempted(self, row: int) -> NDArray[np.uint8] | str:
        decode = partial(
            decode_image,
            shape=(self.frame[0], *self.sizes[row].tolist()),
            resize=True,
            max_pixels=self.max_pixels,
            levels=self.levels,
        )
        return attempt(decode, self.paths[row])

    def _framed(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        frame = np.zeros(self.frame, dtype=np.uint8)
        frame[:, : image.shape[1], : image.shape[2]] = image
        return frame

    def _seen(self, rows: Sequence[int], frames: Iterable[NDArray[np.uint8]]) -> Tensor:
        """Return frames of these rows, (n, C, h, w), as a model sees them."""
        found = torch.empty(len(rows), *self.frame, dtype=torch.uint8)
        for place, frame in enumerate(frames):
            found[place] = torch.from_numpy(frame)
        return centre_crop(found, torch.from_numpy(self.sizes[rows]), self.side) if self.own_size else found

    def _decoded(self, decode: Callable[[int], Found], rows: Iterable[int]) -> Iterator[Found]:
        with without_pillow_warnings(), ThreadPoolExecutor(THREADS) as pool:
            yield from pool.map(decode, rows)


def open_images(
    probe: Probe,
    *,
    image_size: int | None,
    max_side: int | None,
    max_pixels: int,
    skip_unreadable: bool,
    levels: Levels = FULL,
    progress: Progress | None = None,
) -> tuple[ImageFiles, NDArray[np.bool_]]:
    """Return the images of a header pass, to be decoded later.

    Args:
        probe: the header pass.
        image_size: side in pixels that a model sees.
        max_side: None resizes every image to a square of ``image_size``. A number lets images keep their own size, but
            for those whose longer side is above it, which are reduced to it.
        max_pixels: larger images are refused before they are decoded.
        skip_unreadable: leave out what cannot be read, for which every image is decoded once. Without it the headers
            alone are looked at, and an image that turns out to be broken later is an error then.
        levels: what becomes of more than 8 bits.
        progress: called with (images tried, images in all) where every image is.

    Returns:
        the images, and a mask over the probe's names: which they are.

    Raises:
        InputError: images that cannot be read, or sizes that differ without ``image_size``.
    """
    readable = probe.report(probe.failures, skip_unreadable=skip_unreadable)
    probe.tell_white(levels)
    headers = list(probe.headers.values())
    side = common_size(probe, image_size)
    if max_side is None:
        sizes = np.broadcast_to(np.array(side, dtype=np.int64), (len(headers), 2))
    else:
        sizes = np.array([_reduced(header, max_side) for header in headers], dtype=np.int64).reshape(-1, 2)
    largest = tuple(int(side) for side in sizes.max(axis=0, initial=1))
    files = ImageFiles(
        names=[probe.names[row] for row in probe.headers],
        paths=[header.path for header in headers],
        sizes=sizes,
        frame=(probe.channels, largest[0], largest[1]),
        side=side,
        own_size=max_side is not None,
        max_pixels=max_pixels,
        levels=levels,
    )
    if not skip_unreadable:
        return files, readable
    broken = files.failures(progress)
    rows = list(probe.headers)
    readable = probe.report({rows[place]: why for place, why in broken.items()}, skip_unreadable=True) & readable
    return (files.without(broken) if broken else files), readable


def keeps_own_size(images: InputSet) -> bool:
    """Return whether images differ in size and are cut to one, instead of being resized."""
    return isinstance(images, ImageFiles) and images.own_size


def file_digest(probe: Probe, rows: Iterable[int], geometry: str) -> str:
    """Return sha256 (hex) over names and contents of some of the probed files, and how they are brought to size."""
    digest = hashlib.sha256(f"{geometry} in {probe.channels} channel(s)".encode())
    for row in rows:
        digest.update(repr(probe.names[row]).encode())
        digest.update(probe.headers[row].sha256)
    return digest.hexdigest()


def _reduced(header: Header, max_side: int) -> tuple[int, int]:
    scale = min(1.0, max_side / max(header.height, header.width))
    return max(1, round(header.height * scale)), max(1, round(header.width * scale))


def read_loose(
    paths: Sequence[Path | str],
    *,
    channels: int,
    image_size: int,
    max_side: int | None,
    max_pixels: int,
    levels: Levels = FULL,
) -> tuple[Tensor, dict[int, str]]:
    """Read files that the user has named; links are followed.

    Args:
        paths: the files.
        channels: 1 or 3. Images are made grey, or get three equal channels, where they have another number.
        image_size, max_side: as of `open_images`.
        max_pixels: larger images are not decoded.
        levels: what becomes of more than 8 bits.

    Returns:
        (n, channels, image_size, image_size) uint8, in order, the images that can be read; and place in ``paths`` →
        why, of the others.
    """
    root = Path("/")
    probe = probe_images(root, [os.path.realpath(path) for path in paths], max_pixels=max_pixels)
    sound = replace(probe, failures={}, channels=channels)
    files, _ = open_images(
        sound, image_size=image_size, max_side=max_side, max_pixels=max_pixels, skip_unreadable=False, levels=levels
    )
    images, broken = files.read_good()
    places = list(probe.headers)
    return images, probe.failures | {places[row]: why for row, why in broken.items()}
