"""What the trusted images say of a score: how many of the most suspicious labels are wrong, and how well it ranks.

A trusted image's right label is known, so each label that it could have been given makes a case of known truth: the
right one, and wrong ones as often as the estimated transition matrix says. The same score is given to these cases and
to the noisy images; the precision at a rank is the share of wrong cases among those at least as suspicious.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.noise.alike_rows import Matrix
from ebomlc_dist.noise.binomial import effective, exact_interval
from ebomlc_dist.noise.posterior import COVERAGE
from ebomlc_dist.noise.rates import Estimate, NoiseEstimate

FEWEST = 20
"""Cases that a precision is taken from at least: above the most suspicious trusted cases it stays what it is there."""


@dataclass(frozen=True)
class Cases:
    """Trusted images under the labels that they could have been given.

    Attributes:
        image: (m,) which trusted image, any integers that tell them apart. Its cases stand together, the own one first.
        truth, label: (m,) the right label, and the one tried.
        weights: (m,) that sum to K over each image, see `ebomlc_dist.engine.scores.TrustedCases`.
        suspicion: (m,) of the label tried.
        corrected, predicted: (m,) the corrector's label for this case, and the main model's for its image.
        corrected_probability, predicted_probability: (m,) beside them.
    """

    image: NDArray[np.int64]
    truth: NDArray[np.int64]
    label: NDArray[np.int64]
    weights: Matrix
    suspicion: NDArray[np.float32]
    corrected: NDArray[np.int64]
    predicted: NDArray[np.int64]
    corrected_probability: NDArray[np.float32]
    predicted_probability: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.image)

    def only(self, chosen: NDArray[np.bool_]) -> "Cases":
        """Return the cases of ``chosen`` (m,), whole images."""
        return Cases(*(getattr(self, column.name)[chosen] for column in fields(self)))

    @property
    def number(self) -> NDArray[np.int64]:
        """(m,) which of the images, counted as they come: rows of what has one an image, beside `own`."""
        return np.cumsum(self.own) - 1

    @property
    def own(self) -> NDArray[np.bool_]:
        """(m,) whether the label tried is the image's own: one case an image."""
        return self.truth == self.label


def precision_at(scores: NDArray[np.float32], cases: Cases, noise: NoiseEstimate) -> Matrix:
    """Return the estimated share (r,) of wrong labels among those with at least these scores; NaN without cases."""
    if not len(cases):
        return np.full(len(scores), np.nan)
    return _curve(scores, cases, case_weights(cases, noise))


def precision_interval(score: float, flagged: float, cases: Cases, noise: NoiseEstimate) -> Estimate | None:
    """Return the precision at one score with its 95 % interval; None without cases.

    F is the share of the noisy images with at least this score, r that of wrong labels, h and d are the shares of right
    and of wrong labels with at least this score. The precision is 1 − (1 − r) h / F, and r d / F as well. h and d have
    exact intervals over trusted images. The low end is that of the first, the high one that of the second: a model that
    was trained on the noisy labels doubts them less than it doubts the cases, which leaves these two ends true.

    Args:
        score: least suspicion.
        flagged: F, above 0.
        cases, noise: what the trusted images say.
    """
    if not len(cases) or not np.isfinite(noise.rate.value):
        return None
    weights, above = case_weights(cases, noise), cases.suspicion >= score
    right = weighted_share(weights * cases.own, above, cases)
    wrong = weighted_share(weights * ~cases.own, above, cases)
    ends = 1 - (1 - noise.rate.low) * right.high / flagged, noise.rate.high * wrong.high / flagged
    low, high = sorted(float(np.clip(end, 0, 1)) for end in ends)
    value = _curve(np.array([score], dtype=np.float32), cases, weights)[0]
    return Estimate(np.asarray(value.clip(low, high)), np.asarray(low), np.asarray(high))


def weighted_share(weights: Matrix, hit: NDArray[np.bool_], cases: Cases) -> Estimate:
    """Return the share of cases (m,) that are ``hit``, by ``weights`` (m,), with an exact 95 % interval over images."""
    total = np.bincount(cases.number, weights=weights).astype(np.float64)
    among = np.bincount(cases.number, weights=weights * hit)
    number = effective(total)
    if not number:
        return Estimate(*map(np.asarray, (np.nan, 0.0, 1.0)))
    share = min(float(among.sum() / total.sum()), 1.0)
    return Estimate(*map(np.asarray, (share, *exact_interval(min(share * number, number), number, COVERAGE))))


def accuracy(cases: Cases, labels: NDArray, noise: NoiseEstimate) -> float:
    """Return the estimated share of noisy images whose ``labels`` (m,) are right; NaN without cases."""
    if not len(cases):
        return float("nan")
    weights = case_weights(cases, noise)
    return float(weights[labels == cases.truth].sum() / weights.sum())


def auroc(cases: Cases, noise: NoiseEstimate) -> float:
    """Return how well the cases' suspicion separates wrong from right labels (AUROC); NaN where one kind is missing."""
    from sklearn.metrics import roc_auc_score

    weights, wrong = case_weights(cases, noise), ~cases.own
    if not (weights[wrong].sum() > 0 and weights[~wrong].sum() > 0):
        return float("nan")
    return float(roc_auc_score(wrong, cases.suspicion, sample_weight=weights))


def case_weights(cases: Cases, noise: NoiseEstimate) -> Matrix:
    """Return how many noisy images each case (m,) stands for, as a share."""
    true = noise.joint.sum(axis=0) / noise.joint.sum()
    images_of = np.bincount(cases.truth[cases.own], minlength=len(true))
    share = true / np.maximum(images_of, 1)
    return cases.weights * share[cases.truth] * noise.transition[cases.truth, cases.label]


def _curve(scores: NDArray[np.float32], cases: Cases, weights: Matrix) -> Matrix:
    order = np.argsort(-cases.suspicion, kind="stable")
    counted = weights[order]
    wrong = np.where(cases.own[order], 0.0, counted)
    above = np.searchsorted(-cases.suspicion[order], -scores, side="right")
    last = np.clip(above, min(FEWEST, len(order)), None) - 1
    total = np.cumsum(counted)[last]
    return np.divide(np.cumsum(wrong)[last], total, out=np.full(len(scores), np.nan), where=total > 0)
