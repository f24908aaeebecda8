"""A start that is refused leaves no folder behind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import is_litter
from ebomlc_dist.files.holder import is_locked
from ebomlc_dist.files.run_folder import RunFolder


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
