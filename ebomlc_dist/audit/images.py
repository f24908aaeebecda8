"""The audited images themselves: their files where they have some, else their pixels; thumbnails without metadata.

Features have no picture of their own. What they were made of is shown where the person has said it (`Previews`).
"""

import base64
import io
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import NoisyDataset, are_features
from ebomlc_dist.data.inputs.decode import read_thumbnail
from ebomlc_dist.data.inputs.safe_paths import RefusedPathError, open_regular, resolve_under

SIDE = 160
_LOSSLESS_SIDE = 64
_MOST_LETTERS = 2000


class ImageFiles:
    """The training images of a run, by their row.

    Attributes:
        root: the data folder where ids are paths below it, else None.
    """

    def __init__(self, data: DataConfig, dataset: NoisyDataset) -> None:
        self.root = data.data_dir.resolve() if data.dataset == "folder" else None
        self._max_pixels = data.max_pixels
        self._dataset = dataset

    def shown(self, row: int) -> dict[str, str]:
        """Return what a person is shown: ``image``, a ``data:`` URL, ``text``, both, or nothing."""
        if not are_features(self._dataset.images):
            return {"image": self.thumbnail(row)}
        previews = self._dataset.previews
        found: dict[str, str] = {}
        if previews is None:
            return found
        if previews.paths and previews.paths[row]:
            image = read_thumbnail(previews.root, previews.paths[row], side=SIDE, max_pixels=previews.max_pixels)
            found = {"text": previews.paths[row]} if image is None else {"image": _url(image)}
        if previews.texts and previews.texts[row]:
            found["text"] = previews.texts[row][:_MOST_LETTERS]
        return found

    def path(self, row: int) -> Path | None:
        """Return the real path of an image's file; None where it has none, or it has gone."""
        if self.root is None:
            return None
        try:
            return resolve_under(self.root, self._dataset.ids[row])
        except RefusedPathError:
            return None

    def content(self, row: int) -> tuple[str, bytes]:
        """Return suffix and bytes of an image's file, or of a PNG file of the pixels that were trained on."""
        path = self.path(row)
        if path is not None:
            with open_regular(path) as file:
                return path.suffix.lower(), file.read()
        return ".png", png(self._pixels(row))

    def thumbnail(self, row: int) -> str:
        """Return an image as a ``data:`` URL, at most `SIDE` pixels wide and high, encoded anew."""
        image = None
        if self.root is not None:
            image = read_thumbnail(
                self.root,
                self._dataset.ids[row],
                side=SIDE,
                max_pixels=self._max_pixels,
                levels=self._dataset.levels,
            )
        if image is None:
            image = _pillow(self._pixels(row))
            image.thumbnail((SIDE, SIDE))
        return _url(image)

    def _pixels(self, row: int) -> Tensor:
        """(C, H, W) uint8."""
        return self._dataset.images[torch.tensor([row])][0]


def _url(image: Image.Image) -> str:
    kind, options = ("png", {}) if max(image.size) <= _LOSSLESS_SIDE else ("jpeg", {"quality": 82})
    return f"data:image/{kind};base64,{base64.b64encode(_encoded(image, kind, **options)).decode()}"


def png(pixels: Tensor) -> bytes:
    """Return pixels (C, H, W) uint8 as a PNG file."""
    return _encoded(_pillow(pixels), "png")


def _pillow(pixels: Tensor) -> Image.Image:
    array = pixels.numpy()
    return Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()
