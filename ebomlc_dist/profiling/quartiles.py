"""Figures with their uncertainty: medians with quartiles, ratios with intervals, never a single number.

Measurements are paired by round: within a round the machine's other work weighs on all alike, so a ratio is formed
within each round first. Its interval is a percentile bootstrap over rounds (Efron & Tibshirani 1993, ch. 13), from a
fixed seed.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

RESAMPLES = 2000
CONFIDENCE = 0.95
SEED = 0


class Quartiles(BaseModel):
    """The middle of several measurements of one thing: median, first and third quartile."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quartiles":
        """The spread of one or more values."""
        low, median, high = np.percentile(np.asarray(values, dtype=np.float64), (25, 50, 75))
        return cls(median=float(median), low=float(low), high=float(high))


class Ratio(BaseModel):
    """The median over rounds of a ratio, and the interval that holds the true median with 95 % confidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    median: float
    low: float
    high: float

    @classmethod
    def of(cls, above: Sequence[float], below: Sequence[float]) -> "Ratio":
        """The ratio of two series measured in the same rounds. Fewer than 3 rounds give their whole range."""
        ratios = np.asarray(above, dtype=np.float64) / np.asarray(below, dtype=np.float64)
        if len(ratios) < 3 or np.ptp(ratios) == 0:
            return cls(median=float(np.median(ratios)), low=float(ratios.min()), high=float(ratios.max()))
        found = stats.bootstrap(
            (ratios,),
            np.median,
            confidence_level=CONFIDENCE,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
        return cls(median=float(np.median(ratios)), low=float(found.low), high=float(found.high))
