"""Who holds a run folder, for commands whose processes claim it. A refused start leaves no folder behind."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable
from ebomlc_dist.files.durable import is_litter
from ebomlc_dist.files.run_folder import LOCKS_UNSUPPORTED, RunFolder, signature_of
from ebomlc_dist.files.safe_json import read_json


@contextmanager
def sole_command(folder: Path) -> Iterator[None]:
    """Within the block no other command starts processes for ``folder``, which is made where it is missing.

    A file system without locks lets every command pass.

    Raises:
        InputError: another command is within its block, or the folder cannot be made.
    """
    try:
        durable.make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except durable.NoSpace:
        raise
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"the run folder {folder} cannot be written: {reason}; choose another one with -o") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another command is running in {folder}; stop it first, or choose another folder with `-o FOLDER`"
            ) from None
        except OSError as error:
            if error.errno not in (*LOCKS_UNSUPPORTED, errno.EBADF, errno.EISDIR):
                raise
        yield
    finally:
        os.close(descriptor)


def taken_by_other(folder: Path, start: str, *, changed: bool) -> str | None:
    """Return who has claimed ``folder`` in the place of our processes; None where nobody has.

    Args:
        folder: the run folder.
        start: what our processes have found under `START` in their environment, and left in the lock.
        changed: whether a run was at work there since they began.
    """
    run = RunFolder(folder)
    try:
        signature = read_json(run.lock, follow_links=False)
    except InputError:
        return None
    if not isinstance(signature, dict) or signature.get("start") == start:
        return None
    # Else it is what an earlier run left behind.
    return signature_of(run) if changed or is_locked(run.lock) else None


def is_locked(lock: Path) -> bool:
    """Return whether a live process holds the lock."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextmanager
def untouched_where_refused(folders: Sequence[Path]) -> Iterator[Callable[[], None]]:
    """Where the block raises `InputError`, remove those run folders that are missing or empty when it begins.

    Only what a start writes before training is removed: a folder that holds more stays, and so does that of a run that
    has begun, or that another process is about to train.

    Yields:
        the function that does this, for a refusal that is told in another way.
    """
    new = [folder for folder in dict.fromkeys(folders) if _is_free(folder)]
    missing = {place for folder in new for place in (folder, *folder.parents) if not place.exists()}

    def take_back() -> None:
        for folder in new:
            _empty(folder)
        for place in sorted(missing, key=lambda path: -len(path.parts)):
            with suppress(OSError):
                place.rmdir()

    try:
        yield take_back
    except InputError:
        take_back()
        raise


def _empty(folder: Path) -> None:
    paths = RunFolder(folder)
    if not folder.is_dir() or paths.config.exists() or paths.checkpoints.exists() or is_locked(paths.lock):
        return
    logs = list(paths.logs.glob("rank-*.log")) if not paths.logs.is_symlink() else []
    litter = [path for path in folder.iterdir() if is_litter(path.name)]
    for path in (*logs, paths.status, paths.lock, *litter):
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        paths.logs.rmdir()


def _is_free(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False
