"""One run, from a configuration and a folder to a summary."""

from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypedDict, Unpack

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.split_file import split_document
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.distributed.trackers import open_trackers
from ebomlc_dist.engine.arithmetic import float32_in_force
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.dry_run import describe
from ebomlc_dist.engine.export import export_models
from ebomlc_dist.engine.extractor import extractor_config, extractor_figures, train_extractor
from ebomlc_dist.engine.preflight import check, check_shared, load_everywhere
from ebomlc_dist.engine.rank_log import rank_log
from ebomlc_dist.engine.resume import check_same_run, load_checkpoint
from ebomlc_dist.engine.run_status import Stopped, truth_in_status
from ebomlc_dist.engine.run_summary import summarise
from ebomlc_dist.engine.stop import StopRequests
from ebomlc_dist.engine.trainer import Trainer
from ebomlc_dist.engine.trials import own_threads, settle
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.checkpoint import Checkpoint
from ebomlc_dist.files.durable import write_bytes, write_json
from ebomlc_dist.files.run_folder import Claim, RunFolder, claim, write_status
from ebomlc_dist.launch.signals import Signals
from ebomlc_dist.monitoring.goodput import AttemptLog, Stopwatch
from ebomlc_dist.monitoring.progress import ProgressReport, show_panel
from ebomlc_dist.monitoring.record import RunRecord, SilentRecord
from ebomlc_dist.monitoring.versions import environment

Data = NoisyDataset | Callable[[], NoisyDataset]
"""Data of a run, or what prepares them."""
Steps = Generator[None, None, dict[str, Any]]
"""A run, a step at a time; it returns its summary."""


class RunOptions(TypedDict, total=False):
    """What `train` and `steps_of` take beside the run itself; by default nothing of it.

    Attributes:
        resume: continue what the folder holds; a first start where it holds nothing.
        quiet: no progress.
        panel: the start panel; by default where not ``quiet``.
        overrides: what the person changed, for ``overrides.txt``.
        sources: where values of the configuration came from, for the start panel.
        dataset: data instead of those the configuration names: in memory already, or what prepares them (collective,
            once the folder is claimed).
    """

    resume: bool
    quiet: bool
    panel: bool
    overrides: list[str]
    sources: Mapping[str, str]
    dataset: Data | None


def train(config: RunConfig, folder: Path, *, runtime: Runtime, **options: Unpack[RunOptions]) -> dict[str, Any]:
    """Train one run into ``folder``; every rank calls it with the same arguments. Returns the summary.

    Args and errors as of `steps_of`.
    """
    steps = steps_of(config, folder, runtime=runtime, **options)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def steps_of(
    config: RunConfig, folder: Path, *, runtime: Runtime, signals: Signals | None = None, **options: Unpack[RunOptions]
) -> Steps:
    """`train`, with a pause after every step.

    Args:
        config: the run.
        folder: its run folder; one that holds another run is refused.
        runtime: the processes.
        signals: the signals of the process, where other runs go on in it.
        options: as of `RunOptions`.

    Raises:
        InputError: bad input, on every rank alike, before training.
        TrainingFault: training cannot go on.
        Stopped: asked to stop, with a checkpoint written.
    """
    paths, watch = RunFolder(folder), Stopwatch(runtime.synchronise)
    resume, quiet = options.get("resume", False), options.get("quiet", False)
    claimed: list[Claim] = []
    runtime.on_first_rank(lambda: claimed.append(claim(folder, config.recipe, resume=resume)))
    try:
        check_shared(paths, runtime)
        with rank_log(paths, runtime), truth_in_status(paths, runtime), own_threads():
            checkpoint, dataset = _prepare(config, paths, options.get("dataset"), resume, runtime)
            began = paths if resume else None
            config, notes = settle(config, dataset, runtime, began, threads=signals is None)
            training = build(config, dataset, runtime)
            if runtime.is_main and options.get("panel", not quiet):
                show_panel(describe(config, folder, dataset, runtime, {**options.get("sources", {}), **notes}))
            if (own := extractor_config(config)) is not None:
                training.loader.close()
                # Of its memory nothing is held while the extractor is trained.
                del training

                def begin(config: RunConfig, folder: Path) -> Steps:
                    return steps_of(
                        config, folder, runtime=runtime, signals=signals, resume=True, quiet=quiet, dataset=dataset
                    )

                extractor = yield from train_extractor(own, paths, runtime, begin)
                training = build(config, dataset, runtime, extractor)
            return (yield from _train(training, paths, checkpoint, options.get("overrides", []), quiet, signals, watch))
    finally:
        for held in claimed:
            held.release()


