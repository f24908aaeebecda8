"""Features as a set of inputs: rows of arrays that may be mapped files, gathered as they are asked for."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.inputs.csv_table import stop_on
from ebomlc_dist.errors import InputError

_BLOCK_BYTES = 16 * 2**20
_KEPT = (np.dtype(np.float16), np.dtype(np.float32))
"""Handed on as they are; other numbers become float32."""


@dataclass(frozen=True)
class FeatureRows:
    """N rows of D features (an `InputSet`). Nothing is copied but the rows that are asked for.

    Attributes:
        parts: arrays of D columns, one after another; in memory, or mapped.
        chosen: (N,) int64, which rows of all parts they are, in order; None for all of them.
    """

    parts: tuple[NDArray, ...]
    chosen: NDArray[np.int64] | None = None

    @property
    def shape(self) -> torch.Size:
        """(N, D)."""
        number = sum(map(len, self.parts)) if self.chosen is None else len(self.chosen)
        return torch.Size((number, self.parts[0].shape[1]))

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype:
        """float16 where all parts are that, else float32."""
        return np.result_type(*(part.dtype if part.dtype in _KEPT else np.float32 for part in self.parts))

    @property
    def num_bytes(self) -> int:
        """Bytes that all rows take."""
        return len(self) * self.shape[1] * self.dtype.itemsize

    @property
    def mapped(self) -> bool:
        """Whether a part is a mapped file, so that memory may hold less than all rows."""
        return any(isinstance(part, np.memmap) for part in self.parts)

    def __getitem__(self, index: Tensor) -> Tensor:
        """(n, D) float16 or float32 for (n,) int64 rows."""
        rows = index.numpy() if self.chosen is None else self.chosen[index.numpy()]
        if len(self.parts) == 1:
            return torch.from_numpy(_taken(self.parts[0], rows, self.dtype))
        found = np.empty((len(rows), self.shape[1]), self.dtype)
        begin = 0
        for part in self.parts:
            own = (rows >= begin) & (rows < begin + len(part))
            found[own] = _taken(part, rows[own] - begin, self.dtype)
            begin += len(part)
        return torch.from_numpy(found)

    def take(self, rows: NDArray[np.int64]) -> "FeatureRows":
        """Return some of the rows, in the order given."""
        return replace(self, chosen=rows if self.chosen is None else self.chosen[rows])

    def whole(self) -> Tensor:
        """Return all rows in memory, (N, D)."""
        return self[torch.arange(len(self))]

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """Yield the first row and the values of each block of rows, in order; a block takes some megabytes."""
        size = max(1, _BLOCK_BYTES // (4 * self.shape[1]))
        for block in torch.arange(len(self)).split(size):
            yield int(block[0]) if len(block) else 0, self[block]


def _taken(part: NDArray, rows: NDArray[np.int64], dtype: np.dtype) -> NDArray:
    # A number that is too large for float32 becomes infinite, which is told by its row.
    with np.errstate(over="ignore"):
        return np.take(np.asarray(part), rows, axis=0).astype(dtype, copy=False)


def checked_digest(features: FeatureRows, what: str, ids: Sequence[str] | None = None) -> str:
    """Return sha256 (hex) over the shape, the dtype and the values of all rows. One pass.

    Args:
        features: the rows.
        what: the file or the argument, for messages.
        ids: what to call the rows; their numbers from 0 where None.

    Raises:
        InputError: rows that hold NaN or infinite values, all of them by row.
    """
    digest = hashlib.sha256(f"features {tuple(features.shape)} {features.dtype}".encode())
    bad: list[int] = []
    for first, values in features.blocks():
        bad += (first + (~values.isfinite()).any(dim=1).nonzero().flatten()).tolist()
        digest.update(values.contiguous().numpy().data)
    named = [f"{what}, row {row}" + ("" if ids is None or ids[row] == str(row) else f" ({ids[row]})") for row in bad]
    stop_on([f"{name} holds a value that is no finite number" for name in named], "Remove these rows, or mend them")
    return digest.hexdigest()


def check_array(array: NDArray, what: str) -> NDArray:
    """Return an array that can be features. Raises `InputError` for another shape, or for what are no numbers."""
    if array.ndim != 2 or not array.shape[1]:
        raise InputError(f"{what} has the shape {array.shape}; features are (N, D), one row an input")
    if array.dtype.kind not in "fiub":
        raise InputError(f"{what} holds {array.dtype}; features are numbers, best float16 or float32")
    return array
