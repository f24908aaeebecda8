"""Steps of several methods, timed in turns: every round gives each method a turn, so that all share the same weather.

The order moves on by one each round, so that no method always follows the same one. Times are those of steps that
nobody watches; the phases are taken from further steps in every third round.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.methods.contract import PairedBatch
from ebomlc_dist.profiling.ceiling import Ceiling
from ebomlc_dist.profiling.clock import DeviceClock
from ebomlc_dist.profiling.phases import PhaseRecord, Step, watched

LEAST_ROUNDS = 5
WATCHED_EVERY = 3


@dataclass
class Subject:
    """One method, ready to step.

    Attributes:
        name: as asked for.
        step: the engine's step; each call changes the networks.
        next_batch: draws the batch of the next step, which is part of the step's time.
        take: takes the next step in another way than operator by operator; None where there is none. Watched is the
            step alone.
    """

    name: str
    step: Step
    next_batch: Callable[[], PairedBatch]
    take: Callable[[], object] | None = None

    def run(self) -> None:
        """One step, its batch included."""
        if self.take is not None:
            self.take()
        else:
            self.step(self.next_batch())


@dataclass
class Timings:
    """What was measured of one subject.

    Attributes:
        step_ms: milliseconds a step, one value a round.
        watched_ms: milliseconds of a watched step, by marks around all of it.
        phases: phase → milliseconds, beside ``watched_ms``.
        exposed_ms: waiting for reductions, beside ``watched_ms``.
    """

    step_ms: list[float] = field(default_factory=list)
    watched_ms: list[float] = field(default_factory=list)
    phases: list[dict[str, float]] = field(default_factory=list)
    exposed_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Length:
    """How long to measure: so many rounds, or as many as fit into so many seconds, five at the least."""

    rounds: int | None
    seconds: float

    def goes_on(self, done: int, began: float) -> bool:
        """Whether another round is due after ``done`` rounds since ``began`` (`time.monotonic`)."""
        if self.rounds is not None:
            return done < self.rounds
        spent = time.monotonic() - began
        return done < LEAST_ROUNDS or spent * (done + 1) / done <= self.seconds


def time_in_turns(
    subjects: Sequence[Subject],
    device: torch.device,
    ceiling: Ceiling,
    length: Length,
    *,
    align: Callable[[], None] = lambda: None,
    agree: Callable[[bool], bool] = lambda go_on: go_on,
    progress: Callable[[int], None] = lambda rounds: None,
) -> list[Timings]:
    """Measure until ``length`` is reached.

    Args:
        subjects: warm ones.
        device: where they compute.
        ceiling: measured along.
        length: when to end.
        align: called before each turn, so that several ranks start it together.
        agree: rank 0's answer on every rank.
        progress: called with the number of rounds done.
    """
    clock = DeviceClock(device)
    # A GPU is kept busy for a while, so that its queue is as full as in training.
    steps = 10 if on_gpu(device) else 1
    timings = [Timings() for _ in subjects]
    began, done = time.monotonic(), 0
    while agree(length.goes_on(done, began)):
        for place in _rotated(len(subjects), done):
            align()
            timings[place].step_ms.append(_turn(subjects[place], clock, steps))
            if done % WATCHED_EVERY == 0:
                align()
                _watched_turn(subjects[place], clock, timings[place])
        if done % WATCHED_EVERY == 0:
            ceiling.measure()
        done += 1
        progress(done)
    return timings


def _turn(subject: Subject, clock: DeviceClock, steps: int) -> float:
    clock.settle()
    marks = [clock.mark()]
    for _ in range(steps):
        subject.run()
    marks.append(clock.mark())
    return clock.between(marks)[0] / steps


def _watched_turn(subject: Subject, clock: DeviceClock, timings: Timings) -> None:
    clock.settle()
    record, milliseconds = watch_step(subject, clock)
    timings.watched_ms.append(milliseconds)
    timings.phases.append(record.milliseconds())
    timings.exposed_ms.append(record.exposed())


def watch_step(subject: Subject, clock: DeviceClock, *, annotate: bool = False) -> tuple[PhaseRecord, float]:
    """One step with its phases, and its milliseconds by marks around it.

    Args:
        annotate: name the phases in a running torch profiler too.
    """
    record = PhaseRecord(clock, annotate=annotate)
    with watched(subject.step, record):
        marks = [clock.mark()]
        record.begin("data")
        batch = subject.next_batch()
        record.begin("direction")
        subject.step(batch)
        record.end()
        marks.append(clock.mark())
    return record, clock.between(marks)[0]


def _rotated(size: int, by: int) -> Iterator[int]:
    return ((place + by) % size for place in range(size))
