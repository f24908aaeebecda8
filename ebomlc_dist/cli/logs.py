"""``ebomlc logs``: what the ranks of a run wrote, the newest lines of each."""

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from ebomlc_dist.errors import InputError

_NAME = re.compile(r"rank-(\d+)\.log")
_TAIL_BYTES = 4 * 1024 * 1024


def logs(
    run: Annotated[Path, typer.Argument(help="A run folder, or the folder of several.", show_default=False)],
    rank: Annotated[
        int | None, typer.Option("--rank", metavar="N", help="Print only this rank's log.", show_default=False)
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", help="Number of newest lines of each log; 0 for all.")
    ] = 20,
) -> int:
    """Print the ranks' logs of a run."""
    from ebomlc_dist.files.run_folder import RunFolder

    folders = [run] if RunFolder(run).logs.is_dir() else sorted(path for path in run.glob("*") if _logs_of(path))
    found = [(path, number) for folder in folders for number, path in _logs_of(folder) if rank in (None, number)]
    if not found:
        which = "no logs" if rank is None else f"no log of rank {rank}"
        raise InputError(f"{run} holds {which}; give a run folder, whose logs/ has a file a rank")
    for place, (path, _) in enumerate(found):
        if len(found) > 1:
            print(*([""] if place else []), f"==> {path} <==", sep="\n")
        for line in _tail(path, lines):
            print(_shown(line))
    sys.stdout.flush()
    return 0


def _logs_of(folder: Path) -> list[tuple[int, Path]]:
    """(rank, log) in the order of ranks."""
    from ebomlc_dist.files.run_folder import RunFolder

    place = RunFolder(folder).logs
    names = place.iterdir() if place.is_dir() else ()
    return sorted((int(match[1]), path) for path in names if (match := _NAME.fullmatch(path.name)))


def _tail(path: Path, lines: int) -> list[str]:
    with path.open("rb") as file:
        if lines:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        text = file.read().decode(errors="replace").split("\n")
    text = text[:-1] if text[-1] == "" else text
    return text[-lines:] if lines else text


def _shown(line: str) -> str:
    """Names in a log come from others: nothing in it may move the cursor."""
    return "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in line)
