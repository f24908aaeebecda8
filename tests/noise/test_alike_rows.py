"""The prior over matrices with rows that are alike: density, exact means, draws."""

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import dirichlet

from ebomlc_dist.noise.alike_rows import EVENNESS, RATES, STRENGTHS, assembled, draw_rows, log_density, mean_of_rows

COUNTS = np.array([[30, 4, 1], [2, 18, 0], [3, 3, 9]])


def test_the_mean_is_that_of_many_draws() -> None:
    rng = np.random.default_rng(0)
    drawn = np.mean([draw_rows(rng, COUNTS) for _ in range(4_000)], axis=0)
    np.testing.assert_allclose(drawn.sum(axis=1), 1.0)
    np.testing.assert_allclose(mean_of_rows(COUNTS), drawn, atol=0.006)
    assert np.abs(mean_of_rows(COUNTS) - (COUNTS + 1) / (COUNTS + 1).sum(axis=1, keepdims=True)).max() > 0.02


def test_the_density_sums_out_rate_strength_and_evenness() -> None:
    matrix = assembled(np.array([0.7, 0.8, 0.6]), np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]]))
    kept, shares = matrix.diagonal(), np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5]])
    rates = 0.0
    for strength in STRENGTHS:
        for rate in RATES:
            a, b = strength * (1 - rate), strength * rate
            rates += np.exp(((a - 1) * np.log(kept) + (b - 1) * np.log1p(-kept) - betaln(a, b)).sum())
    errors = sum(np.prod([dirichlet.pdf(row, [c, c]) for row in shares]) for c in EVENNESS)
    # A row's other entries are its lost mass times its shares.
    volume = np.prod(1 - kept)
    assert log_density(matrix) == pytest.approx(np.log(rates * errors / volume), abs=1e-6)


def test_rows_lend_each_other_what_they_have_in_common() -> None:
    """A class without a count takes the mean rate; errors that all go one way are not smoothed out."""
    flips = np.zeros((4, 4), dtype=np.int64)
    flips[range(4), range(4)] = (60, 62, 58, 0)
    flips[(0, 1, 2), (1, 2, 3)] = (40, 38, 42)
    found = mean_of_rows(flips)
    assert found[3, 3] == pytest.approx(0.6, abs=0.02)
    assert found[0, 2] < 0.005
    even = np.full((4, 4), 10) + 50 * np.eye(4, dtype=np.int64)
    even[0, 1:] = (18, 3, 9)
    assert np.ptp(mean_of_rows(even)[0, 1:]) < np.ptp(even[0, 1:] / even[0].sum()) / 2
