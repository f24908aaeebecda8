"""How noisy the given labels are: rates, transition matrix and joint distribution, from two tables of counts.

N[given, predicted] is counted over the noisy images, C[true, predicted] over trusted ones, whose labels are right. All
figures come from the same draws of the noise process (`gibbs`): each draw has a P(true | given) for every class, and so
the wrong ones among the images given that class. The rate is their mean over the images, so that it agrees with the
rates by class and with the matrix. Its interval is that of the draws, widened to what the accuracy on the trusted
images leaves open (`posterior.with_agreement`).

The model of the draws is that prediction and given label depend on each other through the true class alone. What breaks
it shows as too low a rate: a model that repeats the labels it was trained on (cross-fit against that), and people's
errors, which fall on the images that a model errs on too.

Above `gibbs.MOST_CLASSES` classes the rate comes from accuracy and agreement alone, and there are none by class.

Where the trusted images do not even show that the model beats chance, there is no rate (NaN).

Without trusted images every disagreement counts as an error: at most so many are wrong, if the model errs by itself.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.noise.agreement import rate_bounds
from ebomlc_dist.noise.alike_rows import Matrix
from ebomlc_dist.noise.binomial import exact_interval
from ebomlc_dist.noise.gibbs import MOST_CLASSES, drawn
from ebomlc_dist.noise.posterior import COVERAGE, above_chance, shortest_interval, with_agreement

TOLD = 0.5
"""An interval of a rate that is wider than this tells next to nothing."""
_ALIKE = (0.0, 0.2)
"""How often a wrong prediction and a wrong label are the same class, where that is not drawn (`agreement`)."""
_BOUNDS = (50 * (1 - COVERAGE), 50 * (1 + COVERAGE))


@dataclass(frozen=True)
class Estimate:
    """A figure, or an array of them, with its 95 % interval."""

    value: Matrix
    low: Matrix
    high: Matrix


@dataclass(frozen=True)
class NoiseEstimate:
    """What is wrong with n given labels.

    Attributes:
        joint: (K, K) expected images [given, true], summing to n.
        rate: share of wrong labels, 0-dim; NaN where it cannot be told.
        by_class: (K,) share of wrong labels among the images given class k; NaN for a class that no image is given, and
            where it cannot be told.
        transition: (K, K) P(given | true) [true, given]; a class without any image keeps its labels.
        uses_trusted: whether trusted images said how the model errs; else every disagreement counts as an error.
    """

    joint: Matrix
    rate: Estimate
    by_class: Estimate
    transition: Matrix
    uses_trusted: bool

    @property
    def num_errors(self) -> int:
        """Return the estimated number of wrong labels: the least one where no more is told, 0 where it is unknown."""
        share = self.rate.value if self.is_told else self.rate.low
        return round(float(np.nan_to_num(share)) * float(self.joint.sum()))

    @property
    def is_told(self) -> bool:
        """Return whether the evidence tells the rate, and not only a bound of it."""
        return bool(self.rate.high - self.rate.low <= TOLD)


def estimate_noise(given_predicted: NDArray[np.int64], true_predicted: NDArray[np.int64]) -> NoiseEstimate:
    """Return the estimate from two (K, K) tables of counts, [given, predicted] and [true, predicted]."""
    if not true_predicted.sum():
        return _at_most(given_predicted)
    find = _from_draws if len(given_predicted) <= MOST_CLASSES else _from_agreement
    rate, by_class, shares = find(given_predicted, true_predicted)
    if not above_chance(true_predicted):
        rate, by_class = (Estimate(*(np.full_like(e.value, np.nan) for _ in range(3))) for e in (rate, by_class))
    return _assembled(given_predicted, rate, by_class, shares, uses_trusted=True)


def confusion(first: NDArray[Any], second: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    """Return the counts (K, K) [first, second] of two label arrays (n,)."""
    flat = first.astype(np.int64) * num_classes + second
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


Found = tuple[Estimate, Estimate, Matrix]
"""The rate, the rates by class, and P(true | given), (K, K) [given, true]."""


def _from_draws(given_predicted: NDArray, true_predicted: NDArray) -> Found:
    size, given = len(given_predicted), given_predicted.sum(axis=1)
    total = np.zeros((size, size))
    by_class, overlaps = [], []
    for draw in drawn(given_predicted.T, true_predicted):
        if draw.settled:
            shares = (draw.mass / draw.mass.sum(axis=0)).T
            total += shares
            by_class.append(1 - shares.diagonal())
            overlaps.append(draw.overlap)
    classes = np.stack(by_class)
    rates = classes @ given / max(given.sum(), 1)
    low, high = with_agreement(shortest_interval(rates), given_predicted.T, true_predicted, overlaps)
    found = Estimate(classes.mean(axis=0), *np.percentile(classes, _BOUNDS, axis=0))
    return _figure(float(rates.mean()), low, high), _where_given(found, given), total / len(classes)


def _from_agreement(given_predicted: NDArray, true_predicted: NDArray) -> Found:
    """The rate from accuracy and agreement; wrong labels go where predictions differ from them."""
    size, given = len(given_predicted), given_predicted.sum(axis=1)
    agreeing, noisy = int(np.trace(given_predicted)), int(given.sum())
    right, held_out = int(np.trace(true_predicted)), int(true_predicted.sum())
    accuracy = (right + 1) / (held_out + 2)
    met_by_chance = (1 - accuracy) / (size - 1)
    value = (accuracy - agreeing / max(noisy, 1)) / max(accuracy - met_by_chance, met_by_chance)
    low, high = rate_bounds(agreeing, noisy, right, held_out, _ALIKE, COVERAGE)
    rate = _figure(float(np.clip(value, low, high)), low, high)
    unknown = np.full(size, np.nan)
    return rate, Estimate(unknown, unknown, unknown), _disagreeing(given_predicted, np.full(size, float(rate.value)))


def _at_most(given_predicted: NDArray) -> NoiseEstimate:
    """Every disagreement as an error."""
    given, agreeing = given_predicted.sum(axis=1), given_predicted.diagonal()
    wrong = np.divide(given - agreeing, given, out=np.zeros(len(given)), where=given > 0)
    most = [exact_interval(int(m - a), int(m), COVERAGE)[1] if m else 1.0 for m, a in zip(given, agreeing, strict=True)]
    missed, total = int((given - agreeing).sum()), max(int(given.sum()), 1)
    rate = _figure(missed / total, 0.0, exact_interval(missed, total, COVERAGE)[1])
    by_class = _where_given(Estimate(wrong, np.zeros(len(given)), np.array(most)), given)
    return _assembled(given_predicted, rate, by_class, _disagreeing(given_predicted, wrong), uses_trusted=False)


def _disagreeing(given_predicted: NDArray, wrong: Matrix) -> Matrix:
    """P(true | given), (K, K), for shares ``wrong`` (K,) of wrong labels that lie where predictions differ."""
    others = given_predicted.astype(np.float64)
    np.fill_diagonal(others, 0.0)
    # A trace of every class, for rows without any difference.
    others += 1e-6
    np.fill_diagonal(others, 0.0)
    others *= (wrong / others.sum(axis=1))[:, None]
    others[np.diag_indices(len(others))] = 1 - wrong
    return others


def _assembled(
    given_predicted: NDArray, rate: Estimate, by_class: Estimate, shares: Matrix, *, uses_trusted: bool
) -> NoiseEstimate:
    joint = given_predicted.sum(axis=1)[:, None] * shares
    true = joint.sum(axis=0)[:, None]
    transition = np.divide(joint.T, true, out=np.eye(len(joint)), where=true > 1e-9)
    return NoiseEstimate(joint, rate, by_class, transition, uses_trusted)


def _where_given(estimate: Estimate, given: NDArray) -> Estimate:
    """NaN for classes that no image is given."""
    return Estimate(*(np.where(given > 0, end, np.nan) for end in (estimate.value, estimate.low, estimate.high)))


def _figure(value: float, low: float, high: float) -> Estimate:
    return Estimate(*(np.asarray(end) for end in (min(max(value, low), high), low, high)))
