"""Packed images: a folder with one file for FFCV and ``pack.json``, which says what is in it and by which digest.

FFCV's decoders trust what they read, so that only a file whose digest `ffcv_writer.write_pack` wrote is opened. This
finds damage and mix-ups. It is no signature: whoever can write the folder can write a fitting ``pack.json``. Labels,
split and noise are not in it.
"""

import hashlib
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.inputs.safe_paths import RefusedPathError, open_regular
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.safe_json import read_json

MANIFEST = "pack.json"
PACKED = re.compile(r"[0-9a-f]{16}\.beton")
_Positive = Annotated[int, Field(ge=1)]


class Pack(BaseModel):
    """The content of pack.json.

    Attributes:
        images_digest: which images, in which order and brought to which size, see `Source.image_digests`.
        num_images: how many.
        frame: (C, h, w) of the largest.
        own_size: whether they keep their own size.
        file: name of the packed file in the same folder.
        size: its size in bytes.
        sha256: its digest, hex.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    pack_schema: Literal[1] = 1
    images_digest: str
    num_images: _Positive
    frame: Annotated[tuple[_Positive, _Positive, _Positive], Field(strict=False)]
    own_size: bool
    file: Annotated[str, Field(pattern=f"^{PACKED.pattern}$")]
    size: _Positive
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def pack_folder(data: DataConfig) -> Path:
    """Return where the packed images of a data set lie: ``data.pack_dir``, by default ``packed-<dataset>`` beside the
    data.
    """
    return data.pack_dir if data.pack_dir is not None else data.data_dir / f"packed-{data.dataset}"


def read_pack(folder: Path) -> Pack | None:
    """Return what lies packed in ``folder``, or None.

    The packed file itself is not looked at.

    Raises:
        InputError: a pack.json that is damaged or of another version.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        return Pack.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{path} is no pack.json of this program: {where}: {first['msg']}; run `ebomlc pack` again"
        ) from None


def checked_file(folder: Path, pack: Pack) -> Path:
    """Return the packed file, after its digest was found right.

    Reads all of it.

    Raises:
        InputError: it is missing or not the one that was packed.
    """
    path = folder.resolve() / pack.file
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, RefusedPathError) as error:
        raise InputError(f"{path} cannot be read ({error}); run `ebomlc pack` again") from None
    if digest != pack.sha256:
        raise InputError(f"{path} is not the file that was packed: its sha256 differs; run `ebomlc pack` again")
    return path
