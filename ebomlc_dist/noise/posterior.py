"""The noise process T and the rate of wrong labels, as the mean over draws from its posterior (`gibbs`).

The draws hold what is assumed of where errors go, and the sampler may not reach all that explains the counts. The
interval that is stated therefore also spans the rates that agree with the accuracy on held-out images (`agreement`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ebomlc_dist.noise.agreement import rate_bounds
from ebomlc_dist.noise.alike_rows import Counts, Matrix
from ebomlc_dist.noise.binomial import at_least
from ebomlc_dist.noise.gibbs import drawn

COVERAGE = 0.95
_DOUBT = 1e-3


@dataclass(frozen=True)
class NoisePosterior:
    """What the two tables say of the noise.

    Attributes:
        transition: the mean of T, (K, K) float64 on the CPU, ``T[true, given]``, rows on the simplex.
        rate: mean share of wrong labels among the noisy images, 0…1.
        interval: of the rate, for a probability of `COVERAGE`: the shortest one of the draws, and what `agreement`
            bounds, together.
        least_drawn: the lower end of the draws' interval alone. Two estimates from the same held-out images share
            what these leave open, and are compared by it.
    """

    transition: Tensor
    rate: float
    interval: tuple[float, float]
    least_drawn: float

    def flat(self) -> Tensor:
        """(K² + 4,) float64, all of it, to be sent."""
        figures = torch.tensor([self.rate, *self.interval, self.least_drawn], dtype=torch.float64)
        return torch.cat([self.transition.flatten(), figures])

    @staticmethod
    def of(flat: Tensor) -> "NoisePosterior":
        """What `flat` was made of."""
        rate, low, high, least = flat[-4:].tolist()
        size = math.isqrt(len(flat) - 4)
        return NoisePosterior(flat[:-4].view(size, size), rate, (low, high), least)


def noise_posterior(joint_counts: Tensor, confusion_counts: Tensor) -> NoisePosterior:
    """The posterior mean of T and the rate of wrong labels; K ≤ `gibbs.MOST_CLASSES`.

    Args:
        joint_counts: (K, K), noisy images with prediction p (row) and given label g (column).
        confusion_counts: (K, K), held-out trusted images of class t (row) with prediction p (column).
    """
    joint, held_out = (np.rint(counts.cpu().numpy()).astype(np.int64) for counts in (joint_counts, confusion_counts))
    total: Matrix = np.zeros(joint.shape)
    rates, overlaps = [], []
    for draw in drawn(joint, held_out):
        if draw.settled:
            rates.append(1 - np.trace(draw.mass))
            overlaps.append(draw.overlap)
            total += draw.mass / draw.mass.sum(axis=1, keepdims=True)
    low, high = shortest_interval(np.array(rates))
    interval = with_agreement((low, high), joint, held_out, overlaps)
    return NoisePosterior(torch.from_numpy(total / len(rates)), float(np.mean(rates)), interval, low)


def with_agreement(
    interval: tuple[float, float], joint: Counts, held_out: Counts, overlaps: Sequence[float]
) -> tuple[float, float]:
    """``interval`` of the rate, widened to what the accuracy on held-out images leaves open.

    Args:
        interval: of the draws.
        joint, held_out: (K, K) counts, see `gibbs.drawn`.
        overlaps: of the draws, see `gibbs.Draw`.
    """
    counts = (int(np.trace(joint)), int(joint.sum()), int(np.trace(held_out)), int(held_out.sum()))
    least, largest = rate_bounds(*counts, (float(min(overlaps)), float(max(overlaps))), COVERAGE)
    return min(interval[0], least), max(interval[1], largest)


def transition_by_posterior(joint_counts: Tensor, confusion_counts: Tensor) -> Tensor:
    """`NoisePosterior.transition` alone."""
    return noise_posterior(joint_counts, confusion_counts).transition


def above_chance(confusion_counts: Tensor | Counts) -> bool:
    """Whether (K, K) counts of classes (rows) by prediction leave no doubt that the classifier knows something."""
    total, right = int(confusion_counts.sum()), int(confusion_counts.trace())
    return total > 0 and at_least(right, total, 1 / len(confusion_counts)) < _DOUBT


def shortest_interval(draws: Matrix) -> tuple[float, float]:
    """The shortest interval that holds `COVERAGE` of ``draws`` (n,) in 0…1; from 0 on where it begins at the least."""
    ordered = np.sort(draws)
    count = min(int(np.ceil(COVERAGE * len(ordered))), len(ordered) - 1)
    begin = int(np.argmin(ordered[count:] - ordered[: len(ordered) - count]))
    return (0.0 if begin == 0 else float(ordered[begin])), float(ordered[begin + count])
