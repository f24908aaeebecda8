"""``ebomlc sweep GRID``: fill a store with the runs of a grid, by any number of workers."""

import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ebomlc_dist.cli.completion import among, grids, keys, methods
from ebomlc_dist.cli.output import command_name, print_json, print_table
from ebomlc_dist.errors import InputError

if TYPE_CHECKING:
    from ebomlc_dist.sweeps.cells import Cell
    from ebomlc_dist.sweeps.store import Store
    from ebomlc_dist.sweeps.worker import Ended, Options, RunCells

VERBS = ("run", "status")
STOPPED_CODE = 75
_GRID = "A named grid (`ebomlc list grids`), or a file: GRID.yaml, GRID.json, GRID.py, package.module:function."


def run(
    grid: Annotated[str, typer.Argument(metavar="GRID", help=_GRID, show_default=False, autocompletion=among(grids))],
    context: typer.Context,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            "--output",
            "-o",
            metavar="STORE",
            help="Folder for the results. Default: sweeps/GRID.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", metavar="N", help="Number of workers on this machine, sharing its GPUs or cores."),
    ] = 1,
    packed: Annotated[
        int,
        typer.Option("--packed", metavar="N", help="Number of cells that each worker trains at once."),
    ] = 1,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="TIME",
            help="Time for this command: 90s, 30m, 2h or 1d. Starts no cell that would not fit.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME[,NAME…]",
            help="Run only these methods of the grid.",
            show_default=False,
            autocompletion=methods,
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="N[,N…]", help="Run only these seeds of the grid.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set a key in every cell, over the grid's own.",
            show_default=False,
            autocompletion=keys,
        ),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option("--data-dir", metavar="DIR", help="Folder of the data sets.", show_default=False),
    ] = None,
    retries: Annotated[int, typer.Option("--retries", metavar="N", help="Try a failing cell this often again.")] = 2,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try failed cells again, with all their attempts.")
    ] = False,
    keep: Annotated[
        Literal["none", "small", "all"],
        typer.Option(
            "--keep", help="What to keep of a finished cell's folder; small: configuration, metrics, summary."
        ),
    ] = "small",
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to compute.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress and no hints.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the sweep's status as JSON.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cells in order, and run none.")] = False,
) -> int:
    """Run the cells of a grid that have no result yet. The same command continues, on any machine."""
    deadline = None if budget is None else time.monotonic() + _seconds(budget)
    if workers < 1 or packed < 1 or retries < 0:
        raise InputError(
            f"--workers {workers}, --packed {packed}, --retries {retries}: at least 1 worker, 1 cell and 0 retries"
        )
    from ebomlc_dist.launch.environment import launched_world_size

    if launched_world_size() > 1:
        raise InputError("each cell of a sweep is trained by one process; start it without a launcher, by --workers N")
    from ebomlc_dist.recipes.assemble import assignments
    from ebomlc_dist.recipes.settings import Setting
    from ebomlc_dist.sweeps.cells import cells_of
    from ebomlc_dist.sweeps.grid_file import load_grid
    from ebomlc_dist.sweeps.grids import default_store
    from ebomlc_dist.sweeps.local_workers import told_neighbours
    from ebomlc_dist.sweeps.store import Store
    from ebomlc_dist.sweeps.worker import Options

    loaded = load_grid(grid)
    overrides = list(assignments(tuple(set_ or ())))
    if data_dir is not None:
        overrides.append(Setting("data.data_dir", data_dir, "--data-dir"))
    every = cells_of(loaded, tuple(overrides))
    wanted = _chosen(every, method, seeds)
    store = Store(output_dir or default_store(loaded.name))
    if dry_run:
        return _describe(store, wanted)
    _check(wanted, store)
    store.open()
    store.write_grid(loaded.name, [cell.listed for cell in every])
    if retry_failed:
        store.forget_failures({cell.key for cell in wanted})
    neighbours = packed * max(workers, told_neighbours())
    how = Options(retries=retries, keep=keep, deadline=deadline, neighbours=neighbours, packed=packed)
    if workers > 1:
        ended = _crew(store, wanted, how, workers, device, context.find_root().obj, quiet=quiet)
    else:
        ended = _alone(store, wanted, how, device, quiet=quiet)
    return _report(store, wanted, ended, quiet=quiet, as_json=json)


def _seconds(text: str) -> float:
    from ebomlc_dist.sweeps.estimate import duration

    try:
        return duration(text)
    except ValueError:
        raise InputError(f"--budget {text}: give a time such as 90s, 30m, 2h or 1h30m") from None


