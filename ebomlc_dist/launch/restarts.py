"""Start again after a crash, until starts bring no more progress."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ebomlc_dist.files.run_folder import RunFolder, read_status

MAX_IDLE_STARTS = 3
CRASHED = 1


def start_until_it_ends(
    start: Callable[[bool], int], folders: Sequence[Path], asked_to_stop: Callable[[], bool] = lambda: False
) -> int:
    """Return the exit code of the last ``start``.

    A crash is followed by another start, at most three without progress.

    Bad input, a stop with a checkpoint and Ctrl-C are no crashes, and end it at once.

    Args:
        start: trains, or goes on where it is given True, and returns the exit code.
        folders: of the runs; a further checkpoint or a further finished run in one of them is progress.
        asked_to_stop: whether somebody wants no other start.
    """
    idle, reached, again = 0, _reached(folders), False
    while (code := start(again)) == CRASHED and not asked_to_stop():
        before, reached, again = reached, _reached(folders), True
        idle = idle + 1 if reached == before else 0
        if idle == MAX_IDLE_STARTS:
            _say(f"given up: {MAX_IDLE_STARTS} starts in a row ended without a further checkpoint; see `ebomlc logs`")
            break
        _say(f"the run crashed; it starts again ({idle} of {MAX_IDLE_STARTS} starts without progress)")
    return code


def _say(line: str) -> None:
    print(f"ebomlc: {line}", file=sys.stderr, flush=True)


def _reached(folders: Sequence[Path]) -> list[tuple[list[str], bool]]:
    """Return each run's checkpoints, and whether it has finished."""
    found = []
    for folder in folders:
        paths = RunFolder(folder)
        names = sorted(path.name for path in paths.checkpoints.glob("step-*")) if paths.checkpoints.is_dir() else []
        found.append((names, paths.status.exists() and read_status(folder).state == "finished"))
    return found
