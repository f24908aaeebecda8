"""A start that is refused leaves no folder behind."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import is_litter
from ebomlc_dist.files.run_folder import RunFolder


@contextmanager
def untouched_where_refused(folders: Sequence[Path]) -> Iterator[None]:
    """Where the block raises `InputError`, remove run folders that were not there, or empty, before it.

    Nothing else than what a start writes before training is removed: a folder that holds more stays.
    """
    new = [folder for folder in dict.fromkeys(folders) if _is_free(folder)]
    above = [parent for folder in new for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        yield
    except InputError:
        for folder in new:
            withdraw(folder)
        for parent in sorted(set(above), key=lambda path: -len(path.parts)):
            with suppress(OSError):
                parent.rmdir()
        raise


def withdraw(folder: Path) -> None:
    """Remove from a run folder what a start writes before training, unless the run has begun."""
    paths = RunFolder(folder)
    if paths.config.exists() or paths.checkpoints.exists() or not folder.is_dir() or folder.is_symlink():
        return
    with suppress(OSError):
        for log in paths.logs.glob("rank-*.log") if not paths.logs.is_symlink() else ():
            log.unlink()
        if paths.logs.exists():
            paths.logs.rmdir()
    for path in (paths.status, paths.lock, *filter(lambda path: is_litter(path.name), folder.iterdir())):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _is_free(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False
