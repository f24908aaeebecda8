"""Read untrusted image files in two passes: every header first, then the pixels.

The header pass refuses what is no image, too large or a special file before it is decoded, and settles what the whole
set looks like (size, grey or colour, and the range of values beyond 8 bits). The pixel pass decodes on a thread pool
straight into one uint8 tensor, or is left to `lazy.ImageFiles`, which decodes what it is asked for.
"""

import logging
import os
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.inputs.decode import (
    Header,
    attempt,
    collected_pillow_warnings,
    decode_image,
    probe_image,
    without_pillow_warnings,
)
from ebomlc_dist.data.inputs.grey_levels import FULL, Levels, levels_of
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.errors import InputError

Result = TypeVar("Result")

log = logging.getLogger(__name__)

THREADS = min(8, os.cpu_count() or 1)
_DARK = 128
"""Upper bytes below this mean that not even 16 bits were in use."""


@dataclass(frozen=True)
class Probe:
    """Listed images after the header pass.

    Attributes:
        names: as they were listed.
        headers: row of ``names`` → header, in order, for those that look well.
        failures: row → why it cannot be read, for the others.
        channels: 1 where all are grey, else 3.
    """

    names: list[str]
    headers: dict[int, Header]
    failures: dict[int, str]
    channels: int

    def report(self, failures: dict[int, str], *, skip_unreadable: bool) -> NDArray[np.bool_]:
        """Log what cannot be read, and raise `InputError` listing it unless it may be left out.

        Returns:
            a mask (N,) over ``names``: which can be read.
        """
        _report(self.names, failures, skip_unreadable)
        return np.array([row not in failures for row in range(len(self.names))], dtype=bool)

    def without(self, rows: Collection[int]) -> "Probe":
        """Return the same without the images of these rows."""
        kept = {row: place for place, row in enumerate(r for r in range(len(self.names)) if r not in rows)}
        return Probe(
            [self.names[row] for row in kept],
            {kept[row]: header for row, header in self.headers.items() if row in kept},
            {kept[row]: reason for row, reason in self.failures.items() if row in kept},
            self.channels,
        )

    def levels(self, number: int) -> Levels:
        """Return what becomes of more than 8 bits, by the first ``number`` images, which are those of training.

        Raises:
            InputError: images of 16 bits a channel whose content has fewer: Pillow gives their upper bytes alone.
        """
        training = [header for row, header in self.headers.items() if row < number]
        tops = [header.top16 for header in training if header.top16 is not None]
        if tops and max(tops) < _DARK:
            raise InputError(
                f"{len(tops)} images have 16 bits a channel and use {max(tops) + 1} of 256 levels of the upper "
                "byte, which is all that is read; scale them to 8 bits a channel first"
            )
        levels = levels_of(header.range16 for header in training if header.range16 is not None)
        if levels != FULL:
            log.warning("grey images of 16 bits use %d…%d: these values become 0…255", levels.low, levels.top)
        return levels

    def tell_white(self, levels: Levels) -> None:
        """Log the images that have values above ``levels``."""
        above = [row for row, header in self.headers.items() if header.range16 and header.range16[1] > levels.top]
        if above:
            log.warning(
                "%d images have values above %d, the range of the training images, which become white: %s",
                len(above),
                levels.top,
                listed([shown(self.names[row]) for row in above], 10),
            )


def probe_images(root: Path, names: list[str], *, max_pixels: int) -> Probe:
    """Look at every file's header, and at its bytes for their digest. What Pillow warns of is logged by file, once.

    Args:
        root: the data folder; links that leave it are refused.
        names: paths relative to ``root``.
        max_pixels: larger images are refused.
    """
    root = root.resolve()
    with collected_pillow_warnings() as warned, ThreadPoolExecutor(THREADS) as pool:
        probed = list(pool.map(partial(attempt, partial(probe_image, root, max_pixels)), names))
    if warned:
        lines = [f"{shown(name)}: {reason[:200]}" for name, reason in sorted(warned.items())]
        log.warning("Pillow warns of %d of %d images: %s", len(lines), len(names), listed(lines, 10))
    headers = {row: found for row, found in enumerate(probed) if isinstance(found, Header)}
    failures = {row: found for row, found in enumerate(probed) if isinstance(found, str)}
    return Probe(names, headers, failures, 1 if all(header.grey for header in headers.values()) else 3)