def _prepare(
    config: RunConfig, paths: RunFolder, dataset: Data | None, resume: bool, runtime: Runtime
) -> tuple[Checkpoint | None, NoisyDataset]:
    """Return the checkpoint, if any, and the data. Raise `InputError` for whatever can be refused before building."""
    check(config, runtime, resume=resume)
    if dataset is None:
        dataset = load_everywhere(config, runtime)
    elif not isinstance(dataset, NoisyDataset):
        dataset = dataset()
    if dataset.from_noisy and len(dataset.clean_index) and dataset.purity is None:
        raise InputError(
            "the trusted images have not been chosen from the noisy ones; train by `ebomlc train … --clean-from-noisy`"
        )
    checkpoint = None
    if resume:
        runtime.on_first_rank(lambda: check_same_run(paths, config))
        checkpoint = load_checkpoint(paths, dataset, runtime)
    return checkpoint, dataset


def _train(
    training: Training,
    paths: RunFolder,
    checkpoint: Checkpoint | None,
    overrides: list[str],
    quiet: bool,
    signals: Signals | None,
    watch: Stopwatch,
) -> Steps:
    runtime, attempts = training.runtime, AttemptLog(paths.attempts, watch)
    if runtime.is_main:
        # It was meant for the start that it stopped.
        paths.stop.unlink(missing_ok=True)
    with ExitStack() as stack:
        alone = signals is None
        signals = stack.enter_context(Signals()) if signals is None else signals
        requests = StopRequests(signals, paths.stop if runtime.is_main else None)
        record = _open_record(training, paths, checkpoint, overrides, quiet, attempts, alone=alone)
        stack.callback(record.close)
        stack.callback(training.loader.close)
        stack.callback(watch.switch, "other")
        trainer = Trainer(training, record, watch)
        # On every way out this comes first.
        stack.callback(trainer.close)
        if checkpoint is not None:
            trainer.resume(checkpoint)
        if not (yield from trainer.steps(requests)):
            if runtime.under_launcher:
                signals.ignore_later_ones()
            # A signal may reach another rank a step earlier than this one.
            reasons = runtime.gather_texts(requests.reason or "")
            raise Stopped(paths.root, trainer.progress.step, next(filter(None, reasons)))
    with watch.within("evaluation"):
        summary = summarise(training, trainer.progress, paths.root)
    export_models(training, paths, summary)
    summary["extractor"] = runtime.on_first_rank(lambda: extractor_figures(training.config, paths))
    summary["goodput"] = runtime.on_first_rank(lambda: attempts.finish(trainer.progress.step))
    if runtime.is_main:
        write_json(paths.summary, summary)
        write_status(paths.root, state="finished", code=0, step=trainer.progress.step)
    runtime.patient.barrier()
    return summary


def _open_record(
    training: Training,
    paths: RunFolder,
    checkpoint: Checkpoint | None,
    overrides: list[str],
    quiet: bool,
    attempts: AttemptLog,
    *,
    alone: bool,
) -> RunRecord | SilentRecord:
    if not training.runtime.is_main:
        return SilentRecord()
    config, dataset = training.config, training.dataset
    write_bytes(paths.config, config.model_dump_json(indent=2).encode())
    write_bytes(paths.overrides, "".join(f"{line}\n" for line in overrides).encode())
    write_json(paths.environment, environment() | {"float32": float32_in_force()})
    write_json(paths.split, split_document(dataset))
    write_json(paths.classes, dataset.class_names)
    step = checkpoint.step if checkpoint is not None else 0
    progress = ProgressReport(
        config.method.name if alone else paths.root.name,
        training.total_steps,
        training.loader.steps_per_epoch,
        done=step,
        enabled=not quiet,
        bar=alone,
    )
    trackers = open_trackers(
        config.train.trackers, paths.root, paths.root.name, config.model_dump(mode="json"), resumed_at=step
    )
    fixed = {"fingerprint": dataset.fingerprint, "world_size": training.runtime.world_size}
    attempts.begin(step)
    record = RunRecord(paths, trackers, progress, fixed, attempts)
    if paths.metrics.exists():
        record.wind_back(checkpoint.document("run")["metrics_offset"] if checkpoint is not None else 0)
    return record
