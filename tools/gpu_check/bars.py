"""What the figures are held against: a latency bar and three ratios of one GPU at the paper's batch."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from tools.gpu_check.parts import FAST, PACKED

_EPOCHS = 120


class Bar(BaseModel):
    """One bar. ``value`` is None where it was not measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    value: float | None
    limit: float
    at_least: bool

    @property
    def reached(self) -> bool | None:
        if self.value is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def text(self) -> str:
        return "–" if self.value is None else f"{self.value:.2f}"

    @property
    def limit_text(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def bars(parts: Mapping[str, Mapping[str, Any]]) -> tuple[Bar, ...]:
    """The bars from the parts' results, those of parts that are not there without a value."""
    steps = {row["name"]: row["step_ms"]["median"] for row in parts.get("step", {}).get("rows", ())}
    graph, eager = steps.get(f"ebomlc:{FAST}"), steps.get("ebomlc")
    alone = _rate(parts.get("alone", {}), 1)
    packed = _rate(parts.get("packed", {}), PACKED)
    trained = {run["method"]: run for run in parts.get("training", {}).get("runs", ())}
    full = trained.get("ebomlc") if trained.get("ebomlc", {}).get("epochs") == _EPOCHS else None
    return (
        Bar(name="EBOMLC, whole-step graph, ms a step", value=graph, limit=3.0, at_least=False),
        Bar(
            name=f"EBOMLC, {_EPOCHS} epochs, minutes of training",
            value=None if full is None else full["train_seconds"] / 60,
            limit=3.0,
            at_least=False,
        ),
        Bar(name="EBOMLC, eager / graph", value=_over(eager, graph), limit=2.0, at_least=True),
        Bar(
            name="MLC double backward / EBOMLC, both eager",
            value=_over(steps.get("mlc:double_backward"), eager),
            limit=1.8,
            at_least=True,
        ),
        Bar(name=f"throughput of {PACKED} packed runs / one", value=_over(packed, alone), limit=2.0, at_least=True),
    )


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other


def _rate(part: Mapping[str, Any], number: int) -> float | None:
    """Images a second of all runs together; None where a run is missing."""
    rates = [run["images_per_second"] for run in part.get("runs", ())]
    return sum(rates) if len(rates) == number else None
