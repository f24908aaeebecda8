"""From rows to a report, on every rank alike: build, warm up, count, time in turns, sum up."""

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ebomlc_dist.cli.profiler.profiled_rows import Row
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.arithmetic import arithmetic_of
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.cuda_graph import EagerProgram, make_program
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.preflight import check, check_model
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.monitoring.versions import environment
from ebomlc_dist.profiling.ceiling import Ceiling
from ebomlc_dist.profiling.clock import DeviceClock
from ebomlc_dist.profiling.counters import Counts, count, count_flops
from ebomlc_dist.profiling.report import Profiled, Report, Setting, compare, make_row
from ebomlc_dist.profiling.rounds import Length, Subject, Timings, time_in_turns
from ebomlc_dist.profiling.scaling import Link

LINK_BYTES = 4 * 2**20
_REDUCTIONS = 11


@dataclass(frozen=True)
class Built:
    """One row, ready to step, and what does not hang on time."""

    row: Row
    training: Training
    subject: Subject
    counts: Counts
    collectives: int
    collective_bytes: int


def make_subject(row: Row, dataset: NoisyDataset, runtime: Runtime, epoch: int) -> tuple[Training, Subject]:
    """A row's training at the beginning of ``epoch``."""
    check(row.config, runtime)
    check_model(row.config, dataset)
    training = build(row.config, dataset, runtime)
    begin_epoch(training, epoch)
    program, steps = make_program(training), _Steps(training, epoch)
    runtime.before_leaving.append(program.close)
    take = None if isinstance(program, EagerProgram) else lambda: program(steps())
    return training, Subject(row.name, training.step, lambda: training.loader.batch(steps()), take)


def measure(
    rows: list[Row],
    dataset: NoisyDataset,
    data: str,
    runtime: Runtime,
    length: Length,
    epoch: int,
    progress: Callable[[str], None],
) -> Report:
    """The report of ``rows``, without scaling. Collective.

    Args:
        dataset: what all rows step on; ``data``: its name.
        epoch: the steps of which epoch, from 0, for methods whose step changes.
        progress: called with what is being done.
    """
    built = []
    for row in rows:
        progress(f"{row.name}: warm-up and counts")
        built.append(_build(row, dataset, runtime, epoch))
    config, device = rows[0].config, runtime.device
    ceiling = Ceiling(device, arithmetic_of(config.train.precision).autocast or torch.float32)
    timings = time_in_turns(
        [one.subject for one in built],
        device,
        ceiling,
        length,
        align=runtime.communicator.barrier,
        agree=lambda go_on: bool(runtime.on_first_rank(lambda: go_on)),
        progress=lambda rounds: progress(f"round {rounds} done"),
    )
    _of_slowest_rank(timings, runtime)
    images = config.train.global_noisy_batch_size
    summed = tuple(
        make_row(_profiled(one, times), images, _forward_flops(one), ceiling)
        for one, times in zip(built, timings, strict=True)
    )
    found = environment()
    return Report(
        setting=Setting(
            model=config.model.name,
            norm=config.model.norm,
            precision=config.train.precision,
            global_noisy_batch_size=images,
            global_clean_batch_size=config.train.global_clean_batch_size,
            image=tuple(dataset.images.shape[1:]),
            num_classes=dataset.num_classes,
            data=data,
            world_size=runtime.world_size,
            device=torch.cuda.get_device_name(device) if on_gpu(device) else found["processor"],
            threads=torch.get_num_threads(),
        ),
        environment=found,
        rounds=len(timings[0].step_ms),
        ceiling=ceiling.rates,
        rows=summed,
        comparisons=compare(summed),
        link=_measure_link(runtime) if runtime.world_size > 1 else None,
    )


class _Steps:
    """Steps of one epoch, over and over."""

    def __init__(self, training: Training, epoch: int) -> None:
        self._per_epoch = training.loader.steps_per_epoch
        self._first = epoch * self._per_epoch
        self._drawn = 0

    def __call__(self) -> int:
        step = self._first + self._drawn % self._per_epoch
        self._drawn += 1
        return step


def _build(row: Row, dataset: NoisyDataset, runtime: Runtime, epoch: int) -> Built:
    training, subject = make_subject(row, dataset, runtime, epoch)
    communicator, batch = runtime.communicator, subject.next_batch()
    # This step and those that are counted are the warm-up: none of them is timed.
    collectives, sent = communicator.num_collectives, communicator.num_bytes
    training.step(batch)
    collectives, sent = communicator.num_collectives - collectives, communicator.num_bytes - sent
    # Where a recording is made, it is made here.
    subject.run()
    with _passes_in_sight(row):
        counts = count(partial(training.step, batch), runtime.device)
    return Built(row, training, subject, counts, collectives, sent)


def _passes_in_sight(row: Row) -> AbstractContextManager[object]:
    """Counters see operators, which a compiled pass has none of: they count those that it stands for."""
    return torch.compiler.set_stance("force_eager") if row.config.train.compile else nullcontext()


def _profiled(built: Built, timings: Timings) -> Profiled:
    row = built.row
    return Profiled(
        row.name, row.config.method.name, row.settings, timings, built.counts, built.collectives, built.collective_bytes
    )


def _forward_flops(built: Built) -> int:
    """Of one pass of the main model over this rank's noisy share; it leaves no trace."""
    main, images = built.training.networks["main"], built.subject.next_batch().noisy.images
    with torch.no_grad(), _passes_in_sight(built.row):
        return count_flops(lambda: main.at(main.vector.detach(), images))


def _of_slowest_rank(timings: list[Timings], runtime: Runtime) -> None:
    every = torch.tensor([one.step_ms for one in timings], dtype=torch.float64, device=runtime.device)
    slowest = runtime.patient.gather(every).amax(dim=0).tolist()
    for one, step_ms in zip(timings, slowest, strict=True):
        one.step_ms = step_ms


def _measure_link(runtime: Runtime) -> Link:
    small = _reduction_ms(runtime, torch.zeros(1, device=runtime.device))
    large = _reduction_ms(runtime, torch.zeros(LINK_BYTES // 4, device=runtime.device))
    return Link.of(runtime.world_size, small, large, LINK_BYTES)


def _reduction_ms(runtime: Runtime, buffer: Tensor) -> float:
    clock, times = DeviceClock(runtime.device), []
    for _ in range(_REDUCTIONS):
        runtime.communicator.barrier()
        marks = [clock.mark()]
        runtime.communicator.sum(buffer)
        marks.append(clock.mark())
        times.append(clock.between(marks)[0])
    return statistics.median(times)