def read_images(
    root: Path,
    names: list[str],
    *,
    image_size: int | None,
    max_pixels: int,
    skip_unreadable: bool,
    levels: Levels = FULL,
    progress: Progress | None = None,
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Read image files under ``root`` into one tensor: the first frame, upright by EXIF, grey only if all are grey.

    Args:
        root: the data folder; links that leave it are refused.
        names: paths relative to ``root``.
        image_size: side in pixels; every image is resized to a square of it, nothing is cut away.
        max_pixels: larger images are refused before they are decoded.
        skip_unreadable: leave out what cannot be read (each is logged) instead of stopping.
        levels: what becomes of more than 8 bits.
        progress: called with (images read, images in all).

    Returns:
        images (M, C, H, W) uint8, C 1 or 3, and a mask (N,) over ``names``: which were read, in order, M of them.

    Raises:
        InputError: images that cannot be read, all of them by path; or sizes that differ without ``image_size``.
    """
    probe = probe_images(root, names, max_pixels=max_pixels)
    return decode_images(
        probe,
        image_size=image_size,
        max_pixels=max_pixels,
        skip_unreadable=skip_unreadable,
        levels=levels,
        progress=progress,
    )


def decode_images(
    probe: Probe,
    *,
    image_size: int | None,
    max_pixels: int,
    skip_unreadable: bool,
    levels: Levels = FULL,
    progress: Progress | None = None,
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Decode the pixels of probed images: the second pass of `read_images`."""
    probe.tell_white(levels)
    height, width = common_size(probe, image_size)
    try:
        pixels = np.empty((len(probe.headers), probe.channels, height, width), dtype=np.uint8)
    except MemoryError:
        raise InputError(
            f"{len(probe.headers)} images of {width}×{height} pixels do not fit into memory; give a smaller "
            "--image-size, or --loader dataloader, which holds none of them"
        ) from None
    rows = list(probe.headers)

    def decode(item: tuple[int, Path]) -> None:
        row, path = item
        pixels[row] = decode_image(
            path, pixels.shape[1:], resize=image_size is not None, max_pixels=max_pixels, levels=levels
        )

    with without_pillow_warnings(), ThreadPoolExecutor(THREADS) as pool:
        outcomes = pool.map(partial(attempt, decode), enumerate(header.path for header in probe.headers.values()))
        decoded = list(_counted(outcomes, len(rows), progress))
    failures = {row: found for row, found in zip(rows, decoded, strict=True) if isinstance(found, str)}
    readable = probe.report(probe.failures | failures, skip_unreadable=skip_unreadable)
    return torch.from_numpy(pixels if len(rows) == readable.sum() else pixels[readable[rows]]), readable


def resize_square(images: Tensor, side: int) -> Tensor:
    """(N, C, H, W) uint8 images as (N, C, side, side) uint8, bilinear with anti-aliasing."""
    if images.shape[2:] == (side, side):
        return images
    resized = images.new_empty(*images.shape[:2], side, side)
    for begin in range(0, len(images), 1024):
        block = images[begin : begin + 1024].float()
        block = functional.interpolate(block, size=(side, side), mode="bilinear", antialias=True)
        resized[begin : begin + 1024] = block.round_().clamp_(0, 255).to(torch.uint8)
    return resized


def common_size(probe: Probe, image_size: int | None) -> tuple[int, int]:
    """Return height and width of the set. Raises `InputError` for sizes that differ without ``image_size``."""
    if image_size is not None:
        return image_size, image_size
    first: tuple[int, Header] | None = None
    for row, header in probe.headers.items():
        first = first or (row, header)
        if (header.width, header.height) != (first[1].width, first[1].height):
            raise InputError(
                f"images differ in size: {shown(probe.names[first[0]])} has {first[1].width}×{first[1].height} pixels, "
                f"{shown(probe.names[row])} has {header.width}×{header.height}; give --image-size, to which all are "
                "resized"
            )
    return (first[1].height, first[1].width) if first else (1, 1)


def _counted(outcomes: Iterable[Result], total: int, progress: Progress | None) -> Iterator[Result]:
    for done, outcome in enumerate(outcomes, start=1):
        if progress and (done % 100 == 0 or done == total):
            progress(done, total)
        yield outcome


def _report(names: list[str], failures: dict[int, str], skip_unreadable: bool) -> None:
    lines = [f"{shown(names[row])} {failures[row]}" for row in sorted(failures)]
    # Where the run stops, the error itself lists them; the log keeps those it has no room for.
    level = logging.WARNING if skip_unreadable else logging.INFO
    for line in lines:
        log.log(level, "unreadable image: %s", line)
    if lines and not skip_unreadable:
        raise InputError(
            f"{len(lines)} of {len(names)} images cannot be read: {listed(lines)}. Fix or delete them, or skip "
            "them with --skip-unreadable"
        )
