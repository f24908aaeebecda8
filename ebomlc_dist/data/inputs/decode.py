"""Decode one untrusted image file. Its header is checked before anything is decoded."""

import hashlib
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from ebomlc_dist.data.inputs.grey_levels import FULL, Levels, Range
from ebomlc_dist.data.inputs.safe_paths import RefusedPathError, open_regular, resolve_under

Item = TypeVar("Item")
Result = TypeVar("Result")

SUFFIXES_OF = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "AVIF": (".avif",),
    "ICO": (".ico",),
    "DDS": (".dds",),
    "PSD": (".psd",),
    "QOI": (".qoi",),
    "SUN": (".ras",),
    "TGA": (".tga", ".icb", ".vda", ".vst"),
    "PCX": (".pcx",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
}
"""The still pictures that Pillow decodes by itself. EPS and WMF are not among them: another program draws them."""
FORMATS = tuple(SUFFIXES_OF)
COMMON_FORMATS = f"{', '.join(FORMATS[:6])} and other formats that Pillow reads"
"""For messages."""
SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_OF.values() for suffix in suffixes)
# Two bytes or none tell these formats from anything else, so that they are read under their own names alone.
_BY_NAME_ALONE = ("TGA", "PCX", "SGI")
_DEEP_GREY = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_GREY = frozenset({"1", "L", "LA"}) | _DEEP_GREY
_COLOUR = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"})
_PILLOW = r"PIL\."

_probed = threading.local()


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
        range16: of a grey image of more than 8 bits, the values that it uses.
        top16: of another image of 16 bits a channel, the highest upper byte. Pillow gives no more than the upper byte.
    """

    path: Path
    width: int
    height: int
    grey: bool
    sha256: bytes
    range16: Range | None = None
    top16: int | None = None


def attempt(function: Callable[[Item], Result], item: Item) -> Result | str:
    """Return the function's result, or the reason for which a file could not be read."""
    try:
        return function(item)
    except (RefusedPathError, UnreadableImageError) as error:
        return str(error)
    except Image.DecompressionBombError as error:
        return f"is refused by Pillow: {error}"
    except PermissionError as error:
        return f"cannot be read ({error.strerror})"
    except Exception as error:
        # Pillow's decoders raise almost anything on damaged bytes: struct.error, IndexError, SyntaxError, …
        reason = " ".join(str(error).split())
        return f"is damaged or no image ({type(error).__name__}: {reason[:200]})"


def probe_image(root: Path, max_pixels: int, name: str) -> Header:
    """Return the header of the file ``name`` under ``root``.

    Raises as `decode_image`, and `RefusedPathError`.

    Only images of more than 8 bits are decoded, for the values that they use.
    """
    _probed.name = name
    path = resolve_under(root, name)
    range16: Range | None = None
    top16: int | None = None
    with _opened(path, max_pixels) as image:
        if image.mode not in _GREY | _COLOUR:
            raise UnreadableImageError(f"has pixels of kind {image.mode}, which is not supported; use 8 bits a channel")
        width, height = (image.height, image.width) if is_turned(image) else (image.width, image.height)
        grey = image.mode in _GREY
        if image.mode in _DEEP_GREY:
            range16 = _range_of(image)
        elif _has_16_bits(image):
            top16 = int(np.asarray(image.convert("RGB")).max())
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").digest()
    return Header(path, width, height, grey, digest, range16, top16)


def decode_image(
    path: Path, shape: tuple[int, ...], *, resize: bool, max_pixels: int, levels: Levels = FULL
) -> NDArray[np.uint8]:
    """Return the pixels of one file, upright.

    Args:
        path: a real path.
        shape: (C, H, W) to be had.
        resize: resize to H×W whatever the size, nothing is cut away; else another size is an error.
        max_pixels: larger images are refused before they are decoded.
        levels: what becomes of more than 8 bits.

    Returns:
        (C, H, W) uint8.

    Raises:
        UnreadableImageError: refused, or of another size.
        Exception: whatever Pillow's decoders raise on damaged bytes; see `attempt`.
    """
    channels, height, width = shape
    with _opened(path, max_pixels) as opened:
        image = _of_8_bits(ImageOps.exif_transpose(opened), levels)
        image = image.convert("L" if channels == 1 else "RGB")
        if resize and image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        if image.size != (width, height):
            raise UnreadableImageError(
                f"has {image.width}×{image.height} pixels where the others have {width}×{height}; give --image-size"
            )
        return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def read_thumbnail(root: Path, name: str, *, side: int, max_pixels: int, levels: Levels = FULL) -> Image.Image | None:
    """Return an image file under ``root`` as RGB or grey, upright, at most ``side`` pixels wide and high; None where it
    cannot be read. Nothing of the file but its pixels is kept. ``levels``: what becomes of more than 8 bits.
    """

    def shrunk(path: str) -> Image.Image:
        with without_pillow_warnings(), _opened(resolve_under(root.resolve(), path), max_pixels) as opened:
            image = _of_8_bits(ImageOps.exif_transpose(opened), levels)
            image = image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")
            image.thumbnail((side, side))
            # Through an array: colour profiles and comments stay behind.
            return Image.fromarray(np.asarray(image))

    found = attempt(shrunk, name)
    return None if isinstance(found, str) else found


