"""Exact intervals and tests of a share, held against scipy's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ebomlc_dist.noise.binomial import at_least, exact_interval

COUNTS = st.integers(1, 5000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


@given(COUNTS, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_interval_is_clopper_and_pearsons(counts: tuple[int, int], coverage: float) -> None:
    assert exact_interval(*counts, coverage) == pytest.approx(
        tuple(binomtest(*counts).proportion_ci(coverage, method="exact")), abs=1e-9
    )


@given(COUNTS, st.floats(0.001, 0.999))
def test_the_tail_is_that_of_the_binomial_test(counts: tuple[int, int], share: float) -> None:
    assert at_least(*counts, share) == pytest.approx(binomtest(*counts, share, "greater").pvalue, rel=1e-6, abs=1e-300)


def test_ends_are_whole() -> None:
    assert exact_interval(0, 10, 0.95)[0] == 0.0
    assert exact_interval(10, 10, 0.95)[1] == 1.0
    assert exact_interval(0, 10, 0.95)[1] == pytest.approx(1 - 0.025 ** (1 / 10))
    assert at_least(0, 10, 0.3) == 1.0
