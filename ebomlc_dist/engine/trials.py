"""How a run is carried out on a CPU, chosen by real steps that are thrown away: threads, and the precision `auto`.

More threads are not always faster. A small step is shared out and waited for more often than it is computed, and on a
machine with other work each of its threads waits for the one that has no core.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import torch

from ebomlc_dist.config import Precision, RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.loaders.paired import steps_per_epoch
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.cuda_graph import make_program
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.preflight import has_bf16
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.keys import flatten
from ebomlc_dist.launch.cores import chosen_threads, share_of_cores
from ebomlc_dist.methods import method_class

LEAST_STEPS = 100
"""A run of fewer steps is not worth a trial."""
ABOUT_ALIKE, HOPELESS = 1.05, 1.2
"""Times the fastest: up to the first the smaller number is taken, beyond the second no smaller one is tried."""
WORTH_ITS_ROUNDING = 1.1
"""How many times as fast bf16 steps must be on a CPU."""
_LONG_ENOUGH_S, _MOST_STEPS = 0.25, 20


@contextmanager
def own_threads() -> Iterator[None]:
    """Give the process the number of threads back that it had before the block."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def settle(
    config: RunConfig, dataset: NoisyDataset, runtime: Runtime, paths: RunFolder | None = None, *, threads: bool = True
) -> tuple[RunConfig, dict[str, str]]:
    """Choose what the configuration leaves to the machine, and set the number of threads. Collective.

    A run that goes on keeps the threads and the precision that it began with.

    Args:
        config, dataset, runtime: the run.
        paths: its folder, where it may have begun.
        threads: whether the process has no other run whose threads they are as well.

    Returns:
        The run with a precision that can be computed in, and ``threads`` and ``train.precision`` → how they were
        chosen, in words, for the start panel; neither where nothing was chosen.
    """
    stages = method_class(config.method.name).stages
    long = stages * config.train.epochs * steps_per_epoch(dataset, config.train) >= LEAST_STEPS
    began = runtime.on_first_rank(lambda: _began(paths)) if paths is not None else {}
    notes: dict[str, str] = {}
    plain = _in(config, "no") if config.train.precision == "auto" else config
    if threads and (note := _settle_threads(plain, dataset, runtime, long=long, earlier=began.get("threads"))):
        notes["threads"] = note
    if config.train.precision != "auto":
        return config, notes
    earlier = began.get("precision")
    found, notes["train.precision"] = (
        (earlier, "auto: as the run began") if earlier else _precision(plain, dataset, runtime, long=long)
    )
    return _in(config, found), notes


def _settle_threads(
    config: RunConfig, dataset: NoisyDataset, runtime: Runtime, *, long: bool, earlier: int | None
) -> str:
    """Set the number of threads that real steps are fastest with, the fewest of those about alike.

    A number chosen by the environment stands. So does the share of the cores where results must repeat
    (``train.deterministic``): another number of threads sums in another order.
    """
    share = 0 if chosen_threads() is not None or runtime.device.type != "cpu" else share_of_cores()
    least, most = (int(end) for end in _ends(share, runtime))
    if least and earlier is not None:
        torch.set_num_threads(min(earlier, share))
        return "as the run began"
    if not least or most < 2 or not long or config.train.deterministic:
        return ""
    times: dict[int, float] = {}
    with _trial(config, dataset, runtime) as take:
        while most:
            torch.set_num_threads(min(most, share))
            times[most] = _seconds(take, runtime)
            if times[most] > HOPELESS * min(times.values()):
                break
            most //= 2
    found = min(threads for threads, seconds in times.items() if seconds <= ABOUT_ALIKE * min(times.values()))
    torch.set_num_threads(min(found, share))
    tried = ", ".join(f"{1000 * seconds:.1f} ms a step with {threads}" for threads, seconds in sorted(times.items()))
    return f"tried: {tried}"


def _precision(config: RunConfig, dataset: NoisyDataset, runtime: Runtime, *, long: bool) -> tuple[Precision, str]:
    """What `auto` stands for here, and why."""
    gpu = on_gpu(runtime.device)
    has = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else has_bf16()
    if not _ends(has, runtime)[0]:
        return "no", f"auto: no bf16 arithmetic in {'this GPU' if gpu else 'this processor'}"
    if gpu:
        return "bf16", "auto: the GPU computes in bf16"
    if not long:
        return "no", "auto: too few steps for a trial"
    seconds = {}
    for precision in ("no", "bf16"):
        with _trial(_in(config, precision), dataset, runtime) as take:
            seconds[precision] = _seconds(take, runtime)
    ratio = seconds["no"] / seconds["bf16"]
    return "bf16" if ratio >= WORTH_ITS_ROUNDING else "no", f"auto: bf16 steps are {ratio:.2f} times as fast here"


def _in(config: RunConfig, precision: str) -> RunConfig:
    return config.model_copy(update={"train": config.train.model_copy(update={"precision": precision})})


def _began(paths: RunFolder) -> dict[str, Any]:
    """Threads and precision that a run on a CPU began with in this folder, as far as they are known."""
    found: dict[str, Any] = {}
    if paths.config.exists():
        found["precision"] = flatten(read_json(paths.config)).get("train.precision")
    if paths.environment.exists():
        stored = read_json(paths.environment)
        threads = stored.get("threads") if isinstance(stored, dict) and stored.get("devices") == ["cpu"] else None
        if isinstance(threads, int) and threads > 0:
            found["threads"] = threads
    return found


@contextmanager
def _trial(config: RunConfig, dataset: NoisyDataset, runtime: Runtime) -> Iterator[Callable[[], None]]:
    """Steps of a run like this one, of which nothing is left."""
    with torch.random.fork_rng(devices=[]):
        training = build(config, dataset, runtime)
        try:
            begin_epoch(training, 0)
            program, number = make_program(training), cycle(range(training.loader.steps_per_epoch))

            def take() -> None:
                program(next(number))

            yield take
        finally:
            training.loader.close()


def _seconds(take: Callable[[], None], runtime: Runtime) -> float:
    """Mean time of a step, that of the slowest rank: the same figure on every rank."""
    take()
    total, steps = 0.0, 0
    while total < _LONG_ENOUGH_S and steps < _MOST_STEPS:
        total += _ends(_timed(take), runtime)[1]
        steps += 1
    return total / steps


def _timed(take: Callable[[], None]) -> float:
    started = time.monotonic()
    take()
    return time.monotonic() - started


def _ends(value: float, runtime: Runtime) -> tuple[float, float]:
    """The smallest and the largest of every rank's ``value``."""
    every = runtime.patient.gather(torch.tensor([value], dtype=torch.float64, device=runtime.device))
    return float(every.min()), float(every.max())
