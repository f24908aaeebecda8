"""What commands print on stdout: tables for people (rich on a terminal, plain columns elsewhere), JSON for programs."""

import json
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ebomlc_dist.monitoring.purity import purity_text
from ebomlc_dist.plugins import permission

_PLUGGED = ("method", "model", "dataset")
_ONLY_WHERE_KNOWN = "accuracy_at_best_validation"
# Heading, and key in summary.json; all in per cent.
_FIGURES = (
    ("test accuracy", "accuracy_last"),
    ("at best validation", "accuracy_at_best_validation"),
    ("wrong labels corrected", "wrong_labels_corrected"),
    ("right labels kept", "right_labels_kept"),
    ("wrong corrected by prediction", "prediction_wrong_labels_corrected"),
    ("right kept by prediction", "prediction_right_labels_kept"),
)


def print_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under their headings."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(*headings, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            # Names come from others: as text, not as markup.
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
        return
    lines = [row for row in (headings, *rows) if any(row)]
    widths = [max(len(row[column]) for row in lines) for column in range(len(headings))]
    for row in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_results(summaries: Sequence[Mapping[str, Any]], output: Path, *, hints: bool) -> None:
    """The figures of the runs that ended, where they lie, and what to do with them."""
    names = [str(summary.get("method")) for summary in summaries]
    told_apart = len(set(names)) == len(names)
    known = any(summary.get(_ONLY_WHERE_KNOWN) is not None for summary in summaries)
    columns = [(heading, key) for heading, key in _FIGURES if known or key != _ONLY_WHERE_KNOWN]
    headings = ["method" if told_apart else "run", *(f"{heading} %" for heading, _ in columns)]
    names = names if told_apart else [Path(summary["run"]).name for summary in summaries]
    chosen = [bool(summary.get("trusted_purity")) for summary in summaries]
    names = [f"{name} *" if mark else name for name, mark in zip(names, chosen, strict=True)]
    figures = [[_per_cent(summary.get(key)) for _, key in columns] for summary in summaries]
    print_table(headings, [[name, *row] for name, row in zip(names, figures, strict=True)])
    print()
    for summary, mark in zip(summaries, chosen, strict=True):
        print(f"run: {summary['run']}")
        if mark:
            purity = purity_text(summary["trusted_purity"])
            print(f"  * {summary['num_clean']} trusted images chosen from the noisy ones, {purity}")
    if hints:
        run = shlex.quote(str(summaries[0]["run"]))
        ebomlc = permission(str(summaries[0].get(key)) for key in _PLUGGED) + command_name("ebomlc")
        print("\nnext:")
        print(f"  {ebomlc} evaluate {run}")
        print(f"  {ebomlc} audit {run}")
        print(f"  {ebomlc} predict {run} --images DIR --output predictions.csv")
        print(f"  {command_name('tensorboard')} --logdir {shlex.quote(str(output))}")


def command_name(name: str) -> str:
    """A command as the person can type it: by name, or by path where its environment is not activated."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) is not None or not beside.exists():
        return name
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))


def _per_cent(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "–"
