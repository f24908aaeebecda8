"""What a run is going to do, in rows a person reads before it starts."""

import resource
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset, described
from ebomlc_dist.data.loaders.auto_select import choose_loader
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.arithmetic import arithmetic_of
from ebomlc_dist.engine.build import Training, build, make_method
from ebomlc_dist.engine.cuda_graph import make_program
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.extractor import TRAINED_BY, extractor_config
from ebomlc_dist.engine.preflight import check, load_everywhere, needs_clean
from ebomlc_dist.engine.trials import settle
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.methods import method_class, method_info
from ebomlc_dist.monitoring.goodput import duration_text
from ebomlc_dist.monitoring.purity import purity_figures, purity_text

Rows = list[tuple[str, str]]
_WARM_UP_STEPS, _TIMED_STEPS = 2, 5


def describe(
    config: RunConfig, folder: Path, dataset: NoisyDataset, runtime: Runtime, sources: Mapping[str, str]
) -> Rows:
    """Return rows (name, value) of the start panel.

    ``sources``: key of the configuration → where its value came from.
    """
    train, world_size = config.train, runtime.world_size
    noise: str = config.noise.kind
    if dataset.noise_rate_realised is not None:
        nominal = dataset.noise_rate_nominal
        asked = "" if nominal is None else f"{100 * nominal:g} % asked, "
        noise += f", {asked}{100 * dataset.noise_rate_realised:.2f} % realised"
    trusted = f"{len(dataset.clean_labels)} trusted{'' if needs_clean(config) else ' (not used by this method)'}"
    if dataset.from_noisy:
        trusted += f", chosen from the noisy ones: {purity_text(purity_figures(dataset.purity, dataset.true_purity))}"
    if len(dataset.validation_labels):
        trusted += f", {len(dataset.validation_labels)} more that choose an epoch"
    stages = "" if (number := method_class(config.method.name).stages) == 1 else f"{number} × "
    shares = [-(-size // world_size) for size in (train.global_noisy_batch_size, train.global_clean_batch_size)]
    return [
        ("method", f"{config.method.name}: {method_info(config.method.name).summary}"),
        (
            "data",
            f"{config.data.dataset}: {len(dataset.noisy_labels)} noisy, {trusted}, "
            f"{len(dataset.test_labels)} test {described(dataset.images)}, {dataset.num_classes} classes",
        ),
        ("loader", _loader(config, dataset, runtime)),
        ("noise", noise),
        ("model", f"{config.model.name}, norm {config.model.norm}"),
        *_extractor(config, folder),
        (
            "batch",
            f"{train.global_noisy_batch_size} noisy + {train.global_clean_batch_size} clean, "
            f"at most {shares[0]} + {shares[1]} on each of {world_size} process(es)",
        ),
        ("length", f"{stages}{train.epochs} epochs of {_steps_per_epoch(config, dataset)} steps"),
        ("device", f"{device_name(runtime)}, {torch.get_num_threads()} thread(s) each{_how(sources)}"),
        ("step", _step(config)),
        ("precision", _precision(config, runtime, sources)),
        ("seed", str(config.seeds.seed)),
        ("folder", str(folder)),
    ]


def _precision(config: RunConfig, runtime: Runtime, sources: Mapping[str, str]) -> str:
    """``bf16, float32 ieee (from …)``: the word, what float32 means beside it on a GPU, and who chose it."""
    word, source = config.train.precision, sources.get("train.precision", "the configuration")
    meaning = f", float32 {arithmetic_of(word).float32}" if on_gpu(runtime.device) else ""
    return f"{word}{meaning} (from {source})"


def preview(config: RunConfig, folder: Path, runtime: Runtime, sources: Mapping[str, str], *, time_steps: bool) -> Rows:
    """`describe`, and the number of steps. Raises `InputError` as a run would.

    Args:
        config, folder, runtime, sources: of the run.
        time_steps: take a few real steps, and estimate the run's time and memory from them.
    """
    check(config, runtime)
    dataset = load_everywhere(config, runtime)
    if time_steps or config.train.precision == "auto":
        config, notes = settle(config, dataset, runtime, threads=time_steps)
        sources = {**sources, **notes}
    training = build(config, dataset, runtime)
    steps = [("steps", str(training.total_steps))]
    estimates = _estimates(training) if time_steps else [("time", "not measured; --time-steps takes a few steps")]
    training.loader.close()
    return describe(config, folder, dataset, runtime, sources) + steps + estimates


def _estimates(training: Training) -> Rows:
    config, runtime = training.config, training.runtime
    # The last epoch's steps: where steps differ between epochs, those are the dear ones.
    epoch = training.method.stages * config.train.epochs - 1
    begin_epoch(training, epoch)
    first = epoch * training.loader.steps_per_epoch
    with closing(make_program(training)) as program:
        for step in range(first, first + _WARM_UP_STEPS):
            program(step)
        _finish(runtime)
        started = time.monotonic()
        for step in range(first + _WARM_UP_STEPS, first + _WARM_UP_STEPS + _TIMED_STEPS):
            program(step)
        _finish(runtime)
    seconds = (time.monotonic() - started) / _TIMED_STEPS
    total = duration_text(seconds * training.total_steps)
    return [
        ("time", f"about {total} ({1000 * seconds:.1f} ms a step on {_places(runtime)})"),
        ("memory", f"about {_peak_gib(runtime):.2f} GiB on {_places(runtime)}"),
    ]


def _how(sources: Mapping[str, str]) -> str:
    return f" ({sources['threads']})" if "threads" in sources else ""


def _extractor(config: RunConfig, folder: Path) -> Rows:
    own = extractor_config(config)
    if own is None:
        return []
    images = "trusted" if own.method.name == TRAINED_BY["clean"] else "noisy"
    text = f"{config.model.name} on the {images} images, trained first, for as many epochs"
    return [("extractor", f"{text}, in {RunFolder(folder).extractor}")]


def _step(config: RunConfig) -> str:
    train, twice = config.train, make_method(config).backward_twice
    passes = "compiled passes" if train.compile else "eager passes"
    if train.compile and getattr(config.method, "hypergradient", None) == "forward_mode":
        passes += ", but for the forward-mode one"
    if train.strategy != "replicated":
        passes += f", main models spread by {train.strategy}"
    if train.activation_checkpointing:
        passes += ", blocks computed again in the backward pass"
    if not train.cuda_graph:
        return passes
    return f"{passes}; no CUDA graph, which cannot hold double_backward" if twice else f"{passes}, in one CUDA graph"


def _steps_per_epoch(config: RunConfig, dataset: NoisyDataset) -> int:
    return -(-len(dataset.noisy_labels) // config.train.global_noisy_batch_size)


def _loader(config: RunConfig, dataset: NoisyDataset, runtime: Runtime) -> str:
    choice = choose_loader(dataset, config.data, runtime.device)
    workers = "" if choice.name == "resident" else f", {config.data.num_workers} worker(s) each"
    return f"{choice.name} ({choice.reason}){workers}"


def _places(runtime: Runtime) -> str:
    return "one process here" if runtime.world_size == 1 else f"each of {runtime.world_size} processes here"


def device_name(runtime: Runtime) -> str:
    """Return what this process computes on, in words."""
    return torch.cuda.get_device_name(runtime.device) if on_gpu(runtime.device) else "cpu"


def _finish(runtime: Runtime) -> None:
    if on_gpu(runtime.device):
        torch.cuda.synchronize(runtime.device)


def _peak_gib(runtime: Runtime) -> float:
    """Return peak device memory; on a CPU the peak resident set of the whole process (``ru_maxrss`` is in KiB)."""
    if on_gpu(runtime.device):
        return torch.cuda.max_memory_allocated(runtime.device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
