"""``ebomlc sweep status``: where a sweep stands, without torch."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ebomlc_dist.cli.output import print_json, print_table

if TYPE_CHECKING:
    from ebomlc_dist.sweeps.status import CellStatus
    from ebomlc_dist.sweeps.store import Store

_SHOWN = 10


def status(
    store: Annotated[str, typer.Argument(metavar="STORE", help="A store, or its grid.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Show a sweep's status: cells by method, what runs, what failed, and the time left."""
    from ebomlc_dist.sweeps.grids import find_store
    from ebomlc_dist.sweeps.status import survey
    from ebomlc_dist.sweeps.store import Store

    found = Store(find_store(store))
    grids = {name: survey(found, cells) for name, cells in found.listed().items()}
    if json:
        print_json({name: _document(found, cells) for name, cells in grids.items()})
        return 0
    for number, (name, cells) in enumerate(grids.items()):
        print(f"{chr(10) if number else ''}grid {name}, store {found.root}\n")
        _print_grid(found, cells)
    return 0


def _document(store: "Store", cells: "list[CellStatus]") -> dict[str, object]:
    from ebomlc_dist.sweeps.status import counts, seconds_left

    rows = [
        {"key": cell.cell.key, "name": cell.cell.name} | {k: v for k, v in asdict(cell).items() if k != "cell"}
        for cell in cells
    ]
    return {**counts(cells), "seconds_left": seconds_left(store, cells), "cells": rows}


def _print_grid(store: "Store", cells: "list[CellStatus]") -> None:
    from ebomlc_dist.monitoring.goodput import duration_text
    from ebomlc_dist.sweeps.status import counts, seconds_left

    by_method: dict[str, list[CellStatus]] = {}
    for cell in cells:
        by_method.setdefault(str(cell.cell.config.get("method.name")), []).append(cell)
    totals = counts(cells)
    rows = [
        [method, str(len(own)), *map(str, counts(own).values())] for method, own in (by_method | {"all": cells}).items()
    ]
    print_table(["method", "cells", *totals], rows)
    steps = [[c.cell.name, "-" if c.step is None else f"step {c.step}"] for c in cells if c.state == "running"]
    reasons = [[c.cell.name, f"{c.attempts} attempt(s): {c.reason}"] for c in cells if c.state == "failed"]
    for heading, found in (("running", steps), ("failed", reasons)):
        if found:
            print()
            print_table([heading, ""], found[:_SHOWN])
        if len(found) > _SHOWN:
            print(f"and {len(found) - _SHOWN} more (--json lists all)")
    if totals["waiting"] + totals["running"]:
        left = seconds_left(store, cells)
        print(f"\ntime left: {'not known yet' if left is None else f'about {duration_text(left)}'}")
