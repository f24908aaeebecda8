"""Atomic writes: a reader sees the old content or the new, never a part. The program writes through this layer alone.

A file is written under a temporary name beside its target, flushed to the disk, renamed, and the rename is flushed too.
An ordinary error removes the temporary name; one that a dead process left is found by `remove_litter`.
"""

import contextlib
import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import operations

_TEMPORARY = ".tmp-"
_STAT_BLOCK = 512
# Some network file systems refuse to flush a folder; their renames are durable by other means.
_FOLDER_SYNC_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP)


class NoSpace(InputError, OSError):
    """The disk (or the quota) is full. An `InputError` to a user, an `OSError` to a loop that can try again later."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = errno.ENOSPC


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the content of ``path`` atomically.

    Args:
        path: the target; its folder must exist. A link of this name is replaced, not followed.
        data: the whole new content.
        durable: flush file and folder to the disk. Without it the swap is still atomic for readers, but a power cut
            may bring the old content back: right for heartbeats.

    Raises:
        NoSpace: the disk is full; the old content stays.
        OSError: any other failure; the old content stays, unless only the last flush failed.
    """
    path = Path(path)
    temporary = path.with_name(temporary_name(path.name))
    with explained(path, len(data)):
        try:
            create_file(temporary, data, durable=durable)
            operations.current().rename(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                operations.current().unlink(temporary)
            raise
        if durable:
            sync_folder(path.parent)


def publish_bytes(path: Path, data: bytes, *, workplace: Path) -> bool:
    """Write ``path`` if it does not exist. Of several processes that try, one succeeds, and nothing is replaced.

    Args:
        path: the target; its folder must exist.
        data: the whole content.
        workplace: a folder of this process alone on the same file system, for the temporary name; what a death leaves
            there is found by `remove_litter`.

    Returns:
        False where somebody has published there before; that content stays.

    Raises:
        NoSpace: the disk is full; nothing is published.
        OSError: any other failure, a file system without hard links among them.
    """
    path, workplace = Path(path), Path(workplace)
    temporary = workplace / temporary_name(path.name)
    with explained(path, len(data)):
        try:
            create_file(temporary, data)
            published = _link(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                operations.current().unlink(temporary)
        if published:
            sync_folder(path.parent)
    return published


def _link(source: Path, target: Path) -> bool:
    try:
        operations.current().link(source, target)
    except FileExistsError:
        # A network file system may repeat a request whose answer was lost, and then report its own success as taken.
        return source.stat().st_nlink == 2
    return True


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Replace ``path`` by ``value`` as indented JSON, see `write_bytes`.

    Raises:
        ValueError: a value is NaN or infinite, which JSON cannot hold (see `safe_json.null_for_nonfinite`).
    """
    write_bytes(path, json_bytes(value), durable=durable)


def json_bytes(value: Any) -> bytes:
    """``value`` as an indented JSON file, strict: NaN and infinity raise ValueError."""
    return f"{json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()


def create_file(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write a file that must not exist yet, links included.

    Raises:
        OSError: the name is taken, or a call failed; then a part of the file may be left.
    """
    calls = operations.current()
    descriptor = calls.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW)
    try:
        write_all(descriptor, data)
        if durable:
            calls.fsync(descriptor)
            calls.forget(descriptor)
    finally:
        calls.close(descriptor)


def overwrite(path: Path, data: bytes) -> None:
    """Overwrite an existing file within the disk blocks that it has. Where it was longer, blanks fill the rest.

    Raises:
        NoSpace: it needs more room than that; nothing is written.
        OSError: a link, or another failure.
    """
    calls = operations.current()
    descriptor = calls.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        with explained(path, len(data)):
            found = os.fstat(descriptor)
            if len(data) > found.st_blocks * _STAT_BLOCK:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            write_all(descriptor, data.ljust(found.st_size))
            calls.fsync(descriptor)
    finally:
        calls.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte of ``data``, in as many calls as the system needs."""
    rest = memoryview(data)
    while rest:
        rest = rest[operations.current().write(descriptor, rest) :]


def make_folder(path: Path) -> None:
    """Make a folder and the missing ones above it, each entry flushed to the disk. One that exists is left alone."""
    path = Path(path)
    if path.is_dir():
        return
    make_folder(path.parent)
    with explained(path, 0):
        try:
            operations.current().mkdir(path)
        except FileExistsError:
            # Another process was faster; a file of that name is an error all the same.
            if not path.is_dir():
                raise
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries: what was created, renamed or removed in it survives a power cut."""
    calls = operations.current()
    descriptor = calls.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flush_folder(descriptor)
    finally:
        calls.close(descriptor)


def flush_folder(descriptor: int) -> None:
    """`sync_folder` of an open folder."""
    try:
        operations.current().fsync(descriptor)
    except OSError as error:
        if error.errno not in _FOLDER_SYNC_UNSUPPORTED:
            raise


def remove_tree(path: Path) -> None:
    """Remove a folder with all it holds, without following links. Of a link in its place the link alone is removed."""
    if path.is_symlink():
        operations.current().unlink(path)
        return
    with os.scandir(path) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in found:
        if is_folder:
            remove_tree(path / name)
        else:
            operations.current().unlink(path / name)
    operations.current().rmdir(path)


def temporary_name(name: str) -> str:
    """Return an unpredictable temporary name for a file that a rename then makes ``name``."""
    return f"{_TEMPORARY}{secrets.token_hex(8)}-{name[:40]}"


def is_litter(name: str) -> bool:
    """Return whether `temporary_name` made this name."""
    return name.startswith(_TEMPORARY)


def remove_litter(folder: Path) -> None:
    """Remove temporary files that a dead process left. Only the folder's writer may call it."""
    with os.scandir(folder) as entries:
        found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries if is_litter(e.name))
    for name, is_folder in found:
        if is_folder:
            remove_tree(folder / name)
        else:
            operations.current().unlink(folder / name)


@contextmanager
def explained(path: Path, size: int) -> Iterator[None]:
    """Turn a full disk or quota within the block into a `NoSpace` that names the path and the bytes it needs."""
    try:
        yield
    except OSError as error:
        if isinstance(error, NoSpace) or error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NoSpace(
            f"no space left while writing {path} ({size} bytes needed); free some, or choose another folder with -o"
        ) from error
