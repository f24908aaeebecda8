"""A file too large to be held in memory, written piece by piece and seen by readers only when it is whole."""

import contextlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from ebomlc_dist.files import durable, operations

_BUFFER = 1024 * 1024


class _Pieces(io.RawIOBase):
    """Bytes to a descriptor, by the system calls in force."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        durable.write_all(self._descriptor, data)
        self._written += size
        return size

    def tell(self) -> int:
        return self._written


@contextmanager
def stream_file(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, in order; at the end of the block it replaces ``path``, flushed to the disk.

    Where the block raises, the old content of ``path`` stays and what was written is removed.

    Raises:
        NoSpace: the disk is full.
        OSError: any other failure of the disk.
    """
    path = Path(path)
    temporary = path.with_name(durable.temporary_name(path.name))
    calls = operations.current()
    with durable.explained(path, 0):
        try:
            descriptor = calls.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
            try:
                stream = io.BufferedWriter(_Pieces(descriptor), _BUFFER)
                yield cast(BinaryIO, stream)
                stream.flush()
                calls.fsync(descriptor)
                calls.forget(descriptor)
            finally:
                calls.close(descriptor)
            calls.rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                calls.unlink(temporary)
            raise
        durable.sync_folder(path.parent)
