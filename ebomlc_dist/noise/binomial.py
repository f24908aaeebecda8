"""Exact statements on a share from counts: the interval of Clopper and Pearson (1934), and a test against a share.

By `scipy.special` alone: `scipy.stats` has both, and takes half a second to import in every process.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv


def exact_interval(count: float, total: float, coverage: float) -> tuple[float, float]:
    """The Clopper–Pearson interval, 0…1, of the share of which ``count`` in ``total`` were seen.

    Args:
        count: 0…``total``; no whole number where cases have weights.
        total: above 0; of weighted cases their effective number, see `effective`.
        coverage: the least probability, 0…1, with which such an interval holds the share.
    """
    outside = (1 - coverage) / 2
    low = float(betaincinv(count, total - count + 1, outside)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - outside)) if count < total else 1.0
    return low, high


def at_least(count: int, total: int, share: float) -> float:
    """The probability of ``count`` or more in ``total`` draws of a share in 0…1."""
    return float(betainc(count, total - count + 1, share)) if count else 1.0


def effective(weights: NDArray[np.float64]) -> float:
    """How many cases of equal weight tell as much as those of ``weights`` (n,) (Kish 1965); 0 without any."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0
