"""How noisy the given labels are: rates, transition matrix and joint distribution, from two tables of counts.

N[given, predicted] is counted over the noisy images, C[true, predicted] over the trusted ones, whose labels are right.
Where the prediction depends on the true label but not, beyond it, on the given one, the images given class k agree with
their label at the rate

    A_k = (1 − r_k)·c_k + r_k·e_k,   c_k = P(predicted k | true k),   e_k = Σ_{y≠k} share_y · P(predicted k | true y),

with r_k the share of wrong labels among them. c comes from the trusted images; the shares of the other classes come
from the joint distribution J[given, true] that explains N best, found by the EM steps of Richardson (1972) and Lucy
(1974) on E N = J·P(predicted | true). Solving for r_k alone leaves one unknown a class, which stays accurate where J as
a whole is not, and does not need an accurate model: a weak one gives a wide interval, not a wrong rate. What breaks the
assumption shows as too low a rate: a model that repeats the labels it was trained on (cross-fit against that), and
people's errors, which fall on the images that a model errs on too.

Where the trusted images do not even show that the model tells the classes apart, there is no estimate (NaN).

Without trusted images every disagreement counts as an error: an upper bound for a model that errs by itself.

Intervals: both tables are drawn again from their multinomials (a bootstrap of the counts, whatever the number of
images), each time with another start of the EM steps, so that what the tables leave open shows as width.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.noise.posterior import mean_confusion

Matrix = NDArray[np.float64]

_SEED = 11
_STEPS, _DRAWS = 100, 200
_MANY_CLASSES, _FEW_STEPS, _FEW_DRAWS = 100, 20, 30
_BOUNDS = (2.5, 97.5)
# A prediction that tells a class from the others by less than this says next to nothing of its labels.
_LEAST_CONTRAST = 0.05


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
    transition: Estimate
    uses_trusted: bool

    @property
    def num_errors(self) -> int:
        """The estimated number of wrong labels; 0 where it cannot be told."""
        return round(float(np.nan_to_num(self.rate.value)) * float(self.joint.sum()))


def estimate_noise(given_predicted: NDArray[np.int64], true_predicted: NDArray[np.int64]) -> NoiseEstimate:
    """Estimate from the two (K, K) tables of counts, [given, predicted] and [true, predicted]."""
    steps, num_draws = (_FEW_STEPS, _FEW_DRAWS) if len(given_predicted) > _MANY_CLASSES else (_STEPS, _DRAWS)
    joint, _, *figures = _solve(given_predicted, true_predicted, 0.5, steps)
    rng = np.random.Generator(np.random.PCG64(_SEED))
    draws = []
    for _ in range(num_draws):
        noisy = rng.multinomial(given_predicted.sum(), _shares(given_predicted)).reshape(joint.shape)
        trusted = np.stack([rng.multinomial(row.sum(), _shares(row)) for row in true_predicted])
        draws.append(_solve(noisy, trusted, rng.random(), steps)[1:])
    contrasts, *drawn_figures = zip(*draws, strict=True)
    rate, by_class, transition = (
        Estimate(*(np.clip(bound, 0.0, 1.0) for bound in (value, *np.percentile(np.stack(drawn), _BOUNDS, axis=0))))
        for value, drawn in zip(figures, drawn_figures, strict=True)
    )
    if np.percentile(np.stack(contrasts), _BOUNDS[0]) < _LEAST_CONTRAST:
        rate, by_class = (Estimate(*(np.full_like(e.value, np.nan) for _ in range(3))) for e in (rate, by_class))
    return NoiseEstimate(joint, rate, by_class, transition, bool(true_predicted.sum()))


def confusion(first: NDArray[Any], second: NDArray[Any], num_classes: int) -> NDArray[np.int64]:
    """(K, K) counts [first, second] of two label arrays (n,)."""
    flat = first.astype(np.int64) * num_classes + second
    return np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)


def _solve(noisy: NDArray, trusted: NDArray, trust: float, steps: int) -> tuple[Matrix, ...]:
    """Joint, mean contrast, rate, rates by class and transition; the rates as they come out, outside 0…1 too."""
    size = len(noisy)
    errors = _smoothed(trusted) if trusted.sum() else np.eye(size)
    given = noisy.sum(axis=1).astype(np.float64)
    wrong = _unfold(noisy, errors, trust, steps) * (1 - np.eye(size))
    # A trace of every class, for rows that hold no error at all.
    wrong += 1e-6 * (1 - np.eye(size))
    wrong /= wrong.sum(axis=1, keepdims=True)
    hit, missed = np.diag(errors), (wrong * errors.T).sum(axis=1)
    agreement = np.divide(np.diag(noisy), given, out=np.full(size, np.nan), where=given > 0)
    by_class = (hit - agreement) / np.maximum(hit - missed, _LEAST_CONTRAST)
    rate = np.asarray(np.nansum(by_class * given) / max(given.sum(), 1.0))
    share = np.clip(np.nan_to_num(by_class), 0.0, 1.0)
    joint = given[:, None] * (share[:, None] * wrong + np.diag(1 - share))
    true = joint.sum(axis=0)[:, None]
    transition = np.divide(joint.T, true, out=np.eye(size), where=true > 1e-9)
    contrast = np.asarray(((hit - missed) * given).sum() / max(given.sum(), 1.0))
    return joint, contrast, rate, by_class, transition


def _unfold(noisy: NDArray, errors: Matrix, trust: float, steps: int) -> Matrix:
    """The joint (K, K) [given, true] that explains ``noisy`` best, from a start that holds a share of labels right."""
    joint = (trust * np.eye(len(errors)) + (1 - trust) / len(errors)) * noisy.sum(axis=1, keepdims=True)
    for _ in range(steps):
        joint = joint * ((noisy / np.maximum(joint @ errors, 1e-300)) @ errors.T)
    return joint


def _smoothed(trusted: NDArray) -> Matrix:
    """P(predicted | true) from counts, one pseudo-image a class: that of the mean accuracy, errors spread evenly."""
    counts = trusted.astype(np.float64)
    return (counts + mean_confusion(counts)) / (counts.sum(axis=1, keepdims=True) + 1)


def _shares(counts: NDArray) -> Matrix:
    total = counts.sum()
    return counts.ravel() / total if total else np.full(counts.size, 1 / counts.size)
