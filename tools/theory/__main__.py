"""``python -m tools.theory``: the convergence theorems of EBOMLC, measured on a problem that meets their assumptions.

    python -m tools.theory
    python -m tools.theory --steps 100000 --output theory

Prints the measured powers and limits and, with ``--output``, writes theory.png, theory.svg and theory.json there. From
a source checkout, in its root. Exit codes as of ``ebomlc``.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ebomlc_dist.cli import make_app, run_app
from ebomlc_dist.cli.output import print_table
from ebomlc_dist.errors import InputError

app = make_app()


@app.command()
def theory(
    steps: Annotated[
        int, typer.Option("--steps", metavar="N", help="Steps of the longest iteration, 1000 or more.")
    ] = (10_000),
    output: Annotated[
        Path | None, typer.Option("--output", "--output-dir", "-o", metavar="DIR", help="Where the plot goes.")
    ] = None,
) -> int:
    """Measure Theorem 1's rate, with its bound, and Theorem 2's limit."""
    if steps < 1000:
        raise InputError(f"--steps {steps} is too few to see a rate; give 1000 or more")
    if output is not None and output.exists() and not output.is_dir():
        raise InputError(f"--output {output} is a file; give a folder")
    from tools.theory.measure import measure

    findings = measure(steps)
    print_table(
        [
            "",
            f"Theorem 1: power of T, from T = {findings[0].lengths[len(findings[0].lengths) // 2]}",
            "largest share of bound",
            f"Theorem 2: ‖∇F‖ after {steps // 10}",
            f"after {steps}",
        ],
        [finding.row() for finding in findings],
    )
    if output is not None:
        _write(findings, output)
    return 0


def _write(findings: Any, output: Path) -> None:
    from ebomlc_dist.files.durable import make_folder, write_json
    from ebomlc_dist.reports.figures.style import save, styled
    from tools.theory.plot import CAPTION, TITLE, plot

    with styled():
        figure = plot(findings)
        make_folder(output)
        paths = save(figure, output / "theory", TITLE, CAPTION)
    document = output / "theory.json"
    write_json(document, {"title": TITLE, "caption": CAPTION, "cases": [finding.document() for finding in findings]})
    for path in (*paths, document):
        print(path)


def run(arguments: list[str]) -> int:
    """Run the tool and return the exit code."""
    return run_app(app, "tools.theory", "`python -m tools.theory --help`", arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
