"""A label audit from a finished run to its folder of tables, page and exports."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebomlc_dist.audit.collect import Collector, epoch_means
from ebomlc_dist.audit.cross_fit import check_cross_fit, cross_fit
from ebomlc_dist.audit.export import EXPORTS, check_export
from ebomlc_dist.audit.files import write_corrected, write_labels, write_matrix, write_probabilities
from ebomlc_dist.audit.findings import Findings, Kind, Relabel, Subject
from ebomlc_dist.audit.html_report import write_page
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.audit.rank_labels import rank_labels
from ebomlc_dist.audit.summary import given_to_corrected, summarise
from ebomlc_dist.audit.table import ScoreTable, score_table
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.split import held_out
from ebomlc_dist.data.split_file import split_document
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.load_run import check_stored_data, finished, load_trained, stored_config
from ebomlc_dist.engine.preflight import load_everywhere, needs_clean
from ebomlc_dist.engine.rank_log import rank_log
from ebomlc_dist.engine.run_status import truth_in_status
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import write_json
from ebomlc_dist.files.inside import refuse_links
from ebomlc_dist.files.run_folder import Claim, RunFolder, claim, write_status
from ebomlc_dist.methods import method_class
from ebomlc_dist.methods.contract import Method
from ebomlc_dist.monitoring.purity import purity_figures
from ebomlc_dist.noise.matrices import realised_rate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What is asked of an audit.

    Attributes:
        scores: which suspicion, see `Findings.kind`; by default the one that does best on the trusted images.
        cross_fit: train so many models on parts of the data instead, so that none scores an image that it saw.
        relabel: whose labels are proposed: the ``corrector``'s, the main model's ``prediction``, or the
            ``posterior``'s; by default those that are right most often on the trusted images.
        confidence: probability from which on a proposed label replaces the given one, 0…1; by default the one that
            trusted images vouch for, and none where they vouch for none.
        gallery: so many of the most suspicious images are shown on the page.
        exports: files for other tools, names of `EXPORTS`.
    """

    scores: Kind | None = None
    cross_fit: int | None = None
    relabel: Relabel | None = None
    confidence: float | None = None
    gallery: int = 200
    exports: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise `InputError` for values that cannot be."""
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise InputError(f"--confidence {self.confidence:g} is outside 0…1; give a probability such as 0.8")
        if not 0 <= self.gallery <= 10_000:
            raise InputError(f"--gallery {self.gallery} is outside 0…10000; the other images are in labels.csv")
        if self.cross_fit is not None and self.scores == "epochs":
            raise InputError("--scores epochs and --cross-fit exclude each other: a fold's epochs are not kept")
        for name in self.exports:
            check_export(name)


def audit(
    folder: Path,
    options: Options,
    runtime: Runtime,
    *,
    quiet: bool = False,
    dataset: NoisyDataset | None = None,
) -> dict[str, Any]:
    """Audit the labels of a finished run into ``audit/`` in its folder. Collective; returns the summary on every rank.

    Args:
        folder: the run folder.
        options: what is asked.
        runtime: the processes.
        quiet: no progress.
        dataset: the run's data where they are in memory; needed for a run that was trained on arrays.

    Raises:
        InputError: no finished run, its data cannot be read again, or options that do not fit it.
        Stopped: asked to stop while a cross-fit trains; the same audit goes on.
    """
    options.check()
    paths = finished(folder)
    config = stored_config(paths)
    if dataset is None:
        check_stored_data(config, folder)
    place = RunFolder(paths.audit)
    runtime.on_first_rank(lambda: refuse_links([place.root]))
    claimed: list[Claim] = []
    runtime.on_first_rank(lambda: claimed.append(claim(place.root, f"audit of {paths.root.name}", resume=True)))
    try:
        with rank_log(place, runtime), truth_in_status(place, runtime):
            if dataset is None:
                dataset = load_everywhere(config, runtime)
            summary: dict[str, Any] = _audit(config, paths, dataset, options, runtime, quiet)
            if runtime.is_main:
                write_status(place.root, state="finished", code=0)
            return summary
    finally:
        for held in claimed:
            held.release()


def _audit(
    config: RunConfig, paths: RunFolder, dataset: NoisyDataset, options: Options, runtime: Runtime, quiet: bool
) -> dict[str, Any]:
    check_cross_fit(config, dataset, options.cross_fit)
    images = ImageFiles(config.data, dataset)
    for name in options.exports:
        check_export(name, dataset.class_names)
    with ExitStack() as stack:
        collector = Collector(dataset, _table(stack, dataset, paths.audit, runtime), quiet)
        in_sample, unseen = _collect(collector, config, paths, options, runtime)

        def write() -> dict[str, Any]:
            subject = _subject(config, dataset, images, in_sample, options)
            return _write(_judged(collector, subject, unseen, config, paths, options), dataset, images, paths, options)

        written: dict[str, Any] = runtime.on_first_rank(write)
        return written


@contextmanager
def examined(folder: Path, runtime: Runtime, dataset: NoisyDataset, scratch: Path) -> Iterator[Findings]:
    """What an audit with its default options finds, in one process. Nothing is written but into ``scratch``.

    Raises:
        InputError: no finished run, or data other than those it was trained on.
    """
    paths, options = finished(folder), Options()
    config = stored_config(paths)
    with ExitStack() as stack:
        collector = Collector(dataset, _table(stack, dataset, scratch, runtime), quiet=True)
        in_sample, unseen = _collect(collector, config, paths, options, runtime)
        subject = _subject(config, dataset, ImageFiles(config.data, dataset), in_sample, options)
        yield _judged(collector, subject, unseen, config, paths, options)


def _table(stack: ExitStack, dataset: NoisyDataset, scratch: Path, runtime: Runtime) -> ScoreTable | None:
    """The first rank's table, for as long as ``stack`` is open."""
    if not runtime.is_main:
        return None
    return stack.enter_context(score_table(dataset.noisy_labels.numpy(), dataset.num_classes, scratch))