@contextmanager
def without_pillow_warnings() -> Iterator[None]:
    """Silence Pillow's warnings, which the header pass has logged. Enter it outside a pool of threads, not within."""
    with warnings.catch_warnings():
        ignore_pillow_warnings()
        yield


def ignore_pillow_warnings() -> None:
    """The same for a process that does nothing but decode."""
    warnings.filterwarnings("ignore", module=_PILLOW)


@contextmanager
def collected_pillow_warnings() -> Iterator[dict[str, str]]:
    """What Pillow warns of in `probe_image`, by the name of the image: the first warning of each.

    Its limit on pixels is left out: our own is an error and stands below it.
    """
    found: dict[str, str] = {}

    def take(message: Warning | str, *_: Any, **__: Any) -> None:
        found.setdefault(getattr(_probed, "name", ""), " ".join(str(message).split()))

    with warnings.catch_warnings():
        warnings.filterwarnings("always", module=_PILLOW)
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.showwarning = take
        yield found


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    with open_regular(path) as file:
        try:
            image = Image.open(file, formats=_readable(path.suffix.lower()))
        except Image.UnidentifiedImageError:
            raise UnreadableImageError(f"is none of {COMMON_FORMATS}") from None
        with image:
            if image.width * image.height > max_pixels:
                raise UnreadableImageError(
                    f"has {image.width}×{image.height} pixels, more than {max_pixels} (data.max_pixels)"
                )
            yield image


@lru_cache(maxsize=64)
def _readable(suffix: str) -> tuple[str, ...]:
    """Return those of `FORMATS` that this build of Pillow has and that a file with this suffix may be of."""
    Image.init()
    found = [name for name in FORMATS if name in Image.OPEN]
    return tuple(name for name in found if name not in _BY_NAME_ALONE or suffix in SUFFIXES_OF[name])


def _has_16_bits(image: Image.Image) -> bool:
    """Return whether a channel has 16 bits in the file, by the name of Pillow's unpacker."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _range_of(image: Image.Image) -> Range:
    pixels = np.asarray(image)
    low, high = int(pixels.min()), int(pixels.max())
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise UnreadableImageError(f"has values from {low} to {high}, and 0 to 65535 are read; use 8 bits a channel")
    return low, high


def _of_8_bits(image: Image.Image, levels: Levels) -> Image.Image:
    return Image.fromarray(levels.apply(np.asarray(image))) if image.mode in _DEEP_GREY else image


_TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_PNG_START, _PNG_CHUNK_HEAD, _PNG_CHUNK_END, _MOST_EXIF = 8, 8, 4, 65_536  # bytes


def is_turned(image: Image.Image) -> bool:
    """Return whether EXIF turns the opened image by a quarter, so that width and height change places."""
    if image.format == "TIFF":
        return False  # Pillow has exchanged them already.
    # The base class's: that of a PNG decodes the image, in search of what may stand behind the pixels.
    exif = Image.Image.getexif(image)
    file = getattr(image, "fp", None)
    if image.format == "PNG" and not exif and isinstance(file, BufferedReader) and (late := _late_png_exif(file)):
        exif = Image.Exif()
        exif.load(late)
    return exif.get(ExifTags.Base.Orientation, 1) in _TURNED


def _late_png_exif(file: BufferedReader) -> bytes:
    """Return the EXIF chunk of a PNG file, which may stand behind the pixels; empty without one."""
    place = file.tell()
    try:
        file.seek(_PNG_START)
        while len(head := file.read(_PNG_CHUNK_HEAD)) == _PNG_CHUNK_HEAD:
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind == b"eXIf":
                return b"Exif\0\0" + file.read(min(length, _MOST_EXIF))
            file.seek(length + _PNG_CHUNK_END, 1)
        return b""
    finally:
        file.seek(place)
