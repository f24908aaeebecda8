"""Transition matrices and the labels drawn from them."""

from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from ebomlc_dist.noise.matrices import apply_transition, flip_matrix, nominal_rate, realised_rate, uniform_matrix

RATES = st.floats(0, 1)
CLASSES = st.integers(2, 12)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def within_binomial(count: int, trials: int, probability: float) -> bool:
    """Whether a count lies in the central exact binomial interval of 1 − 1e-9."""
    return bool(binom.ppf(5e-10, trials, probability) <= count <= binom.ppf(1 - 5e-10, trials, probability))


@given(num_classes=CLASSES, rate=RATES)
def test_rows_are_distributions(num_classes: int, rate: float) -> None:
    for matrix in (
        uniform_matrix(num_classes, rate, "other"),
        uniform_matrix(num_classes, rate, "any"),
        flip_matrix(num_classes, rate, rng()),
    ):
        assert matrix.shape == (num_classes, num_classes)
        assert bool((matrix >= 0).all())
        torch.testing.assert_close(matrix.sum(dim=1), torch.ones(num_classes, dtype=torch.float64))


@given(num_classes=CLASSES, rate=RATES)
def test_wrong_share_of_each_kind(num_classes: int, rate: float) -> None:
    labels = torch.arange(num_classes)
    assert nominal_rate(labels, uniform_matrix(num_classes, rate, "other")) == pytest.approx(rate, abs=1e-12)
    wrong = rate * (num_classes - 1) / num_classes
    assert nominal_rate(labels, uniform_matrix(num_classes, rate, "any")) == pytest.approx(wrong, abs=1e-12)
    assert nominal_rate(labels, flip_matrix(num_classes, rate, rng())) == pytest.approx(rate, abs=1e-12)


@given(num_classes=CLASSES, rate=RATES, seed=st.integers(0, 1000))
def test_realised_rate_within_binomial_bounds(num_classes: int, rate: float, seed: int) -> None:
    labels = torch.arange(3000) % num_classes
    for matrix in (
        uniform_matrix(num_classes, rate, "other"),
        uniform_matrix(num_classes, rate, "any"),
        flip_matrix(num_classes, rate, rng(seed)),
    ):
        noisy = apply_transition(labels, matrix, rng(seed))
        wrong = round(realised_rate(labels, noisy) * len(labels))
        assert within_binomial(wrong, len(labels), nominal_rate(labels, matrix))
        assert noisy.dtype == torch.int64
        assert 0 <= int(noisy.min()) <= int(noisy.max()) < num_classes


def test_bounds_tell_other_from_any() -> None:
    """Negative control: at this size the two readings of uniform noise are told apart."""
    labels = torch.arange(5000) % 10
    noisy = apply_transition(labels, uniform_matrix(10, 0.8, "any"), rng())
    wrong = round(realised_rate(labels, noisy) * len(labels))
    assert within_binomial(wrong, 5000, 0.72)
    assert not within_binomial(wrong, 5000, 0.8)


def test_uniform_over_other_reaches_every_other_class_alike() -> None:
    noisy = apply_transition(torch.full((90_000,), 3), uniform_matrix(10, 1.0, "other"), rng())
    counts = noisy.bincount(minlength=10)
    assert counts[3] == 0
    assert all(within_binomial(int(count), 90_000, 1 / 9) for label, count in enumerate(counts) if label != 3)


@given(num_classes=CLASSES, seed=st.integers(0, 1000))
def test_flip_moves_each_class_to_one_other(num_classes: int, seed: int) -> None:
    matrix = flip_matrix(num_classes, 1.0, rng(seed))
    assert bool(((matrix == 0) | (matrix == 1)).all())
    assert not matrix.diagonal().any()
    labels = torch.arange(num_classes).repeat(5)
    noisy = apply_transition(labels, matrix, rng())
    assert torch.equal(noisy, matrix.argmax(dim=1)[labels])


def test_flip_pairs_do_not_depend_on_the_rate() -> None:
    low, high = (flip_matrix(10, rate, rng(4)) for rate in (0.1, 0.9))
    identity = torch.eye(10, dtype=torch.float64)
    torch.testing.assert_close((low - 0.9 * identity) / 0.1, (high - 0.1 * identity) / 0.9)
    assert not torch.equal(flip_matrix(10, 0.9, rng(4)), flip_matrix(10, 0.9, rng(5)))


def test_a_class_of_probability_zero_is_never_drawn() -> None:
    matrix = torch.zeros(4, 4, dtype=torch.float64)
    matrix[:, 1], matrix[:, 2] = 1 / 3, 2 / 3
    noisy = apply_transition(torch.arange(4000) % 4, matrix, rng())
    assert set(noisy.tolist()) == {1, 2}


def test_a_number_on_a_boundary_belongs_to_the_next_class() -> None:
    class Fixed:
        def random(self, size: int) -> np.ndarray:
            return np.array([0.0, 0.5, 0.75])

    matrix = torch.tensor([[0.0, 0.5, 0.0, 0.5]], dtype=torch.float64).repeat(4, 1)
    assert apply_transition(torch.tensor([0, 1, 2]), matrix, cast(np.random.Generator, Fixed())).tolist() == [1, 3, 3]


def test_asymmetric_matrix_keeps_its_direction() -> None:
    """``[true, noisy]``: a transposed reading would move class 1 instead of class 0."""
    matrix = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    assert apply_transition(torch.tensor([0, 1, 0, 1]), matrix, rng()).tolist() == [1, 1, 1, 1]


def test_wrong_labels_are_nested_in_the_rate() -> None:
    labels = torch.arange(2000) % 10
    low, high = (apply_transition(labels, uniform_matrix(10, rate), rng(1)) != labels for rate in (0.2, 0.5))
    assert bool((high | ~low).all())
    assert int(high.sum()) > int(low.sum())


def test_same_seed_same_labels() -> None:
    labels, matrix = torch.arange(500) % 10, uniform_matrix(10, 0.5)
    assert torch.equal(apply_transition(labels, matrix, rng(1)), apply_transition(labels, matrix, rng(1)))
    assert not torch.equal(apply_transition(labels, matrix, rng(1)), apply_transition(labels, matrix, rng(2)))


@pytest.mark.parametrize(("num_classes", "rate"), [(1, 0.1), (3, 1.1), (3, -0.1), (3, float("nan"))])
def test_refuses_impossible_noise(num_classes: int, rate: float) -> None:
    with pytest.raises(ValueError, match=r"outside 0…1|at least 2 classes"):
        uniform_matrix(num_classes, rate)
    with pytest.raises(ValueError, match=r"outside 0…1|at least 2 classes"):
        flip_matrix(num_classes, rate, rng())
