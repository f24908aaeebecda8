"""Whether proposed labels may take the place of given ones, by what they do to trusted images.

At a probability of c or more, a share F of the noisy images would be given another label. A trusted image under its own
label stands for a right one: a share h of them would be changed, and so spoilt. Under another label it stands for a
wrong one: of those that would be changed, a share q would be given another wrong label. With r the share of wrong
labels, of all changed labels

    a = (1 − r) h / F  were right, and   p = (1 − a)(1 − q)  are right afterwards.

F is counted, h and q have exact intervals. Labels get no worse where p ≥ a, and p ≥ 1/2 is enough for that. So c is
vouched for where p is at least `WANTED`, and at least 1/2 at the worst ends of r, h and q. Of several such c the one is
taken with which most labels are mended, spoilt ones taken off: F (p − a) of all.

A trusted image must not have been trained on: a model that knows it by heart spoils none.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ebomlc_dist.noise.precision import Cases, case_weights, weighted_share
from ebomlc_dist.noise.rates import Estimate, NoiseEstimate

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Probabilities that are tried."""
WANTED = 0.8


@dataclass(frozen=True)
class Proposals:
    """Labels that would take the place of given ones, with their probabilities.

    Attributes:
        labels, probability: (n,) of the noisy images.
        case_labels, case_probability: (m,) of the cases, see `Cases`.
    """

    labels: NDArray
    probability: NDArray
    case_labels: NDArray
    case_probability: NDArray

    def of_cases(self, chosen: NDArray[np.bool_]) -> "Proposals":
        """Return these with the ``chosen`` (m,) cases alone."""
        return replace(self, case_labels=self.case_labels[chosen], case_probability=self.case_probability[chosen])


@dataclass(frozen=True)
class Vouched:
    """A probability from which on proposals are taken.

    Attributes:
        confidence: c.
        precision: p with its worst and best ends, 0-dim.
        gain: F (p − a).
    """

    confidence: float
    precision: Estimate
    gain: float


def vouched(proposals: Proposals, given: NDArray, cases: Cases, noise: NoiseEstimate) -> Vouched | None:
    """Return the best c that trusted images vouch for; None where they vouch for none.

    Args:
        proposals: what would be put in the place of ``given`` (n,).
        cases: trusted images that were not trained on.
        noise: of the given labels.
    """
    if not len(cases) or not np.isfinite(noise.rate.value):
        return None
    weights = case_weights(cases, noise)
    found = [_at(confidence, proposals, given, cases, weights, noise.rate) for confidence in CONFIDENCES]
    known = [one for one in found if one is not None]
    good = [one for one in known if one.precision.value >= WANTED and one.precision.low >= 0.5]
    return max(good, key=lambda one: one.gain, default=None)


def _at(
    confidence: float, proposals: Proposals, given: NDArray, cases: Cases, weights: NDArray, rate: Estimate
) -> Vouched | None:
    changed = float(((proposals.labels != given) & (proposals.probability >= confidence)).mean())
    hit = (proposals.case_labels != cases.label) & (proposals.case_probability >= confidence)
    own, wrong = cases.own, ~cases.own
    if not changed or not (wrong & hit).any():
        return None
    spoilt = weighted_share(weights * own, hit, cases)
    missed = weighted_share(weights * (wrong & hit), proposals.case_labels != cases.truth, cases)
    were_right = Estimate(
        *(np.asarray((1 - r) * h / changed).clip(0, 1) for r, h in zip(_backwards(rate), _ends(spoilt), strict=True))
    )
    right = [(1 - a) * (1 - q) for a, q in zip(_backwards(were_right), _backwards(missed), strict=True)]
    return Vouched(confidence, Estimate(*map(np.asarray, right)), changed * float(right[0] - were_right.value))


def _ends(estimate: Estimate) -> tuple[NDArray, NDArray, NDArray]:
    return estimate.value, estimate.low, estimate.high


def _backwards(estimate: Estimate) -> tuple[NDArray, NDArray, NDArray]:
    """The value, and the ends the other way round: of what falls as the figure rises."""
    return estimate.value, estimate.high, estimate.low