def _chosen(cells: "list[Cell]", methods: list[str] | None, seeds: str | None) -> "list[Cell]":
    """The cells with these methods and seeds. Raises `InputError` for one that the grid does not have."""
    for flag, key, words in (
        ("--method", "method.name", [word.strip() for text in methods or () for word in text.split(",")]),
        ("--seeds", "seeds.seed", [word.strip() for word in (seeds or "").split(",") if word.strip()]),
    ):
        known = dict.fromkeys(str(cell.flat[key]) for cell in cells)
        for word in words:
            if word not in known:
                raise InputError(f"{flag} {word} is not in the grid, which has {', '.join(known)}")
        cells = [cell for cell in cells if not words or str(cell.flat[key]) in words]
    return cells


def _check(cells: "list[Cell]", store: "Store") -> None:
    """Refuse what the first cell of each data set would be refused for, before any cell is run."""
    from ebomlc_dist.cli.validation import validate

    seen: set[tuple[Any, ...]] = set()
    done = store.done()
    for cell in cells:
        data = cell.config.data
        kind = (data.dataset, data.data_dir, data.split, data.noisy_csv, data.clean_csv, cell.config.noise.human_file)
        if cell.key not in done and kind not in seen:
            seen.add(kind)
            validate([cell.config], [], resume=False)


def _describe(store: "Store", cells: "list[Cell]") -> int:
    from ebomlc_dist.monitoring.goodput import duration_text
    from ebomlc_dist.sweeps.estimate import Estimates

    done, estimates = store.done(), Estimates(store.results())
    rows = []
    for number, cell in enumerate(cells, start=1):
        seconds = estimates.seconds(cell.flat)
        time_ = "done" if cell.key in done else "-" if seconds is None else f"about {duration_text(seconds)}"
        rows.append([str(number), cell.name, time_, cell.key])
    print_table(["", "cell", "time", "key"], rows)
    return 0


def _alone(store: "Store", cells: "list[Cell]", how: "Options", device: str, *, quiet: bool) -> "Ended":
    from ebomlc_dist.sweeps.live_status import SweepProgress
    from ebomlc_dist.sweeps.run_cell import one_by_one, run_cell, side_by_side
    from ebomlc_dist.sweeps.worker import Worker

    run: RunCells = partial(one_by_one, lambda cell, folder: run_cell(cell, folder, device))
    if how.packed > 1:
        run = partial(side_by_side, device=device)
    with SweepProgress(store, [cell.listed for cell in cells], workers=how.packed, enabled=not quiet) as progress:
        return Worker(store, cells, run, how, lambda starts: progress.update(starts.listed if starts else None)).work()


def _crew(
    store: "Store", cells: "list[Cell]", how: "Options", workers: int, device: str, arguments: list[str], *, quiet: bool
) -> "Ended":
    """Workers as children: this command again for each, and the progress of all told here."""
    from ebomlc_dist.sweeps.live_status import SweepProgress
    from ebomlc_dist.sweeps.local_workers import gather, visible_gpus
    from ebomlc_dist.sweeps.worker import Ended

    words = [sys.executable, "-m", "ebomlc_dist.cli"]
    words += [word for word in arguments if word.replace("_", "-") != "--retry-failed"]
    words += ["--workers", "1", "--quiet"]
    if how.deadline is not None:
        words += ["--budget", f"{max(0.0, how.deadline - time.monotonic()):.1f}s"]
    with SweepProgress(store, [cell.listed for cell in cells], workers=how.neighbours, enabled=not quiet) as progress:
        asked, code = gather(words, workers, store, visible_gpus(device), progress.update)
    if asked:
        return Ended("stopped", asked)
    if code == 2:
        raise InputError(f"a worker was refused; what it says is in {store.logs}")
    return Ended("budget" if code == STOPPED_CODE else "empty")


def _report(store: "Store", cells: "list[Cell]", ended: "Ended", *, quiet: bool, as_json: bool) -> int:
    """What became of the cells, and the exit code."""
    from ebomlc_dist.sweeps.status import counts, survey

    found = counts(survey(store, [cell.listed for cell in cells]))
    if as_json:
        print_json({"store": str(store.root), "ended": ended.why} | found)
    else:
        print(f"{len(cells)} cells: " + ", ".join(f"{number} {state}" for state, number in found.items()))
        print(f"store: {store.root}")
    if ended.why != "empty" and not quiet:
        why = "stopped" if ended.why == "stopped" else "no cell that is left fits the budget"
        print(f"ebomlc: {why}; the same command goes on", file=sys.stderr)
    if not quiet and not as_json:
        folder = shlex.quote(str(store.root))
        print("\nnext:")
        print(f"  {command_name('ebomlc')} sweep status {folder}")
        if found["done"]:
            print(f"  {command_name('ebomlc')} tables {folder}")
    if ended.why == "stopped":
        return ended.code
    if found["failed"]:
        return 1
    return STOPPED_CODE if ended.why == "budget" else 0
