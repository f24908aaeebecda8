"""Who runs a cell: a lock of the kernel on a file, which ends with its holder, whatever ends that.

On network file systems the lock is the server's: NFS gives a dead client's locks back when it has missed it, Lustre
needs the mount option ``flock`` (with ``localflock`` two machines may run one cell; its result is published once all
the same). A file system that has no locks is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from ebomlc_dist.errors import InputError

_PATIENCE_S = 60.0


class Lease:
    """The right to run one cell, as a block. Of several processes one has it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path, timeout=0, fallback_to_soft=False)

    def take(self) -> bool:
        """Take the lease, and return whether it is this process's; False where another one has it."""
        try:
            self._lock.acquire()
        except Timeout:
            return False
        except OSError as error:
            raise _without_locks(self._path, error) from error
        return True

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.give_back()

    def give_back(self) -> None:
        """Let another process have it."""
        self._lock.release()


def is_held(path: Path) -> bool:
    """Return whether a process has the lease at ``path``.

    Asking takes it for an instant, in which a worker may find the cell taken: it looks again before it leaves.
    """
    if not path.exists():
        return False
    lease = Lease(path)
    if not lease.take():
        return True
    lease.give_back()
    return False


@contextmanager
def store_lock(path: Path) -> Iterator[None]:
    """A block that one process at a time is in, for moments."""
    lock = FileLock(path, timeout=_PATIENCE_S, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(f"{path} is held by another process for {_PATIENCE_S:g} s; is one of them stopped?") from None
    except OSError as error:
        raise _without_locks(path, error) from error
    try:
        yield
    finally:
        lock.release()


def _without_locks(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be locked ({error.strerror or error}); a store needs a file system with locks, choose another "
        "folder with -o"
    )
