"""Filling a score table from trained models, one after another, or from probabilities as they are, and from the scores
that were kept at each epoch.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import safetensors.torch
import torch
from rich.console import Console
from rich.progress import track
from safetensors import SafetensorError
from torch import Tensor

from ebomlc_dist.audit.rank_labels import Evidence
from ebomlc_dist.audit.table import ScoreTable
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.evaluate import BATCH
from ebomlc_dist.engine.scores import ScoredBlock, score, suspicion, trusted_cases
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.reading import read_bytes
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.noise.precision import Cases

_HEADER_BYTES = 64 * 1024


class Scorer(Protocol):
    """What scores labels: the networks of a run, or probabilities that somebody has already.

    Attributes:
        size: samples of a block.
    """

    @property
    def size(self) -> int: ...

    def score(self, rows: Tensor, given: Tensor) -> Iterator[ScoredBlock]:
        """Yield scores of the labels ``given`` (n,) of the images ``rows`` (n,), block by block in order."""
        ...


@dataclass(frozen=True)
class TrainingScorer:
    """The networks of a run (a `Scorer`)."""

    training: Training

    @property
    def size(self) -> int:
        return BATCH * self.training.runtime.world_size

    def score(self, rows: Tensor, given: Tensor) -> Iterator[ScoredBlock]:
        """See `ebomlc_dist.engine.scores.score`. Collective."""
        return score(self.training, rows, given)


@dataclass
class Collector:
    """Takes the scores of noisy images and of trusted cases. Every rank calls it, the first one keeps the table.

    Attributes:
        dataset: the audited data.
        table: filled row by row; None on the other ranks.
        quiet: no progress.
    """

    dataset: NoisyDataset
    table: ScoreTable | None
    quiet: bool = False
    _suspicion: Tensor = field(init=False)
    _corrected: Tensor = field(init=False)
    _predicted: Tensor = field(init=False)
    _corrected_probability: Tensor = field(init=False)
    _predicted_probability: Tensor = field(init=False)
    _probabilities: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.trials = trusted_cases(self.dataset)
        size = len(self.trials.rows)
        self._suspicion, self._corrected_probability, self._predicted_probability = torch.zeros(3, size)
        self._corrected, self._predicted = (torch.zeros(size, dtype=torch.int64) for _ in range(2))
        self._own = self.trials.labels == self.trials.truth
        self._image = self._own.cumsum(0) - 1
        self._probabilities = torch.zeros(int(self._own.sum()), self.dataset.num_classes)

    def noisy(self, scorer: "Scorer", positions: Tensor) -> None:
        """Score the noisy images at ``positions`` (n,) of the noisy set. Collective."""
        rows, given = self.dataset.noisy_index[positions], self.dataset.noisy_labels[positions]
        for own, block in self._scored(scorer, rows, given):
            if self.table is not None:
                doubt = suspicion(block, given[own])
                arrays = (values.numpy() for values in (positions[own], block.main, block.corrected, doubt))
                self.table.put(*arrays)

    def trusted(self, scorer: "Scorer", positions: Tensor) -> None:
        """Score the trusted cases at ``positions`` (m,) of `trusted_cases`. Collective."""
        rows, labels = self.trials.rows[positions], self.trials.labels[positions]
        for own, block in self._scored(scorer, rows, labels):
            places = positions[own]
            self._suspicion[places] = suspicion(block, labels[own])
            self._corrected_probability[places], self._corrected[places] = block.corrected.max(dim=1)
            self._predicted_probability[places], self._predicted[places] = block.main.max(dim=1)
            self._probabilities[self._image[places]] = block.main

    def evidence(self, epochs: tuple[Tensor, Tensor] | None, unseen: Tensor | None, *, learnt: bool) -> Evidence:
        """Return what was collected, on the first rank.

        Args:
            epochs: from `epoch_means`, where there is any.
            unseen, learnt: see `Evidence`.
        """
        assert self.table is not None
        trials = self.trials
        outcome = (self._suspicion, self._corrected, self._predicted)
        sure = (self._corrected_probability, self._predicted_probability)
        columns = (trials.rows, trials.truth, trials.labels, trials.weights, *outcome, *sure)
        cases = Cases(*(column.numpy() for column in columns))
        means = None if epochs is None else (epochs[0].numpy(), epochs[1].numpy())
        hidden = None if unseen is None else unseen.numpy()
        return Evidence(self.table, cases, self._probabilities.numpy(), hidden, means, learnt)

    def _scored(self, scorer: "Scorer", rows: Tensor, given: Tensor) -> Iterator[tuple[slice, ScoredBlock]]:
        blocks = -(-len(rows) // scorer.size)
        hidden = self.quiet or self.table is None or not sys.stderr.isatty()
        shown = track(scorer.score(rows, given), "scores", total=blocks, console=Console(stderr=True), disable=hidden)
        for block in shown:
            yield slice(block.begin, block.begin + len(block.main)), block


def epoch_means(paths: RunFolder, epochs: range, num_noisy: int, num_trials: int) -> tuple[Tensor, Tensor] | None:
    """Return the mean suspicion over the kept ``epochs``, of the noisy set and of the cases; None without any.

    Raises:
        InputError: a file is damaged or belongs to other data.
    """
    noisy, trials = torch.zeros(num_noisy, dtype=torch.float64), torch.zeros(num_trials, dtype=torch.float64)
    kept = [epoch for epoch in epochs if paths.epoch_score_file(epoch).exists()]
    if not kept:
        return None
    for epoch in kept:
        path = paths.epoch_score_file(epoch)
        try:
            found = safetensors.torch.load(read_bytes(path, 4 * (num_noisy + num_trials) + _HEADER_BYTES))
            noisy += found["noisy"]
            trials += found["trials"]
        except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(f"{path} is damaged or belongs to another run: {error}; remove it") from None
    return (noisy / len(kept)).float(), (trials / len(kept)).float()
