"""The system calls of the file layer, gathered in one object that a test can replace.

Everything that touches the disk asks `current` for it, so that a test can die, fail or fall short at every k-th call.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Operations:
    """System calls, one method each. Every method may raise `OSError`."""

    def open(self, path: Path, flags: int, folder: int | None = None) -> int:
        """Return a new descriptor, closed on exec.

        New files get mode 666 less the umask.

        A relative ``path`` is one in ``folder``, a folder's descriptor, where that is given.
        """
        return os.open(path, flags | os.O_CLOEXEC, 0o666, dir_fd=folder)

    def read(self, descriptor: int, size: int) -> bytes:
        """At most ``size`` bytes; empty at the end of the file."""
        return os.read(descriptor, size)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write some of ``data``; returns how many bytes, which may be fewer than given."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Return once the file's content (or the folder's entries) are on the disk."""
        os.fsync(descriptor)

    def forget(self, descriptor: int) -> None:
        """Drop the file's flushed pages from memory, so that the next reader gets what the disk holds."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""
        os.close(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        os.ftruncate(descriptor, size)

    def rename(self, source: Path, target: Path) -> None:
        """Move atomically; a file of the target's name is replaced."""
        source.replace(target)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name. Raises FileExistsError where the name is taken."""
        target.hardlink_to(source)

    def unlink(self, path: Path) -> None:
        """Remove a file or a link."""
        path.unlink()

    def mkdir(self, path: Path) -> None:
        """Make a folder with mode 777 less the umask."""
        path.mkdir()

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def free_bytes(self, path: Path) -> int:
        """Return bytes that this user may still write on the file system of ``path``."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize


_current = Operations()


def current() -> Operations:
    """Return the operations in force."""
    return _current


@contextmanager
def using(operations: Operations) -> Iterator[None]:
    """Put other operations in force within the block."""
    global _current
    before, _current = _current, operations
    try:
        yield
    finally:
        _current = before
