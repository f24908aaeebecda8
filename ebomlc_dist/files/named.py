"""Write to a file that the user has named: a regular file, a device, a pipe or an open descriptor."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable
from ebomlc_dist.files.stream import stream_file

_STREAMS = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")


def check_named(path: Path, flag: str) -> None:
    """Raise `InputError`, which names ``flag``, where no file can be written to ``path``. Nothing is opened."""
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{flag} {path} cannot be a file there; give a file name in a folder that exists")
    # A regular file is replaced by another in its folder.
    needed = path.resolve().parent if is_replaced(path) else path
    if not os.access(needed, os.W_OK):
        raise InputError(f"{flag} {path} cannot be written: no permission for {needed}; choose another one")


def is_replaced(path: Path) -> bool:
    """Return whether ``path`` is, or will be, a regular file, by a link or not: it is replaced as a whole.

    Anything else, such as ``/dev/null``, ``/dev/stdout`` or a pipe, is opened and written to.
    """
    if _descriptor(path) is not None:
        return False
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        return True


def write_named(path: Path, blocks: Iterable[bytes]) -> None:
    """Write ``blocks`` one after another. A regular file keeps its old content until they are all written.

    Raises:
        NoSpace: the disk is full.
        InputError: it cannot be written.
    """
    try:
        if is_replaced(path):
            # By a link, what it points to is replaced, not the link.
            with stream_file(path.resolve()) as file:
                for block in blocks:
                    file.write(block)
            return
        descriptor = _descriptor(path)
        # An open file goes on where it stands, which may be a regular one that the shell writes to.
        opened = path.open("wb") if descriptor is None else os.fdopen(os.dup(descriptor), "wb")
        with durable.explained(path, 0), opened as file:
            for block in blocks:
                file.write(block)
    except durable.NoSpace:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another one") from error


def _descriptor(path: Path) -> int | None:
    """Return the number of an open file of this process, where ``path`` names one."""
    found = _DESCRIPTOR.fullmatch(str(path))
    return int(found[1]) if found else _STREAMS.get(str(path))
