"""What commands print on stdout: tables for people (rich on a terminal, plain columns elsewhere), JSON for programs."""

import json
import shlex
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ebomlc_dist.monitoring.purity import purity_text
from ebomlc_dist.plugins import permission

_PLUGGED = ("method", "model", "dataset")
# Heading, and keys in summary.json whose figures stand in one cell; all in per cent.
_COLUMNS = (
    ("test acc.", ("accuracy_last",)),
    ("at best validation", ("accuracy_at_best_validation",)),
    ("labels fixed / kept", ("wrong_labels_corrected", "right_labels_kept")),
    ("fixed / kept by classifier", ("prediction_wrong_labels_corrected", "prediction_right_labels_kept")),
)


def print_json(value: Any) -> None:
    """One JSON document."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int | None = None) -> None:
    """Print columns under their headings. ``width``: the last column is wrapped to fit, where this is no terminal."""
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
    left = sum(widths[:-1]) + 2 * (len(widths) - 1)
    for row in lines:
        last = [row[-1]] if width is None else textwrap.wrap(row[-1], width - left, break_on_hyphens=False) or [""]
        for number, text in enumerate(last):
            first = row[:-1] if number == 0 else [""] * (len(row) - 1)
            print("  ".join([*(cell.ljust(size) for cell, size in zip(first, widths, strict=False)), text]).rstrip())


def print_results(summaries: Sequence[Mapping[str, Any]], output: Path, *, hints: bool) -> None:
    """Print what the runs came to: a conclusion, their figures, where they lie, and what to do with them."""
    names = [str(summary.get("method")) for summary in summaries]
    told_apart = len(set(names)) == len(names)
    names = names if told_apart else [Path(summary["run"]).name for summary in summaries]
    chosen = [bool(summary.get("trusted_purity")) for summary in summaries]
    print(_conclusion(names, summaries))
    columns = [column for column in _COLUMNS if any(_figures(summary, column[1]) != "–" for summary in summaries)]
    if columns:
        headings = ["method" if told_apart else "run", *(f"{heading} %" for heading, _ in columns)]
        marked = [f"{name} *" if mark else name for name, mark in zip(names, chosen, strict=True)]
        rows = [[_figures(summary, keys) for _, keys in columns] for summary in summaries]
        print()
        print_table(headings, [[name, *row] for name, row in zip(marked, rows, strict=True)])
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


def _listed(names: Sequence[str]) -> str:
    """Return names as people list them: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _conclusion(names: Sequence[str], summaries: Sequence[Mapping[str, Any]]) -> str:
    """Return one sentence: whose test accuracy is the highest, where the runs share their data and seed."""
    count = "1 run is" if len(names) == 1 else f"{len(names)} runs are"
    scores = [summary.get("accuracy_last") for summary in summaries]
    scored = [score for score in scores if score is not None]
    if not scored:
        return f"{count} trained; there are no test images to score."
    if len(names) == 1:
        return f"{names[0]} reaches {scored[0]:.2f} % test accuracy in its last epoch."
    if len(scored) < len(names) or len({_setting(summary) for summary in summaries}) > 1:
        return f"{count} trained."
    best = [name for name, score in zip(names, scores, strict=True) if score == max(scored)]
    verb = "has" if len(best) == 1 else "have"
    return f"{_listed(best)} {verb} the highest test accuracy in the last epoch: {max(scored):.2f} %."


def _setting(summary: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what runs must share for their accuracies to be compared."""
    shared = ("dataset", "noise", "noise_rate_realised", "num_noisy", "num_test", "seed")
    return tuple(summary.get(key) for key in shared)


def _figures(summary: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return a cell: the figures of the keys, or a dash where the summary has none of them."""
    values = [summary.get(key) for key in keys]
    return "–" if None in values else " / ".join(f"{value:.2f}" for value in values)


def command_name(name: str) -> str:
    """A command as the person can type it: by name, or by path where its environment is not activated."""
    beside = Path(sys.executable).with_name(name)
    if shutil.which(name) is not None or not beside.exists():
        return name
    here = Path.cwd()
    return shlex.quote(str(beside.relative_to(here) if beside.is_relative_to(here) else beside))
