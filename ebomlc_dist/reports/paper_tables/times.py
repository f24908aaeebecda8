"""Training time relative to cross entropy, of runs that the same device made."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ebomlc_dist.reports.paper_tables.layout import Placed, Row
from ebomlc_dist.sweeps.store import Result

REFERENCE = "ce"


@dataclass(frozen=True)
class Time:
    """A method's training time over that of ``ce`` with the same setting, seed and device.

    Attributes:
        ratio: the mean over the pairs.
        pairs: how many there are.
        device: on which all of them were measured; with several, the one with the most pairs counts.
    """

    ratio: float
    pairs: int
    device: str


def times_of(cells: Sequence[Placed], rows: Iterable[Row]) -> dict[Row, Time]:
    """The rows that have a pair."""
    reference = {
        (cell.column, cell.seed, device_of(cell.result)): seconds
        for cell in cells
        if cell.row == Row(REFERENCE) and cell.result is not None and (seconds := _seconds(cell.result))
    }
    found: dict[Row, list[tuple[str, float]]] = {}
    for cell in cells:
        if cell.result is None:
            continue
        device, seconds = device_of(cell.result), _seconds(cell.result)
        beside = reference.get((cell.column, cell.seed, device))
        if seconds and beside:
            found.setdefault(cell.row, []).append((device, seconds / beside))
    device = _commonest(device for pairs in found.values() for device, _ in pairs)
    times = {}
    for row in rows:
        ratios = [ratio for where, ratio in found.get(row, []) if where == device]
        if ratios:
            times[row] = Time(statistics.fmean(ratios), len(ratios), device)
    return times


def device_of(result: Result) -> str:
    """Device, threads, precision, ways and company of a run: what must be alike for two times to compare."""
    environment, summary = result.environment, result.summary
    devices = [str(name) for name in environment.get("devices", [])] or ["unknown device"]
    place = _processor(environment) if devices == ["cpu"] else devices[0]
    parts = [place]
    if (world := summary.get("world_size", 1)) != 1:
        parts.append(f"{world} processes")
    if summary.get("precision", "no") != "no":
        parts.append(str(summary["precision"]))
    parts += ["CUDA graph"] if environment.get("cuda_graph") else []
    parts += ["compiled"] if result.config.get("train.compile") else []
    if result.neighbours != 1:
        parts.append(f"{result.neighbours} runs at once")
    return ", ".join(parts)


def _processor(environment: dict[str, Any]) -> str:
    return f"{environment.get('processor') or 'CPU'}, {environment.get('threads', '?')} thread(s)"


def _seconds(result: Result) -> float | None:
    return result.summary.get("train_seconds")


def _commonest(names: Iterable[str]) -> str:
    counted = Counter(names)
    return min(counted, key=lambda name: (-counted[name], name)) if counted else ""
