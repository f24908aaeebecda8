"""A label audit of probabilities that somebody has already. Nothing is trained.

p(k|x) comes from the person, best out of a cross-fit. Where there are features too, the label that the nearest
neighbours agree on stands where a run has its label corrector (`ebomlc_dist.audit.neighbours`); else p stands there.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebomlc_dist.audit.collect import Collector
from ebomlc_dist.audit.export import check_export
from ebomlc_dist.audit.findings import Subject
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.audit.neighbours import Neighbours
from ebomlc_dist.audit.rank_labels import rank_labels
from ebomlc_dist.audit.run_audit import Options, write_audit
from ebomlc_dist.audit.table import score_table
from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig
from ebomlc_dist.data.dataset import InputSet, NoisyDataset
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.inputs.csv_table import stop_on
from ebomlc_dist.data.inputs.feature_files import read_features
from ebomlc_dist.data.inputs.feature_rows import FeatureRows, checked_digest
from ebomlc_dist.data.run_data import from_source
from ebomlc_dist.engine.scores import ScoredBlock
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import make_folder
from ebomlc_dist.files.inside import refuse_links
from ebomlc_dist.files.run_folder import claim, write_status

_BLOCK = 1024
_NEARLY_ONE = 0.01
"""A row of half-precision probabilities misses the sum 1 by less."""


@dataclass(frozen=True)
class Given:
    """The files of an audit without a run.

    Attributes:
        probabilities: (N, K), one row an item, columns in label order.
        labels: N of them; None where the file of the probabilities holds them.
        trusted: rows whose label is right, as ``--trusted`` of `ebomlc_dist.data.datasets.features` takes them.
        features: (N, D); None for none.
        inputs_csv: what the page shows; see `Previews`.
        in_sample: whether the probabilities come from a model that was trained on the very items.
    """

    probabilities: Path
    labels: Path | None = None
    trusted: Path | None = None
    features: Path | None = None
    inputs_csv: Path | None = None
    in_sample: bool = False


@dataclass(frozen=True)
class _GivenScorer:
    """Probabilities, and what the neighbours say (a `Scorer`)."""

    probabilities: FeatureRows
    features: InputSet | None
    neighbours: Neighbours | None
    size: int = _BLOCK

    def score(self, rows: Tensor, given: Tensor) -> Iterator[ScoredBlock]:
        """See `Scorer`."""
        for begin in range(0, len(rows), self.size):
            block = rows[begin : begin + self.size]
            main = self.probabilities[block].float()
            main = main / main.sum(dim=1, keepdim=True)
            other = main
            if self.neighbours is not None and self.features is not None:
                other = self.neighbours.share(self.features, block)
            yield ScoredBlock(begin, main, other)


def audit_probabilities(given: Given, options: Options, folder: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Audit labels by given probabilities into ``folder``. Returns the summary.

    Raises:
        InputError: files that are missing or do not fit, by row, or options that need a run.
    """
    options.check()
    if options.cross_fit is not None or options.scores == "epochs":
        asked = "--cross-fit" if options.cross_fit is not None else "--scores epochs"
        raise InputError(f"{asked} needs a run, and --pred-probs has none; leave it out")
    data, dataset, features = _read(given)
    probabilities = dataset.images
    assert isinstance(probabilities, FeatureRows)
    for name in options.exports:
        check_export(name, dataset.class_names, features=True)
    refuse_links([folder])
    make_folder(folder)
    held = claim(folder, f"audit of {given.probabilities.name}", resume=True)
    try:
        with ExitStack() as stack:
            table = stack.enter_context(score_table(dataset.noisy_labels.numpy(), dataset.num_classes, folder))
            collector = Collector(dataset, table, quiet)
            voters = None
            if features is not None:
                labelled = dataset.noisy_index, dataset.noisy_labels
                voters = Neighbours.of(features, *labelled, dataset.num_classes)
            scorer = _GivenScorer(probabilities, features, voters)
            collector.noisy(scorer, torch.arange(len(dataset.noisy_index)))
            collector.trusted(scorer, torch.arange(len(collector.trials.rows)))
            subject = Subject(
                ids=[dataset.ids[row] for row in dataset.noisy_index.tolist()],
                key="id",
                class_names=dataset.class_names,
                title=given.probabilities.name + (f" and {given.features.name}" if given.features else ""),
                folds=None,
                in_sample=given.in_sample,
                confidence=options.confidence,
                corrector="given probabilities" if voters is None else "nearest neighbours",
            )
            evidence = collector.evidence(None, None, learnt=False)
            found = rank_labels(subject, evidence, options.scores, options.relabel)
            summary = write_audit(found, dataset, ImageFiles(data, dataset), folder, folder, options)
        write_status(folder, state="finished", code=0)
        return summary
    finally:
        held.release()


def _read(given: Given) -> tuple[DataConfig, NoisyDataset, FeatureRows | None]:
    """The probabilities as the inputs of a data set, with its labels and trusted rows; and the features."""
    data = DataConfig(
        dataset="features",
        features=given.probabilities,
        labels=given.labels,
        clean_csv=given.trusted,
        inputs_csv=given.inputs_csv,
        augment="none",
        standardise=False,
    )
    source = load_source(data)
    assert isinstance(source.images, FeatureRows)
    size, names = source.images.shape[1], source.class_names
    if size != len(names):
        raise InputError(
            f"{given.probabilities} has {size} columns and the labels have {len(names)} classes; give a column for "
            f"each class, in this order: {', '.join(names[:20])}{' …' if len(names) > 20 else ''}"
        )
    _check_probabilities(source.images, given.probabilities, source.ids)
    dataset = from_source(source, data, NoiseConfig(), SeedConfig(), needs_clean=False)
    if given.features is None:
        return data, dataset, None
    features = read_features(given.features)
    if len(features.rows) != len(source.images):
        raise InputError(
            f"{given.features} has {len(features.rows)} rows and {given.probabilities} has {len(source.images)}; give "
            "one row for each, in the same order"
        )
    checked_digest(features.rows, str(given.features), source.ids)
    return data, dataset, features.rows


def _check_probabilities(rows: FeatureRows, path: Path, ids: list[str]) -> None:
    bad: list[str] = []
    for first, block in rows.blocks():
        values = block.float()
        off = (values < 0).any(dim=1) | ((values.sum(dim=1) - 1).abs() > _NEARLY_ONE)
        for row in (first + off.nonzero().flatten()).tolist():
            bad.append(f"{path}, row {row} ({ids[row]}) has the sum {float(values[row - first].sum()):.4g}")
    stop_on(bad, "Probabilities are ≥ 0 and have the sum 1; take the softmax of logits")
