"""One method's steps, eager or recorded: built as a run builds them, and timed on the device's clock."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch

from ebomlc_dist.cli.profiler.profiled_data import random_images
from ebomlc_dist.cli.profiler.profiled_rows import requested_rows
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.cuda_graph import CudaGraph, EagerProgram, Graph, Program, RecordedProgram
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.preflight import check, load_everywhere
from ebomlc_dist.profiling.clock import DeviceClock
from ebomlc_dist.recipes.assemble import Request
from ebomlc_dist.recipes.settings import Setting
from tools.gpu_check.place import Place

GRAPH = "train.cuda_graph=true"
T = TypeVar("T")
_TURN_MS, _SECONDS, _LEAST_TURNS, _MOST_TURNS = 150.0, 1.0, 3, 15


@dataclass(frozen=True)
class Steps:
    """What to step on.

    Attributes:
        words: ``METHOD[:SETTING…]``, as of ``ebomlc profile``.
        model: of the main networks.
        side: of the random images, in pixels; None: the digits of the tiny recipe.
        batch: noisy images a step, and as many trusted ones.
        epoch: whose steps; None: the first one that shows the method's own step.
    """

    words: str
    model: str = "resnet32"
    side: int | None = 32
    batch: int = 100
    epoch: int | None = 0

    @property
    def recorded(self) -> bool:
        return GRAPH in self.words


class RepeatedWork:
    """Stands for a CUDA graph in a rehearsal: it does the work again, operator by operator."""

    def __init__(self) -> None:
        self._work: Callable[[], object] | None = None

    def warm_up(self, work: Callable[[], object]) -> None:
        """See `Graph`."""
        work()

    def capture(self, work: Callable[[], T]) -> T:
        """See `Graph`."""
        self._work = work
        return work()

    def replay(self) -> None:
        """See `Graph`. The results of the capture stay as they were."""
        assert self._work is not None
        self._work()

    def close(self) -> None:
        """Forget the work."""
        self._work = None


@contextmanager
def stepping(steps: Steps, place: Place) -> Iterator[tuple[Training, Program, Iterator[int]]]:
    """A training at the beginning of the epoch asked for, what takes its steps, and their numbers.

    Raises:
        InputError: a word that this version does not know, or a setting that this machine cannot take.
    """
    config = configured(steps, place)
    runtime = Runtime.start(config.train, place.device)
    try:
        check(config, runtime)
        dataset: NoisyDataset = random_images(config, 10) if steps.side else load_everywhere(config, runtime)
        training = build(config, dataset, runtime)
        epoch = own_epoch(config, training) if steps.epoch is None else steps.epoch
        begin_epoch(training, epoch)
        program: Program = EagerProgram(training)
        if steps.recorded:
            program = RecordedProgram(training, new_graph(place, runtime.device))
        try:
            yield training, program, _numbers(training, epoch)
        finally:
            training.loader.close()
    finally:
        runtime.close()


def configured(steps: Steps, place: Place) -> RunConfig:
    """The configuration; in a rehearsal with a small model and batch, and without the graph that no CPU has."""
    words, model, batch, side = steps.words, steps.model, steps.batch, steps.side
    if place.rehearsal:
        words = words.replace(f":{GRAPH}", "")
        model, batch = "resnet8", min(batch, 16)
        side = None if side is None else 8
    settings = {"data.image_size": side, "train.global_noisy_batch_size": batch, "train.global_clean_batch_size": batch}
    flags = tuple(Setting(key, value, "gpu_check") for key, value in {"model.name": model, **settings}.items())
    request = Request(recipe="cifar10-uniform40", methods=(words,), flags=flags)
    if steps.side is None:
        request = replace(request, recipe="digits:tiny", flags=())
    (row,) = requested_rows(request)
    return row.config


def own_epoch(config: RunConfig, training: Training) -> int:
    """The first epoch, from 0, that shows a method's own step: after its warm-up, or of its last stage."""
    epochs = config.train.epochs
    if training.method.stages > 1:
        return epochs
    own = {"ebomlc-s": 1, "ce-finetune": epochs - 1}
    for key in ("warm_up_epochs", "init_epochs"):
        if hasattr(config.method, key):
            return min(int(getattr(config.method, key)) + 1, epochs - 1)
    return own.get(config.method.name, 0)


def new_graph(place: Place, device: torch.device) -> Callable[[], Graph]:
    """What makes an empty graph."""
    return RepeatedWork if place.rehearsal else partial(CudaGraph, device)


def timed(take: Callable[[], object], place: Place, images: int) -> dict[str, Any]:
    """Milliseconds of ``take`` in turns: median, lowest and highest, and images a second by the median."""
    clock = DeviceClock(torch.device(place.device))
    for _ in range(1 if place.rehearsal else 5):
        take()
    clock.settle()
    marks = [clock.mark()]
    take()
    marks.append(clock.mark())
    # A GPU is kept busy for a while, so that its queue is as full as in training.
    in_a_row = 1 if place.rehearsal else max(2, min(20, int(_TURN_MS / max(clock.between(marks)[0], 1e-3))))
    found: list[float] = []
    began = time.monotonic()
    while len(found) < _LEAST_TURNS or (time.monotonic() - began < _SECONDS and len(found) < _MOST_TURNS):
        clock.settle()
        marks = [clock.mark()]
        for _ in range(in_a_row):
            take()
        marks.append(clock.mark())
        found.append(clock.between(marks)[0] / in_a_row)
        if place.rehearsal and len(found) == _LEAST_TURNS:
            break
    median = statistics.median(found)
    return {
        "ms": median,
        "lowest_ms": min(found),
        "highest_ms": max(found),
        "images_per_second": 1000 * images / median,
    }


def _numbers(training: Training, epoch: int) -> Iterator[int]:
    """Steps of one epoch, over and over."""
    size = training.loader.steps_per_epoch
    drawn = 0
    while True:
        yield epoch * size + drawn % size
        drawn += 1
