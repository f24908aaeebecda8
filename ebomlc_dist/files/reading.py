"""Read an untrusted file: regular files only, a limit on the size, no waiting."""

import os
import stat
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import operations

_BLOCK = 64 * 1024 * 1024


def read_bytes(path: Path, max_bytes: int, *, follow_links: bool = True) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file.
        max_bytes: a larger file is refused before it is read.
        follow_links: False refuses a symbolic link as the last part of the path.

    Raises:
        InputError: missing, not a regular file (a pipe or a device is not opened), too large, or not readable.
    """
    path = Path(path)
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        _check(path, path.stat(follow_symlinks=follow_links), max_bytes)
        descriptor = operations.current().open(path, flags)
        try:
            _check(path, os.fstat(descriptor), max_bytes)
            return _read_all(descriptor, path, max_bytes)
        finally:
            operations.current().close(descriptor)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _check(path: Path, found: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"{path} is not a regular file (links, pipes, devices and folders are not read here)")
    if found.st_size > max_bytes:
        raise InputError(f"{path} has {found.st_size} bytes, at most {max_bytes} are read")


def _read_all(descriptor: int, path: Path, max_bytes: int) -> bytes:
    # The file may grow while it is read, and some special files claim a size of 0: count what really comes.
    blocks, total = [], 0
    while block := operations.current().read(descriptor, min(_BLOCK, max_bytes + 1 - total)):
        blocks.append(block)
        total += len(block)
        if total > max_bytes:
            raise InputError(f"{path} has more than {max_bytes} bytes, at most {max_bytes} are read")
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)
