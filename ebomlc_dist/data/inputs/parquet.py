"""Parquet files, read by pyarrow where it is installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ebomlc_dist.errors import InputError


@contextmanager
def open_parquet(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield an open ``pyarrow.parquet.ParquetFile``, and ``pyarrow``.

    Raises:
        InputError: pyarrow is not installed.
        ValueError: no Parquet file (``pyarrow.ArrowInvalid``).
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise InputError(
            f"{path} needs pyarrow, which is not installed: `pip install 'ebomlc_dist[parquet]'`, or give .npy"
        ) from None
    with parquet.ParquetFile(path, memory_map=True) as file:
        yield file, pa
