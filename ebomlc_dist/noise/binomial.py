"""Exact statements on a share from counts: the interval of Clopper and Pearson (1934), and a test against a share.

By `scipy.special` alone: `scipy.stats` has both, and takes half a second to import in every process.
"""

from scipy.special import betainc, betaincinv


def exact_interval(count: int, total: int, coverage: float) -> tuple[float, float]:
    """The Clopper–Pearson interval, 0…1, of the share of which ``count`` in ``total`` were seen.

    Args:
        count: 0…``total``.
        total: at least 1.
        coverage: the least probability, 0…1, with which such an interval holds the share.
    """
    outside = (1 - coverage) / 2
    low = float(betaincinv(count, total - count + 1, outside)) if count else 0.0
    high = float(betaincinv(count + 1, total - count, 1 - outside)) if count < total else 1.0
    return low, high


def at_least(count: int, total: int, share: float) -> float:
    """The probability of ``count`` or more in ``total`` draws of a share in 0…1."""
    return float(betainc(count, total - count + 1, share)) if count else 1.0
