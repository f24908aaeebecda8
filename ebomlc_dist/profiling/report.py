"""The document that a profile is: everything that was measured, as typed values with a JSON form.

``Report.model_validate_json(r.model_dump_json()) == r``. Times are milliseconds, rates per second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ebomlc_dist.profiling.ceiling import Ceiling
from ebomlc_dist.profiling.counters import Counts
from ebomlc_dist.profiling.phases import PHASES
from ebomlc_dist.profiling.quartiles import Quartiles, Ratio
from ebomlc_dist.profiling.rounds import WATCHED_EVERY, Timings
from ebomlc_dist.profiling.scaling import Link, Scaling

MIB = 2**20


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Setting(_Value):
    """What was measured on: alike for all rows, but for what a row's own settings say."""

    model: str
    norm: str
    precision: str
    global_noisy_batch_size: int
    global_clean_batch_size: int
    image: tuple[int, ...]
    num_classes: int
    data: str
    world_size: int
    device: str
    threads: int


class Row(_Value):
    """One method.

    Attributes:
        settings: what sets this row apart, dotted key → value.
        step_ms: a whole step, drawing its batch included; on several ranks, of the slowest one.
        rounds_ms: the values behind it, in the order of the rounds, to be paired with other rows'.
        images_per_second: noisy images, all ranks together.
        phases: phase → milliseconds (`ebomlc_dist.profiling.phases`), on rank 0.
        phases_over_step: the sum of the phases over the time of the watched step, by marks around all of it.
        watched_over_unwatched: that time over the one of the unwatched step of the same round.
        exposed_ms: the part of ``communication`` in which the rank did nothing but wait.
        units: work in forwards of one noisy batch.
        flops: of one rank's step.
        ceiling_share: flops a second as a share of the measured ceiling.
        peak_mib: memory that the step holds beyond what is there before it.
        launches, waits: operators a step, and those that make the host wait.
        collectives, collective_bytes: a step, on one rank.
    """

    name: str
    method: str
    settings: dict[str, Any]
    step_ms: Quartiles
    rounds_ms: tuple[float, ...]
    images_per_second: Quartiles
    phases: dict[str, Quartiles]
    phases_over_step: Ratio
    watched_over_unwatched: Ratio
    exposed_ms: Quartiles
    units: float
    flops: int
    ceiling_share: Quartiles
    peak_mib: float
    launches: int
    waits: int
    collectives: int
    collective_bytes: int


class Comparison(_Value):
    """A row's step time over the first row's, paired by round."""

    row: str
    base: str
    ratio: Ratio


class Report(_Value):
    """A profile.

    Attributes:
        environment: versions, processor, threads; see `ebomlc_dist.monitoring.versions`.
        rounds: how many turns each row had.
        ceiling: kind of work → the best rate seen on this device, operations a second, on one rank.
    """

    schema_version: Literal[1] = 1
    setting: Setting
    environment: dict[str, Any]
    rounds: int
    ceiling: dict[str, float]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]
    link: Link | None = None
    scaling: Scaling | None = None


@dataclass(frozen=True)
class Profiled:
    """What is known of one row before it is summed up. ``timings.step_ms`` is of the slowest rank."""

    name: str
    method: str
    settings: Mapping[str, Any]
    timings: Timings
    counts: Counts
    collectives: int
    collective_bytes: int


def make_row(profiled: Profiled, images: int, forward_flops: int, ceiling: Ceiling) -> Row:
    """Sum up one row. ``images``: noisy ones a step; ``forward_flops``: of one rank's share of them."""
    timings, counts = profiled.timings, profiled.counts
    sums = [sum(phases.values()) for phases in timings.phases]
    return Row(
        name=profiled.name,
        method=profiled.method,
        settings=dict(profiled.settings),
        step_ms=Quartiles.of(timings.step_ms),
        rounds_ms=tuple(timings.step_ms),
        images_per_second=Quartiles.of([1000.0 * images / ms for ms in timings.step_ms]),
        phases={name: Quartiles.of([phases[name] for phases in timings.phases]) for name in PHASES},
        phases_over_step=Ratio.of(sums, timings.watched_ms),
        watched_over_unwatched=Ratio.of(timings.watched_ms, timings.step_ms[::WATCHED_EVERY]),
        exposed_ms=Quartiles.of(timings.exposed_ms) if profiled.collectives else Quartiles(median=0, low=0, high=0),
        units=counts.flops / forward_flops,
        flops=counts.flops,
        ceiling_share=Quartiles.of([1000.0 * counts.flops / ms / ceiling.rate for ms in timings.step_ms]),
        peak_mib=counts.peak_bytes / MIB,
        launches=counts.launches,
        waits=counts.waits,
        collectives=profiled.collectives,
        collective_bytes=profiled.collective_bytes,
    )


def compare(rows: Sequence[Row]) -> tuple[Comparison, ...]:
    """Each further row against the first."""
    base = rows[0]
    return tuple(
        Comparison(row=row.name, base=base.name, ratio=Ratio.of(row.rounds_ms, base.rounds_ms)) for row in rows[1:]
    )
