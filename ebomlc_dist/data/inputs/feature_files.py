"""Features in files: ``.npy``, ``.npz``, ``.safetensors`` and ``.parquet``. Nothing in them is executed.

The first three are mapped into memory where they hold plain numbers uncompressed, so that a file may be larger than
memory. A compressed ``.npz`` and Parquet are read whole.

A file holds the features as its only array (N, D), or under a name such as ``features``. ``ids`` and ``labels`` beside
them are read too. In Parquet the features are one column of lists, or all columns of floats.
"""

import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.data.inputs.feature_rows import FeatureRows, check_array
from ebomlc_dist.data.inputs.parquet import open_parquet
from ebomlc_dist.data.inputs.safe_paths import RefusedPathError, listed, open_regular, shown
from ebomlc_dist.errors import InputError

FEATURE_NAMES = ("features", "embeddings", "embedding", "X", "x", "pred_probs")
ID_NAMES, LABEL_NAMES = ("ids", "id"), ("labels", "label", "y")
_MAX_HEADER_BYTES = 16 * 2**20
_SAFETENSORS = {
    "F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1",
    "BOOL": "?",
}  # fmt: skip


@dataclass(frozen=True)
class FeatureFile:
    """What a file of features holds.

    Attributes:
        path: the file, for messages.
        rows: the features.
        ids: N texts or numbers, where the file names its rows.
        labels: (N,), where it has some.
    """

    path: Path
    rows: FeatureRows
    ids: NDArray | None = None
    labels: NDArray | None = None


def read_features(path: Path) -> FeatureFile:
    """Open a file of features.

    Raises:
        InputError: missing, no regular file, another or a damaged format, objects (a pickle), no array (N, D), more
            than one, or ids or labels of another number.
    """
    arrays = _opened(path)
    name = _feature_name(path, arrays)
    if name is None:
        raise InputError(
            f"{path} holds {listed([f'{shown(key)} {value.shape}' for key, value in arrays.items()], 8) or 'nothing'}; "
            f"give one array (N, D), or name it {FEATURE_NAMES[0]}"
        )
    features = check_array(arrays[name], str(path))
    found = {key: _column(path, arrays, names, len(features)) for key, names in _COLUMNS.items()}
    return FeatureFile(path, FeatureRows((features,)), **found)


_COLUMNS = {"ids": ID_NAMES, "labels": LABEL_NAMES}


def read_arrays(path: Path) -> dict[str, NDArray]:
    """Return the arrays of a file by their name; ``.npy`` has one, under an empty name. See `read_features`."""
    return _opened(path)