def _judged(
    collector: Collector,
    subject: Subject,
    unseen: Tensor | None,
    config: RunConfig,
    paths: RunFolder,
    options: Options,
) -> Findings:
    epochs = None
    if options.cross_fit is None:
        last = method_class(config.method.name).stages * config.train.epochs
        stage = range(last - config.train.epochs + 1, last + 1)
        epochs = epoch_means(paths, stage, len(subject.ids), len(collector.trials.rows))
    learnt = options.cross_fit is None and needs_clean(config)
    return rank_labels(subject, collector.evidence(epochs, unseen, learnt=learnt), options.scores, options.relabel)


def _collect(
    collector: Collector, config: RunConfig, paths: RunFolder, options: Options, runtime: Runtime
) -> tuple[bool, Tensor | None]:
    """Fill the collector.

    Returns:
        Whether the models had been trained on the noisy images that they score, and (Nc,) which trusted ones had been
        held out while they were trained on the others, where some had.
    """
    dataset = collector.dataset
    if options.cross_fit is not None:
        place = paths.audit / f"cross-fit-{options.cross_fit}"
        for fold in cross_fit(config, dataset, options.cross_fit, place, runtime, quiet=collector.quiet):
            collector.noisy(fold.training, fold.noisy)
            collector.trusted(fold.training, fold.held_out[collector.trials.rows].nonzero().flatten())
        return False, None
    training = load_trained(config, paths, dataset, runtime)
    unseen = held_out(dataset.clean_labels, training.method.streams.held_out)
    collector.noisy(training, torch.arange(len(dataset.noisy_index)))
    collector.trusted(training, torch.arange(len(collector.trials.rows)))
    return _trained_on_noisy(training.method, config.train.epochs), unseen if unseen.any() else None


def _trained_on_noisy(method: Method, epochs: int) -> bool:
    """Whether noisy images were drawn in any epoch of a run. Leaves the method in its last epoch."""
    drawn = []
    for epoch in range(method.stages * epochs):
        method.enter_epoch(epoch, epochs)
        drawn.append(method.streams.noisy_images)
    return any(images != "clean" for images in drawn)


def _subject(
    config: RunConfig,
    dataset: NoisyDataset,
    images: ImageFiles,
    in_sample: bool,
    options: Options,
) -> Subject:
    return Subject(
        ids=[dataset.ids[row] for row in dataset.noisy_index.tolist()],
        key="path" if images.root is not None else "id",
        class_names=dataset.class_names,
        title=f"{config.data.dataset}, {config.method.name}, {config.model.name}, {config.train.epochs} epochs",
        folds=options.cross_fit,
        in_sample=in_sample,
        confidence=options.confidence,
        true=None if dataset.true_labels is None else dataset.true_labels.numpy(),
        purity=purity_figures(dataset.purity, dataset.true_purity) if dataset.from_noisy else None,
    )


def _write(
    findings: Findings, dataset: NoisyDataset, images: ImageFiles, paths: RunFolder, options: Options
) -> dict[str, Any]:
    folder, names = paths.audit, findings.subject.class_names
    write_labels(findings, folder)
    nameless = _nameless(findings, dataset, images)
    if nameless:
        log.warning("%d images are not in corrected.csv, because their names are not UTF-8", len(nameless))
    write_corrected(findings, folder / "corrected.csv", nameless)
    write_json(folder / "corrected_split.json", _corrected_split(findings, dataset))
    write_probabilities(findings.table, names, findings.subject.in_sample, folder / "pred_probs.npz")
    write_matrix(folder / "transition_matrix.csv", findings.noise.transition, names)
    write_matrix(folder / "given_to_corrected.csv", given_to_corrected(findings), names)
    summary = summarise(findings, paths.root)
    write_page(findings, summary, dataset, images, options.gallery, folder / "report.html")
    for name in options.exports:
        EXPORTS[name].write(findings, dataset, images, folder / name)
    write_json(folder / "summary.json", summary)
    return summary


def _nameless(findings: Findings, dataset: NoisyDataset, images: ImageFiles) -> set[int]:
    """Rows whose id stands for a file of another name: undecodable bytes are escapes in it."""
    if images.root is None:
        return set()
    rows = dataset.noisy_index.tolist()
    return {at for at, name in enumerate(findings.subject.ids) if "\\" in name and images.path(rows[at]) is None}


def _corrected_split(findings: Findings, dataset: NoisyDataset) -> dict[str, Any]:
    """The run's split with the labels for a next round, as ``--split FILE --noise none`` takes them.

    The trusted images' old labels are left out: they came with the noise that is now corrected.
    """
    labels = torch.from_numpy(findings.final_labels().astype("int64"))
    true = dataset.true_labels
    return split_document(
        replace(
            dataset,
            noisy_labels=labels,
            noise_rate_nominal=None,
            clean_old_labels=None,
            noise_rate_realised=None if true is None else realised_rate(true, labels),
        )
    )
