"""One image file that may come from a stranger: its header is judged before anything is decoded."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from ebomlc_dist.data.paths import RefusedPathError, open_regular, resolve_under

Item = TypeVar("Item")
Result = TypeVar("Result")

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff"})
_GREY = frozenset({"1", "L", "LA", "I;16", "I;16L", "I;16B", "I;16N"})
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"})
_TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height


class UnreadableImageError(ValueError):
    """An image that is refused or broken; the text says why, without the path."""


@dataclass(frozen=True)
class Header:
    """What an image says about itself before it is decoded.

    Attributes:
        path: the real path.
        width, height: as it is shown, that is, upright by EXIF.
        grey: whether it has no colours.
        sha256: of the file's bytes.
    """

    path: Path
    width: int
    height: int
    grey: bool
    sha256: bytes


def attempt(function: Callable[[Item], Result], item: Item) -> Result | str:
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


def probe_image(root: Path, max_pixels: int, name: str) -> Header:
    """The header of the file ``name`` under ``root``. Raises as `decode_image`, and `RefusedPathError`."""
    path = resolve_under(root, name)
    with _opened(path, max_pixels) as image:
        if image.mode not in _GREY | _COLOUR:
            raise UnreadableImageError(f"has pixels of kind {image.mode}, which is not supported; use 8 bits a channel")
        # The base class's: that of a PNG decodes the image, in search of what may stand behind the pixels.
        turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in _TURNED
        width, height = (image.height, image.width) if turned else (image.width, image.height)
        grey = image.mode in _GREY
    with open_regular(path) as file:
        return Header(path, width, height, grey, hashlib.file_digest(file, "sha256").digest())


def decode_image(path: Path, shape: tuple[int, ...], *, resize: bool, max_pixels: int) -> NDArray[np.uint8]:
    """The pixels of one file, upright.

    Args:
        path: a real path.
        shape: (C, H, W) to be had.
        resize: resize to H×W whatever the size, nothing is cut away; else another size is an error.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        (C, H, W) uint8.

    Raises:
        UnreadableImageError: refused, or of another size.
        Exception: whatever Pillow's decoders raise on damaged bytes; see `attempt`.
    """
    channels, height, width = shape
    with _opened(path, max_pixels) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode.startswith("I;16"):
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        image = image.convert("L" if channels == 1 else "RGB")
        if resize and image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if image.size != (width, height):
            raise UnreadableImageError(
                f"has {image.width}×{image.height} pixels where the others have {width}×{height}; give --image-size"
            )
        return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def read_thumbnail(root: Path, name: str, *, side: int, max_pixels: int) -> Image.Image | None:
    """An image file under ``root`` as RGB or grey, upright, at most ``side`` pixels wide and high; None where it cannot
    be read. Nothing of the file but its pixels is kept."""

    def shrunk(path: str) -> Image.Image:
        with without_bomb_warnings(), _opened(resolve_under(root.resolve(), path), max_pixels) as opened:
            image = ImageOps.exif_transpose(opened)
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            image.thumbnail((side, side))
            # Through an array: colour profiles and comments stay behind.
            return Image.fromarray(np.asarray(image))

    found = attempt(shrunk, name)
    return None if isinstance(found, str) else found


@contextmanager
def without_bomb_warnings() -> Iterator[None]:
    """Our own limit is an error and stands below Pillow's, which only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


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