def _opened(path: Path) -> dict[str, NDArray]:
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path} is not read: give {', '.join(_READERS)}; other files may be pickles, which run code")
    try:
        open_regular(path.resolve()).close()
        return read(path.resolve())
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except RefusedPathError as error:
        raise InputError(f"{path} {error}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        if any(word in str(error) for word in ("allow_pickle", "Object arrays", "Python objects")):
            raise InputError(f"{path} holds pickled objects, which are not read, as they may run code") from None
        raise InputError(f"{path} is damaged or of another format: {error}") from None


def _feature_name(path: Path, arrays: Mapping[str, NDArray]) -> str | None:
    for name in FEATURE_NAMES:
        if name in arrays:
            return name
    others = [name for name, value in arrays.items() if name not in (*ID_NAMES, *LABEL_NAMES)]
    return others[0] if len(others) == 1 else None


def _column(path: Path, arrays: Mapping[str, NDArray], names: tuple[str, ...], number: int) -> NDArray | None:
    name = next((name for name in names if name in arrays), None)
    if name is None:
        return None
    if arrays[name].shape not in ((number,), (number, 1)):
        raise InputError(f"{path} has {number} rows of features, and its {name} has the shape {arrays[name].shape}")
    return np.asarray(arrays[name]).reshape(-1)


def _npy(path: Path) -> dict[str, NDArray]:
    return {"": np.load(path, mmap_mode="r", allow_pickle=False)}


def _npz(path: Path) -> dict[str, NDArray]:
    found: dict[str, NDArray] = {}
    with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as loaded:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            stored = entry.compress_type == zipfile.ZIP_STORED
            mapped = _mapped_entry(path, entry) if stored else None
            found[name] = loaded[name] if mapped is None else mapped
    return found


def _mapped_entry(path: Path, entry: zipfile.ZipInfo) -> NDArray | None:
    """Map an uncompressed array of numbers in an archive; None for others."""
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(30)
        if header[:4] != b"PK\x03\x04":
            raise ValueError("an entry of the archive begins with other bytes")
        file.seek(
            entry.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        )
        begin, version = file.tell(), np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = reader(file)
        if dtype.hasobject or not math.prod(shape):
            return None
        if file.tell() - begin + math.prod(shape) * dtype.itemsize != entry.file_size:
            raise ValueError("an entry of the archive has another length than its header says")
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def _safetensors(path: Path) -> dict[str, NDArray]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, _MAX_HEADER_BYTES):
            raise ValueError("no safetensors header")
        header: dict[str, Any] = json.loads(file.read(length))
    found = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        shape, (begin, end) = tuple(map(int, entry["shape"])), map(int, entry["data_offsets"])
        if entry["dtype"] not in _SAFETENSORS:
            raise ValueError(f"{shown(name)} holds {shown(str(entry['dtype']))}; store it as F16 or F32")
        dtype = np.dtype(_SAFETENSORS[entry["dtype"]])
        if min(shape, default=0) < 0 or end - begin != math.prod(shape) * dtype.itemsize or not 0 <= begin <= end:
            raise ValueError(f"{shown(name)} has another length than its shape says")
        if 8 + length + end > size:
            raise ValueError(f"it ends before {shown(name)} does")
        # A map cannot be empty.
        place = 8 + length + begin
        found[name] = np.memmap(path, dtype, "r", place, shape) if end > begin else np.zeros(shape, dtype)
    return found


def _parquet(path: Path) -> dict[str, NDArray]:
    """Labels and ids as they are; features from the column of lists, or from all columns of floats."""
    with open_parquet(path) as (file, pa):
        number, schema = file.metadata.num_rows, file.schema_arrow
        small = [name for name in schema.names if name in (*ID_NAMES, *LABEL_NAMES)]
        found: dict[str, NDArray] = {}
        if small:
            table = file.read(columns=small)
            found = {name: np.array(table.column(name).to_pylist()) for name in small}
        lists = [
            field.name for field in schema if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type)
        ]
        floats = [field.name for field in schema if pa.types.is_floating(field.type) and field.name not in small]
        if len(lists) > 1:
            lists = [name for name in lists if name in FEATURE_NAMES][:1] or lists
        if len(lists) > 1 or not (lists or floats):
            return found | {name: np.zeros(0) for name in lists}
        features: NDArray | None = None
        begin = 0
        for batch in file.iter_batches(columns=lists or floats):
            block = _block(batch, lists)
            if features is None:
                features = np.empty((number, block.shape[1]), block.dtype)
            if block.shape[1] != features.shape[1]:
                raise ValueError(
                    f"row {begin} and later ones have {block.shape[1]} features instead of {features.shape[1]}"
                )
            features[begin : begin + len(block)] = block
            begin += len(block)
        return found | {"features": np.zeros((0, 1), np.float32) if features is None else features}


def _block(batch: Any, lists: list[str]) -> NDArray:
    """(n, D) of a batch of rows. Missing values become NaN."""
    if not lists:
        columns = [batch.column(place).to_numpy(zero_copy_only=False) for place in range(batch.num_columns)]
        return np.stack(columns, axis=1).astype(np.result_type(*columns, np.float16), copy=False)
    column = batch.column(0)
    if column.null_count:
        raise ValueError("a row has no features")
    values = column.flatten().to_numpy(zero_copy_only=False)
    if len(values) % max(len(column), 1):
        raise ValueError("rows have different numbers of features")
    block = values.reshape(len(column), -1)
    lengths = set(column.value_lengths().to_pylist()) if hasattr(column, "value_lengths") else {block.shape[1]}
    if lengths != {block.shape[1]}:
        raise ValueError("rows have different numbers of features")
    return block


_READERS: dict[str, Callable[[Path], dict[str, NDArray]]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".safetensors": _safetensors,
    ".parquet": _parquet,
}
