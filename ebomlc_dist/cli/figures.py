"""Commands that turn run folders into pictures and pages: ``figures`` and ``report``."""

from pathlib import Path
from typing import Annotated

import typer

from ebomlc_dist.errors import InputError
from ebomlc_dist.reports.figures import FIGURES

_ALL = "all"


def figures(
    words: Annotated[
        list[str],
        typer.Argument(metavar="N…", help="Figures of the paper, 1 to 9, or all.", show_default=False),
    ],
    runs: Annotated[
        list[Path] | None,
        typer.Option("--runs", metavar="DIR…", help="Run folders, or folders that hold them.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "--output-dir", "-o", metavar="DIR", help="Where the files go.")
    ] = Path("figures"),
) -> int:
    """Draw the paper's figures from finished runs: PNG, SVG and JSON. `ebomlc train figure-N` makes the runs."""
    numbers, folders = _sorted_out(words, runs or [])
    from ebomlc_dist.reports.figures.draw import draw
    from ebomlc_dist.reports.finished import find_runs

    for path in draw(numbers, find_runs(folders), output):
        print(path)
    return 0


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN…", help="Run folders, or folders that hold them.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The page to write, .html.")] = Path(
        "report.html"
    ),
) -> int:
    """Compare finished runs on one page: scores, curves, label correction, settings that differ, cost."""
    if output.suffix not in (".html", ".htm") or output.is_dir() or not output.parent.is_dir():
        raise InputError(f"--output {output} cannot be a page there; give a name.html in a folder that exists")
    from ebomlc_dist.files.named import write_named
    from ebomlc_dist.reports.comparison.comparison_page import page
    from ebomlc_dist.reports.finished import find_runs

    found = find_runs(runs)
    write_named(output, [page(found).encode()])
    print(f"{len(found)} runs: {output}")
    return 0


def _sorted_out(words: list[str], runs: list[Path]) -> tuple[list[int], list[Path]]:
    """Figure numbers and run folders. A shell's ``--runs runs/*`` leaves all but the first folder among the words."""
    numbers: list[int] = []
    folders = list(runs)
    for word in words:
        if word == _ALL:
            numbers += FIGURES
        elif word.isdecimal() and int(word) in FIGURES:
            numbers.append(int(word))
        elif runs and Path(word).is_dir():
            folders.append(Path(word))
        else:
            raise InputError(f"'{word}' is no figure of the paper; give numbers from 1 to {max(FIGURES)}, or all")
    if not folders:
        raise InputError("--runs DIR is missing: the folders of the runs to draw from, such as `--runs runs/figure-1`")
    if not numbers:
        raise InputError(f"no figure is named; give numbers from 1 to {max(FIGURES)}, or all")
    return list(dict.fromkeys(numbers)), folders
