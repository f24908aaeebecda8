"""A file of JSON lines that only grows, and that a resumed run can wind back to where its checkpoint stood."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable, operations
from ebomlc_dist.files.inside import open_to_append
from ebomlc_dist.files.reading import read_bytes
from ebomlc_dist.files.safe_json import null_for_nonfinite, parse_json

_BLOCK = 64 * 1024
_READ_BYTES = 1024 * 1024 * 1024


class Journal:
    """One JSON object a line. A last line that a dead process left without its end is cut off on opening.

    Args:
        path: the file; made if missing. Its folder must exist. Only one process may have it open.

    Raises:
        InputError: the path is a link or no regular file.
        OSError: it cannot be opened or made.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with durable.explained(self.path, 0):
            self._descriptor = open_to_append(self.path, self.path.parent)
            try:
                self._offset = _end_of_last_line(self._descriptor)
                self._torn = os.fstat(self._descriptor).st_size > self._offset
                self._cut_torn_end()
            except BaseException:
                self.close()
                raise

    @property
    def offset(self) -> int:
        """Bytes of all whole lines: what a checkpoint stores, after `sync`, and `truncate` takes back."""
        return self._offset

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one line. NaN and infinity become null.

        Raises:
            NoSpace: the disk is full. `offset` is as before, also after any other `OSError`, and appending may go on.
            TypeError, ValueError: the record does not fit JSON.
        """
        text = json.dumps(null_for_nonfinite(record), ensure_ascii=False, allow_nan=False)
        line = f"{text}\n".encode()
        with durable.explained(self.path, len(line)):
            self._cut_torn_end()
            # If this fails halfway, the next append, or the next opening, cuts the half line off.
            self._torn = True
            durable.write_all(self._descriptor, line)
            self._torn = False
        self._offset += len(line)

    def sync(self) -> None:
        """Flush every line to the disk."""
        with durable.explained(self.path, 0):
            operations.current().fsync(self._descriptor)

    def truncate(self, offset: int) -> None:
        """Wind back to an earlier `offset`: the lines after it belong to steps that will be done again.

        Raises:
            InputError: the file is shorter, or no line ends there; it is not the one the checkpoint was taken with.
        """
        if offset < 0 or (offset > 0 and os.pread(self._descriptor, 1, offset - 1) != b"\n"):
            raise InputError(
                f"{self.path} has {self._offset} bytes and does not fit the checkpoint, which ends a line at byte "
                f"{offset}; put the run's own file back, or start anew with another -o"
            )
        operations.current().truncate(self._descriptor, offset)
        self._offset = offset
        self.sync()

    def close(self) -> None:
        """Close the file. Lines since the last `sync` survive the process, not a power cut."""
        operations.current().close(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _cut_torn_end(self) -> None:
        if self._torn:
            operations.current().truncate(self._descriptor, self._offset)
            self._torn = False


def read_records(path: Path) -> list[dict[str, Any]]:
    """Return every whole line of a journal, which may be one that is being written.

    Raises:
        InputError: missing, above 1 GiB, or a line that is no JSON object, with its number.
    """
    *lines, _torn = read_bytes(path, _READ_BYTES).split(b"\n")
    found = []
    for number, line in enumerate(lines, start=1):
        record = parse_json(line, f"{path}, line {number},")
        if not isinstance(record, dict):
            raise InputError(f"{path}, line {number}, is no JSON object")
        found.append(record)
    return found


def _end_of_last_line(descriptor: int) -> int:
    """Return bytes up to and with the last line feed."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _BLOCK)
        position = os.pread(descriptor, end - start, start).rfind(b"\n")
        if position >= 0:
            return start + position + 1
        end = start
    return 0
