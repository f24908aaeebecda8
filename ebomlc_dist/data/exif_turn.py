"""Whether an image is shown turned by a quarter, told from its header: width and height then change places."""

from io import BufferedReader

from PIL import ExifTags, Image

_TURNED = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_PNG_START, _PNG_CHUNK_HEAD, _PNG_CHUNK_END, _MOST_EXIF = 8, 8, 4, 65_536  # bytes


def is_turned(image: Image.Image) -> bool:
    """Whether the image that Pillow has opened is to be turned by a quarter, so that width and height change places."""
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
    """The EXIF chunk of a PNG file, which may stand behind the pixels; empty without one."""
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
