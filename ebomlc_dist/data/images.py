"""Reading image files that may come from a stranger, in two passes: every header first, then the pixels.

The header pass refuses what is no image, too large or a special file before anything is decoded, and settles what the
whole set looks like (size, grey or colour). The pixel pass decodes on a thread pool straight into one uint8 tensor.
"""

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.paths import RefusedPathError, listed, open_regular, resolve_under, shown
from ebomlc_dist.errors import InputError

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
_GREY = frozenset({"1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"})
_THREADS = min(8, os.cpu_count() or 1)


class UnreadableImageError(ValueError):
    """An image that is refused or broken; the text says why, without the path."""


@dataclass(frozen=True)
class Header:
    """What an image says about itself before it is decoded; width and height before any EXIF rotation."""

    path: Path
    width: int
    height: int
    grey: bool


def read_images(
    root: Path,
    names: list[str],
    *,
    image_size: int | None,
    max_pixels: int,
    skip_unreadable: bool,
    progress: Progress | None = None,
) -> tuple[Tensor, NDArray[np.bool_]]:
    """Read image files under ``root`` into one tensor: the first frame, upright by EXIF, grey only if all are grey.

    Args:
        root: the data folder; links that leave it are refused.
        names: paths relative to ``root``.
        image_size: side in pixels; every image is resized to a square of it, nothing is cut away.
        max_pixels: larger images are refused before they are decoded.
        skip_unreadable: leave out what cannot be read (each is logged) instead of stopping.
        progress: called with (images read, images in all).

    Returns:
        images (M, C, H, W) uint8, C 1 or 3, and a mask (N,) over ``names``: which were read, in order, M of them.

    Raises:
        InputError: images that cannot be read, all of them by path; or sizes that differ without ``image_size``.
    """
    root = root.resolve()
    with _without_bomb_warnings(), ThreadPoolExecutor(_THREADS) as pool:
        probed = list(pool.map(partial(_attempt, partial(_probe, root, max_pixels)), names))
        headers = {row: found for row, found in enumerate(probed) if isinstance(found, Header)}
        channels = 1 if all(header.grey for header in headers.values()) else 3
        height, width = _common_size(names, headers, image_size)
        try:
            pixels = np.empty((len(headers), channels, height, width), dtype=np.uint8)
        except MemoryError:
            raise InputError(
                f"{len(headers)} images of {width}×{height} pixels do not fit into memory; give a smaller --image-size"
            ) from None
        rows = list(headers)
        decode = partial(_decode, max_pixels, pixels, image_size)
        outcomes = pool.map(partial(_attempt, decode), enumerate(header.path for header in headers.values()))
        decoded = list(_counted(outcomes, len(rows), progress))
    failures = {row: found for row, found in enumerate(probed) if isinstance(found, str)}
    failures |= {row: found for row, found in zip(rows, decoded, strict=True) if isinstance(found, str)}
    _report(names, failures, skip_unreadable)
    readable = np.array([row not in failures for row in range(len(names))], dtype=bool)
    return torch.from_numpy(pixels if len(rows) == readable.sum() else pixels[readable[rows]]), readable


def read_thumbnail(root: Path, name: str, *, side: int, max_pixels: int) -> Image.Image | None:
    """An image file under ``root`` as RGB or grey, upright, at most ``side`` pixels wide and high; None where it cannot
    be read. Nothing of the file but its pixels is kept."""
    found = _attempt(partial(_shrunk, root.resolve(), side, max_pixels), name)
    return None if isinstance(found, str) else found


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


def _attempt(function: Callable[[Item], Result], item: Item) -> Result | str:
    """The function's result, or the reason for which a file could not be read."""
    try:
        return function(item)
    except (RefusedPathError, UnreadableImageError) as error:
        return str(error)
    except Image.DecompressionBombError as error:
        return f"is refused by Pillow: {error}"
    except Exception as error:
        # Pillow's decoders raise almost anything on damaged bytes: struct.error, IndexError, SyntaxError, …
        reason = " ".join(str(error).split())
        return f"is damaged or no image ({type(error).__name__}: {reason[:200]})"


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    with open_regular(path) as file:
        try:
            image = Image.open(file, formats=FORMATS)
        except Image.UnidentifiedImageError:
            raise UnreadableImageError(f"is none of {', '.join(FORMATS)}") from None
        with image:
            if image.width * image.height > max_pixels:
                raise UnreadableImageError(
                    f"has {image.width}×{image.height} pixels, more than {max_pixels} (data.max_pixels)"
                )
            yield image


def _probe(root: Path, max_pixels: int, name: str) -> Header:
    path = resolve_under(root, name)
    with _opened(path, max_pixels) as image:
        if image.mode not in _GREY | _COLOUR:
            raise UnreadableImageError(f"has pixels of kind {image.mode}, which is not supported; use 8 bits a channel")
        return Header(path, image.width, image.height, image.mode in _GREY)


def _decode(max_pixels: int, pixels: NDArray[np.uint8], size: int | None, item: tuple[int, Path]) -> None:
    """Write one image to its row of ``pixels``."""
    row, path = item
    channels, height, width = pixels.shape[1:]
    with _opened(path, max_pixels) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
        if size is not None:
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        if image.size != (width, height):
            raise UnreadableImageError(
                f"has {image.width}×{image.height} pixels where the others have {width}×{height}; give --image-size"
            )
        pixels[row] = np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _shrunk(root: Path, side: int, max_pixels: int, name: str) -> Image.Image:
    with _without_bomb_warnings(), _opened(resolve_under(root, name), max_pixels) as opened:
        image = ImageOps.exif_transpose(opened)
        image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
        image.thumbnail((side, side))
        # Through an array: colour profiles and comments stay behind.
        return Image.fromarray(np.asarray(image))


def _common_size(names: list[str], headers: dict[int, Header], image_size: int | None) -> tuple[int, int]:
    """Height and width of the set."""
    if image_size is not None:
        return image_size, image_size
    first: tuple[int, Header] | None = None
    for row, header in headers.items():
        first = first or (row, header)
        if (header.width, header.height) != (first[1].width, first[1].height):
            raise InputError(
                f"images differ in size: {shown(names[first[0]])} has {first[1].width}×{first[1].height} pixels, "
                f"{shown(names[row])} has {header.width}×{header.height}; give --image-size, to which all are resized"
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
            f"{len(lines)} of {len(names)} images cannot be read: {listed(lines)}. Mend or remove them, or leave them "
            "out with --skip-unreadable"
        )


@contextmanager
def _without_bomb_warnings() -> Iterator[None]:
    """Our own limit is an error and stands below Pillow's, which only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield
