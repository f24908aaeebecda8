"""Medians, quartiles and the intervals of ratios."""

import numpy as np
import pytest

from ebomlc_dist.profiling.quartiles import Quartiles, Ratio


def test_a_spread_is_median_and_quartiles() -> None:
    assert Quartiles.of([5, 1, 2, 3, 4]) == Quartiles(median=3, low=2, high=4)
    assert Quartiles.of([7]) == Quartiles(median=7, low=7, high=7)


def test_ratios_are_paired() -> None:
    """A load that weighs on a whole round cancels out."""
    load = np.random.default_rng(0).uniform(1, 10, 12)
    found = Ratio.of(list(2 * load), list(load))
    assert (found.median, found.low, found.high) == pytest.approx((2, 2, 2))


def test_the_interval_of_a_ratio_covers_the_truth_at_its_rate() -> None:
    """95 % by name; a percentile bootstrap of 12 rounds comes close to it."""
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        noise = random.lognormal(0, 0.2, (2, 12))
        found = Ratio.of(list(3 * noise[0]), list(noise[1]))
        covered += found.low <= 3 <= found.high
    assert 85 <= covered <= 100
    wide = Ratio.of(list(3 * random.lognormal(0, 0.5, 12)), [1.0] * 12)
    assert wide.high / wide.low > 1.2


def test_two_rounds_give_their_range() -> None:
    assert Ratio.of([2, 4], [1, 1]) == Ratio(median=3, low=2, high=4)
