"""``ebomlc tables``: a sweep's results as tables, beside the paper's figures where they compare."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ebomlc_dist.cli.output import print_json
from ebomlc_dist.errors import InputError

_SCORE = (
    "Quoted accuracy: of the last epoch, mean of the last ten, of the epoch that is best on held-out trusted images, "
    "or of the best on the test images."
)


def tables(
    store: Annotated[str, typer.Argument(metavar="STORE", help="A sweep's store, or its grid.", show_default=False)],
    score: Annotated[
        Literal["last", "last-10", "best-validation", "best"], typer.Option("--score", help=_SCORE)
    ] = "last",
    format_: Annotated[
        Literal["markdown", "latex", "csv", "html"], typer.Option("--format", help="What to print.")
    ] = "markdown",
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "--output",
            "-o",
            metavar="DIR",
            help="Write tables.md, .tex, .csv and .html there instead.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the tables as JSON on stdout.")] = False,
) -> int:
    """Make tables of a store: the paper's Tables I and II, or methods by settings of any grid."""
    from ebomlc_dist.files.durable import make_folder, write_bytes
    from ebomlc_dist.reports.paper_tables.render import ENDINGS, render
    from ebomlc_dist.reports.paper_tables.values import build_tables
    from ebomlc_dist.sweeps.grids import find_store
    from ebomlc_dist.sweeps.store import Store

    made = build_tables(Store(find_store(store)), score)
    if output_dir is not None:
        if output_dir.exists() and not output_dir.is_dir():
            raise InputError(f"--output-dir {output_dir} is a file; give a folder")
        make_folder(output_dir)
        for kind, ending in ENDINGS.items():
            path = output_dir / f"tables.{ending}"
            write_bytes(path, render(made, kind).encode())
            print(path)
    elif json:
        print_json([asdict(table) for table in made])
    else:
        print(render(made, format_), end="")
    return 0
