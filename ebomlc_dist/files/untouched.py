"""A start that is refused leaves no folder behind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import is_litter
from ebomlc_dist.files.run_folder import RunFolder


@contextmanager
def untouched_where_refused(folders: Sequence[Path]) -> Iterator[None]:
    """Where the block raises `InputError`, do what `way_back` of these run folders says."""
    take_back = way_back(folders)
    try:
        yield
    except InputError:
        take_back()
        raise


def way_back(folders: Sequence[Path]) -> Callable[[], None]:
    """Return what removes those run folders again that are missing or empty at this moment.

    Only what a start writes before training is removed: a folder that holds more stays, and so does one of a run that
    has begun.
    """
    new = [folder for folder in dict.fromkeys(folders) if _is_free(folder)]
    missing = {place for folder in new for place in (folder, *folder.parents) if not place.exists()}

    def take_back() -> None:
        for folder in new:
            _empty(folder)
        for place in sorted(missing, key=lambda path: -len(path.parts)):
            with suppress(OSError):
                place.rmdir()

    return take_back


def _empty(folder: Path) -> None:
    paths = RunFolder(folder)
    if not folder.is_dir() or paths.config.exists() or paths.checkpoints.exists():
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
