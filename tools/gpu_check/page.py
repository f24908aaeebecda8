"""A result as one HTML file that needs nothing else: what passed, step times, kernels, throughput, accuracy."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ebomlc_dist.files.durable import write_bytes
from ebomlc_dist.pages.charts import Bar as ChartBar
from ebomlc_dist.pages.charts import BarChart, Piece, TextTable
from ebomlc_dist.pages.templating import render
from tools.gpu_check.place import Row

if TYPE_CHECKING:
    from tools.gpu_check.run import Result

TIMED = ("steps", "compiled", "methods")
_VERDICT = {True: "reached", False: "missed", None: "not measured"}


def write_page(result: "Result", path: Path) -> None:
    """Write the page of a result, so far as it is there."""
    write_bytes(path, page(result).encode())


def page(result: "Result") -> str:
    """The page of a result. Every text in it is escaped."""
    rows = {name: outcome.rows for name, outcome in result.parts.items()}
    return render(
        "tools.gpu_check",
        "gpu_check.html.j2",
        about=_about(result),
        rehearsal=result.rehearsal,
        good=result.good,
        tables=[table for table in _tables(result, rows) if table.rows],
        charts=[chart for chart in (_chart(name, rows.get(name, {})) for name in TIMED) if chart.bars],
        kernels=[table for table in _kernels(rows.get("kernels", {})) if table.rows],
    )


def _about(result: "Result") -> list[tuple[str, str]]:
    found = result.environment
    packages = ", ".join(f"{name} {version}" for name, version in found.get("packages", {}).items())
    return [
        ("device", ", ".join(found.get("devices", ()))),
        ("CUDA", str(found.get("cuda") or "–")),
        ("Python", str(found.get("python", "–"))),
        ("packages", packages),
        ("code", result.code[:16]),
    ]


def _tables(result: "Result", rows: Mapping[str, Mapping[str, Row]]) -> Iterable[TextTable]:
    yield TextTable(
        "Bars",
        "What a step and a run are to reach on one GPU.",
        ("what", "found", "bar", ""),
        tuple((bar.name, bar.text, bar.limit_text, _VERDICT[bar.reached]) for bar in result.bars),
    )
    yield TextTable(
        "Parts",
        "Each is a process of its own.",
        ("part", "state", "seconds", "done", "failed", "skipped", "remark"),
        tuple(
            (name, part.state, f"{part.seconds:.0f}", *_counts(part.rows), part.reason)
            for name, part in result.parts.items()
        ),
    )
    yield TextTable(
        "Failed and skipped",
        "Every row that has no figures, with its reason.",
        ("part", "row", "", "reason"),
        tuple(
            (part, name, row.state, " ".join(row.reason.split())[:600])
            for part, found in rows.items()
            for name, row in found.items()
            if row.state != "done"
        ),
    )
    yield TextTable(
        "Whole runs",
        "The time of a step is the median of the last epoch; evaluation and checkpoints are left out.",
        ("run", "images", "epochs", "precision", "ms a step", "seconds", "images/s", "test accuracy"),
        tuple(_run_cells(rows)),
    )
    yield TextTable(
        "Loaders", "Median over the rounds.", ("loader", "images/s"), tuple(_loader_cells(rows.get("loaders", {})))
    )
    yield TextTable(
        "Promises",
        "What holds beside speed.",
        ("promise", "", "figures"),
        tuple((name, row.state, _plain(row)) for name, row in rows.get("promises", {}).items()),
    )


def _counts(rows: Mapping[str, Row]) -> tuple[str, ...]:
    states = [row.state for row in rows.values()]
    return tuple(str(states.count(state)) for state in ("done", "failed", "skipped"))


def _run_cells(rows: Mapping[str, Mapping[str, Row]]) -> Iterable[tuple[str, ...]]:
    for part in ("alone", "packed", "accuracy"):
        for name, row in rows.get(part, {}).items():
            for run in row.figures.get("each", [row.figures] if row.state == "done" else ()):
                yield (
                    f"{name}, seed {run['seed']}",
                    f"{run['num_noisy']} + {run['num_clean']} {row.figures.get('images', '')}".strip(),
                    str(run["epochs"]),
                    run["precision"],
                    f"{run['last_epoch_ms']:.3g}",
                    f"{run['train_seconds']:.1f}",
                    # The batch is in neither figure: images of an epoch over its seconds.
                    f"{run['num_noisy'] * run['epochs'] / (run['last_epoch_ms'] * run['steps'] / 1000):,.0f}",
                    "–" if run["accuracy_last"] is None else f"{run['accuracy_last']:.2f} % of {run['num_test']}",
                )


def _loader_cells(rows: Mapping[str, Row]) -> Iterable[tuple[str, ...]]:
    for row in rows.values():
        for name, rate in row.figures.get("images_per_second", {}).items():
            yield name, f"{rate:,.0f}"


def _plain(row: Row) -> str:
    return ", ".join(f"{key} {_short(value)}" for key, value in row.figures.items())


def _short(value: object) -> str:
    if isinstance(value, list):
        return " ".join(_short(one) for one in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _chart(name: str, rows: Mapping[str, Row]) -> BarChart:
    timed = {row: found.figures for row, found in rows.items() if "ms" in found.figures}
    full = max((figures["highest_ms"] for figures in timed.values()), default=1.0)
    bars = []
    for row, figures in timed.items():
        share, low, high = (100 * figures[key] / full for key in ("ms", "lowest_ms", "highest_ms"))
        peak = f", {figures['peak_mb']:,.0f} MiB" if "peak_mb" in figures else ""
        text = f"{figures['ms']:.3g} ms, {figures['images_per_second']:,.0f} images/s{peak}"
        bars.append(ChartBar(row, text, (Piece(0.0, share, 0, f"{figures['ms']:.3g} ms"),), low, high))
    titles = {"steps": "Time a step", "compiled": "Compiled passes", "methods": "Every method's own step"}
    return BarChart(titles[name], "Median; the whisker spans all turns.", tuple(bars))


def _kernels(rows: Mapping[str, Row]) -> Iterable[TextTable]:
    for name, row in rows.items():
        if row.state == "done":
            found = row.figures
            yield TextTable(
                f"Kernels of {name}",
                f"{found['launches']:.0f} launches and {found['busy_ms']:.3g} ms of work a step; the longest:",
                ("kernel", "launches", "µs a step"),
                tuple((kernel, f"{count:.4g}", f"{spent:.4g}") for kernel, count, spent in found["top"]),
            )
