"""A report as tables of text, the same on a terminal and on the page."""

from ebomlc_dist.pages.charts import TextTable
from ebomlc_dist.profiling.phases import PHASES
from ebomlc_dist.profiling.quartiles import Quartiles, Ratio
from ebomlc_dist.profiling.report import MIB, Report
from ebomlc_dist.profiling.scaling import Model, Point, Scaling

NONE = "–"


def tables(report: Report) -> list[TextTable]:
    """All of a report, from what people ask first to what they ask last."""
    found = [_times(report), _phases(report), _costs(report)]
    return found if report.scaling is None else [*found, *(_scaling(report.scaling, name) for name in _names(report))]


def about(report: Report) -> list[tuple[str, str]]:
    """What was measured, on what: rows of name and value."""
    setting, environment = report.setting, report.environment
    channels, *sides = setting.image
    ceilings = ", ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in report.ceiling.items())
    rows = [
        ("model", f"{setting.model}, norm {setting.norm}, precision {setting.precision}"),
        ("batch", f"{setting.global_noisy_batch_size} noisy + {setting.global_clean_batch_size} clean images a step"),
        ("data", f"{setting.data}, {'×'.join(map(str, [*sides, channels]))}, {setting.num_classes} classes"),
        ("device", f"{setting.device}, {setting.world_size} process(es) of {setting.threads} thread(s)"),
        ("ceiling", f"{ceilings} (measured here)"),
        ("rounds", str(report.rounds)),
        ("versions", ", ".join(f"{name} {value}" for name, value in environment.get("packages", {}).items())),
    ]
    if report.link is not None:
        latency, rate = 1000 * report.link.latency_ms, report.link.bytes_per_ms / 1e6
        rows.append(("link", f"{latency:.0f} µs a hop, {rate:.2f} GB/s in a ring all-reduce (measured here)"))
    return rows


def _times(report: Report) -> TextTable:
    against = {comparison.row: comparison.ratio for comparison in report.comparisons}
    base = report.rows[0].name
    return TextTable(
        "Time",
        "Median of all rounds (first to third quartile). Ratios are paired by round, with their 95 % interval. "
        "A unit is one forward pass on the noisy batch.",
        ("method", "ms a step", "noisy images/s", f"time / {base}", "units", "% of ceiling"),
        tuple(
            (
                row.name,
                spread(row.step_ms),
                spread(row.images_per_second),
                ratio(against[row.name]) if row.name in against else "1",
                f"{row.units:.1f}",
                spread(_scaled(row.ceiling_share, 100)),
            )
            for row in report.rows
        ),
    )


def _phases(report: Report) -> TextTable:
    return TextTable(
        "Phases",
        "Median milliseconds. Sum: of all phases, over the step that they were taken from; watched: that step over the "
        "unwatched one of the same round. "
        "look-ahead: passes away from the present weights, hypergradient included; meta: backward through the meta "
        "model; direction: inner products, barrier, checks.",
        ("method", *PHASES, "sum / step", "watched"),
        tuple(
            (
                row.name,
                *(number(row.phases[name].median) for name in PHASES),
                f"{row.phases_over_step.median:.3f}",
                ratio(row.watched_over_unwatched),
            )
            for row in report.rows
        ),
    )


def _costs(report: Report) -> TextTable:
    return TextTable(
        "Work, memory, communication",
        "Counts of one step on one process. Memory is the peak over what is held before the step.",
        ("method", "GFLOP", "launches", "host waits", "peak MiB", "collectives", "MiB sent", "exposed ms"),
        tuple(
            (
                row.name,
                number(row.flops / 1e9),
                str(row.launches),
                str(row.waits),
                number(row.peak_mib),
                str(row.collectives),
                number(row.collective_bytes / MIB) if row.collectives else NONE,
                spread(row.exposed_ms) if row.collectives else NONE,
            )
            for row in report.rows
        ),
    )


def _names(report: Report) -> list[str]:
    return [] if report.scaling is None else [row.name for row in report.scaling.rows]


def _scaling(scaling: Scaling, name: str) -> TextTable:
    (row,) = (row for row in scaling.rows if row.name == name)
    model, link = row.model, row.model.link
    sharing = any(scaling.shares_cores(point) for point in row.points)
    limit = f" Where processes share {scaling.cores} cores, {scaling.cores}/N of it is the most." if sharing else ""
    return TextTable(
        f"Scaling of {name}",
        f"Model: T(N, b) = {number(model.fixed_ms)} + {number(model.ms_per_image)}·b + {model.collectives}·"
        f"(2(N−1)·{link.latency_ms:.3g} + 2(N−1)/N·{number(model.bytes_per_collective / link.bytes_per_ms)}) ms for b "
        f"noisy images a process of {scaling.threads} thread(s): every further process is taken to bring its own "
        "cores and link of the kind measured, no reduction hides behind a pass, nobody straggles. "
        f"Efficiency 100 %: N processes do N times the work of one.{limit}",
        (
            *("scaling", "processes", "global batch", "measured ms", "images/s", "model ms", "measured efficiency %"),
            *("model's %", "MiB reduced a step"),
        ),
        tuple(_point(point, scaling, model) for point in row.points),
    )


def _point(point: Point, scaling: Scaling, model: Model) -> tuple[str, ...]:
    found, measured = point.measured_ms, point.measured_efficiency
    return (
        point.mode,
        f"{point.world_size} on {scaling.cores} cores" if scaling.shares_cores(point) else str(point.world_size),
        str(point.global_batch_size),
        NONE if found is None else spread(found),
        NONE if found is None else number(1000 * point.global_batch_size / found.median),
        number(point.model_ms),
        NONE if measured is None else f"{100 * measured:.0f}",
        f"{100 * point.efficiency:.0f}",
        NONE if point.world_size == 1 else number(model.collectives * model.bytes_per_collective / MIB),
    )


def number(value: float) -> str:
    """Three digits that matter, without an exponent."""
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def spread(value: Quartiles) -> str:
    """Median and quartiles."""
    return f"{number(value.median)} ({number(value.low)}–{number(value.high)})"


def ratio(value: Ratio) -> str:
    """Median and interval."""
    return f"{value.median:.2f} [{value.low:.2f}, {value.high:.2f}]"


def _scaled(value: Quartiles, factor: float) -> Quartiles:
    return Quartiles(median=factor * value.median, low=factor * value.low, high=factor * value.high)
