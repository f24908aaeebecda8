"""``--scaling``: this same tool on other numbers of processes and other batches, as children, one after another."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ebomlc_dist.config import TrainConfig
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.launch.cores import available_cores, chosen_threads
from ebomlc_dist.profiling.report import Report
from ebomlc_dist.profiling.scaling import EXTRAPOLATED, MODES, Link, Mode, Model, Scaling, scale

MODULE = "ebomlc_dist.cli"
# A child measures fewer rounds than the main table: it serves a line, not a ratio.
CHILD_SECONDS = 15.0


@dataclass(frozen=True)
class Job:
    """One child: so many processes, and how its batches compare to those of one process."""

    world_size: int
    share: float


def world_sizes(text: str, on_gpu: bool, oversubscribe: bool = False) -> tuple[int, ...]:
    """``1,2,4`` as numbers, 1 among them.

    Raises:
        InputError: they are no numbers of processes, or more than the cores and not asked to ``oversubscribe`` them.
    """
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdigit() and int(word) > 0 for word in words):
        raise InputError(f"--scaling {text}: give numbers of processes, such as 1,2,4")
    sizes = tuple(sorted({1, *(int(word) for word in words)}))
    if len(sizes) == 1:
        raise InputError("--scaling 1: one process alone shows no scaling; give more, such as 1,2")
    if not on_gpu and not oversubscribe and sizes[-1] > (cores := available_cores()):
        raise InputError(
            f"--scaling {text}: {sizes[-1]} processes would share {cores} core(s); ask for {cores} at most, or for "
            "figures of shared cores by --oversubscribe"
        )
    return sizes


def measure_scaling(
    report: Report,
    sizes: tuple[int, ...],
    cores: int | None,
    train: TrainConfig,
    arguments: list[str],
    progress: Callable[[str], None],
) -> Scaling:
    """Run the children and fit the model.

    Args:
        report: of one process, for the rows and their names.
        sizes: numbers of processes, ascending from 1.
        cores: that they share; None on GPUs.
        train: the batch sizes of one process.
        arguments: of ``ebomlc``, as given, ``profile`` first.
    """
    threads = _threads(sizes[-1])
    batch = train.global_noisy_batch_size
    if batch < 2:
        raise InputError("--scaling needs a global noisy batch of 2 or more (--batch-size)")
    small = Job(1, max(1, batch // max(2, sizes[-1])) / batch)
    weak = {size: Job(size, float(size)) for size in sizes}
    strong = {size: Job(size, 1.0) for size in sizes}
    found: dict[Job, Report] = {}
    for job in (small, *strong.values(), *weak.values()):
        if job not in found:
            progress(f"{job.world_size} process(es), {_scaled(batch, job.share)} noisy images a step")
            found[job] = _run(job, train, arguments, threads)
    largest = found[strong[largest_apart(sizes, cores)]]
    link = largest.link
    assert link is not None
    jobs: dict[Mode, dict[int, Job]] = {"strong": strong, "weak": weak}
    rows = []
    for place, row in enumerate(report.rows):
        measured = {(mode, size): found[jobs[mode][size]].rows[place].step_ms for mode in MODES for size in sizes}
        points = {_scaled(batch, job.share): found[job].rows[place].step_ms.median for job in (small, strong[1])}
        rows.append(scale(row.name, batch, _model(points, largest, place, link), measured, EXTRAPOLATED))
    return Scaling(world_sizes=sizes, threads=threads, rows=tuple(rows), cores=cores)


def largest_apart(sizes: tuple[int, ...], cores: int | None) -> int:
    """The most processes that have a core each, of which the link is measured; where none have, the fewest."""
    several = sizes[1:]
    return max((size for size in several if cores is None or size <= cores), default=several[0])


def _model(points: dict[int, float], largest: Report, place: int, link: Link) -> Model:
    row = largest.rows[place]
    return Model.of(points, row.collectives, row.collective_bytes, link)


def _run(job: Job, train: TrainConfig, arguments: list[str], threads: int) -> Report:
    """A child's report. Its own flags come last and stand."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "report.json"
        flags = {
            "--scaling": "",
            "--trace": "",
            "--output": str(output),
            "--num-processes": str(job.world_size),
            "--seconds": str(CHILD_SECONDS),
            "--global-noisy-batch-size": str(_scaled(train.global_noisy_batch_size, job.share)),
            "--global-clean-batch-size": str(_scaled(train.global_clean_batch_size, job.share)),
        }
        words = [
            sys.executable,
            "-m",
            MODULE,
            *arguments,
            "--quiet",
            *(word for pair in flags.items() for word in pair),
        ]
        ended = subprocess.run(
            words,
            env=os.environ | {"EBOMLC_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if ended.returncode or not output.exists():
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("ebomlc: ")
            raise TrainingFault(f"measuring {job.world_size} process(es) failed with code {ended.returncode}: {last}")
        return Report.model_validate(read_json(output), strict=False)


def _scaled(size: int, share: float) -> int:
    return max(1, round(size * share))


def _threads(most: int) -> int:
    """Threads of each process, the same in every measurement, so that a further process brings cores of its own."""
    return chosen_threads() or max(1, available_cores() // most)
