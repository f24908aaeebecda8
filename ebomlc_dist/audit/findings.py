"""What an audit found: every label's scores with rank and estimates, ready to be written in any form."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.audit.table import ScoreTable
from ebomlc_dist.monitoring.purity import Figures
from ebomlc_dist.noise.alike_rows import Matrix
from ebomlc_dist.noise.precision import Cases, precision_at
from ebomlc_dist.noise.rates import NoiseEstimate
from ebomlc_dist.noise.vouching import Vouched

Kind = Literal["confidence", "epochs", "posterior"]
Relabel = Literal["corrector", "prediction", "posterior"]
BLOCK = 50_000


@dataclass(frozen=True)
class Subject:
    """What was audited, and how.

    Attributes:
        ids: n texts beside the score table: the path of an image within its data folder, or ``train/<index>``.
        key: ``path`` or ``id``, the name of that column.
        class_names: K names.
        title: one line for people: data, method and model.
        folds: models of a cross-fit, or None.
        in_sample: whether the scores come from models that were trained on the very images.
        confidence: probability from which on a proposed label replaces the given one; None where the trusted images
            are to say it.
        true: (n,) true labels where they are known, for figures only.
        purity: of trusted images that were chosen from the noisy ones, see `purity_figures`; None for others.
    """

    ids: Sequence[str]
    key: Literal["path", "id"]
    class_names: list[str]
    title: str
    folds: int | None
    in_sample: bool
    confidence: float | None
    true: NDArray[np.int64] | None = None
    purity: Figures | None = None


@dataclass(frozen=True)
class Findings:
    """A filled score table with what follows from it.

    Attributes:
        subject: what was audited.
        table: the scores.
        noise: the estimated noise.
        kind: which suspicion was taken: 1 − probability of the given label by the ``confidence`` of the networks, by
            its mean over ``epochs``, or by the ``posterior``.
        suspicion: (n,) float32 in 0…1, high is bad.
        cases: trusted images under labels that they could have been given, with this suspicion; may be empty.
        order: (n,) rows of the table, the most suspicious first.
        relabel: whose labels are proposed in the place of the given ones.
        proposed: (n,) int32 proposed labels; ``proposed_probability`` (n,) float32 beside them.
        vouched: the probability from which on trusted images vouch for them; None where they do not.
        by_heart: whether that is because the model was trained on all of them.
    """

    subject: Subject
    table: ScoreTable
    noise: NoiseEstimate
    kind: Kind
    suspicion: NDArray[np.float32]
    cases: Cases
    order: NDArray[np.int64]
    relabel: Relabel
    proposed: NDArray[np.int32]
    proposed_probability: NDArray[np.float32]
    vouched: Vouched | None = None
    by_heart: bool = False

    @property
    def confidence(self) -> float | None:
        """Return the probability from which on proposed labels are taken: asked for or vouched for; None for never."""
        if self.subject.confidence is not None or self.vouched is None:
            return self.subject.confidence
        return self.vouched.confidence

    @property
    def num_flagged(self) -> int:
        """Return how many labels are flagged: as many as are estimated to be wrong."""
        return min(self.noise.num_errors, len(self.table))

    @cached_property
    def precision(self) -> Matrix:
        """Return by rank (n,) the estimated share of wrong labels down to that rank; NaN without trusted images."""
        return precision_at(self.suspicion[self.order], self.cases, self.noise)

    def final_labels(self) -> NDArray[np.int32]:
        """Return the labels (n,) for a next round: proposed ones where they are confident, else the given ones."""
        if self.confidence is None:
            return self.table.given
        return np.where(self.proposed_probability >= self.confidence, self.proposed, self.table.given)

    def blocks(self) -> Iterator[dict[str, list[Any]]]:
        """Yield the columns of ``labels.csv``, the most suspicious label first, some rows at a time."""
        for begin in range(0, len(self.order), BLOCK):
            yield self._columns(begin, self.order[begin : begin + BLOCK])

    def _columns(self, begin: int, rows: NDArray[np.int64]) -> dict[str, list[Any]]:
        subject, table = self.subject, self.table
        names = np.array(subject.class_names, dtype=object)
        ranks = np.arange(begin, begin + len(rows))
        suspicion = self.suspicion[rows]
        columns: dict[str, Any] = {
            subject.key: [subject.ids[row] for row in rows],
            "row": rows,
            "rank": ranks + 1,
            "suspicion": suspicion,
            "given_label": names[table.given[rows]],
            "proposed_label": names[self.proposed[rows]],
            "proposed_probability": self.proposed_probability[rows],
            "predicted_label": names[table.predicted[rows]],
            "predicted_probability": table.predicted_probability[rows],
            "corrected_label": names[table.corrected[rows]],
            "corrected_probability": table.corrected_probability[rows],
            "given_probability": table.given_probability[rows],
            "corrected_agrees_with_predicted": table.corrected[rows] == table.predicted[rows],
            "is_label_issue": ranks < self.num_flagged,
            "label_score": 1 - suspicion.astype(np.float64),
        }
        for place in range(table.top_labels.shape[1]):
            columns[f"top{place + 1}_label"] = names[table.top_labels[rows, place]]
            columns[f"top{place + 1}_probability"] = table.top_probabilities[rows, place]
        columns |= {
            "estimated_precision": self.precision[begin : begin + len(rows)],
            "in_sample": np.full(len(rows), subject.in_sample),
            "given_index": table.given[rows],
            "proposed_index": self.proposed[rows],
            "predicted_index": table.predicted[rows],
            "corrected_index": table.corrected[rows],
        }
        if subject.true is not None:
            columns["true_label"] = names[subject.true[rows]]
        return {name: _plain(values) for name, values in columns.items()}


def _plain(values: Any) -> list[Any]:
    """Python values; floats to six places, NaN as None."""
    if isinstance(values, list):
        return values
    if values.dtype.kind != "f":
        return values.tolist()
    rounded = np.round(values.astype(np.float64), 6)
    if not np.isnan(rounded).any():
        return rounded.tolist()
    return [None if value != value else value for value in rounded.tolist()]
