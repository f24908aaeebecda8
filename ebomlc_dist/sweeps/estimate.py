"""How long cells take, from those that were measured."""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from ebomlc_dist.keys import cost_keys
from ebomlc_dist.methods import METHODS
from ebomlc_dist.sweeps.store import Result


class Estimates:
    """Seconds of a cell: the median of like cells; else of cells of this size, by the methods' cost of a step."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._like: dict[tuple[Any, ...], list[float]] = {}
        self._unit: dict[tuple[Any, ...], list[float]] = {}
        for result in results:
            seconds = max(result.seconds, result.summary.get("train_seconds") or 0.0)
            method, size = _method(result.config), _size(result.config)
            self._like.setdefault((method, *size), []).append(seconds)
            if units := _units(result.config):
                self._unit.setdefault(size, []).append(seconds / units)

    def seconds(self, config: Mapping[str, Any]) -> float | None:
        """Of a cell with this configuration (dotted keys); None where nothing comparable was measured."""
        method, size = _method(config), _size(config)
        if like := self._like.get((method, *size)):
            return statistics.median(like)
        units, unit = _units(config), self._unit.get(size)
        return statistics.median(unit) * units if units and unit else None

    def total(self, configs: Iterable[Mapping[str, Any]]) -> float | None:
        """Of several cells one after another; None where one cannot be estimated."""
        parts = [self.seconds(config) for config in configs]
        return sum(part for part in parts if part is not None) if None not in parts else None


def _method(config: Mapping[str, Any]) -> str:
    return str(config.get("method.name"))


def _size(config: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a run's time depends on, besides its method."""
    return tuple(config.get(key) for key in cost_keys())


def _units(config: Mapping[str, Any]) -> float | None:
    info = METHODS.get(_method(config))
    clean, noisy = (config.get(f"train.global_{kind}_batch_size") for kind in ("clean", "noisy"))
    return info.units_at(clean / noisy) if info and clean and noisy else None


def duration(text: str) -> float:
    """Seconds of ``90s``, ``30m``, ``2h``, ``1d`` or ``1h30m``. Raises ValueError for anything else."""
    import re

    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    return sum(float(number) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit] for number, unit in parts)


def shown(seconds: float) -> str:
    """A time for people: ``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
