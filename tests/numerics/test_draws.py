"""Draws from keys: the right distributions, the right derivatives, and nothing but the key decides them."""

import pytest
import torch
from scipy import stats
from torch import Tensor

from ebomlc_dist.numerics.draws import beta, gamma, keys_of, normal, permutation, uniform

NUMBER = 20_000


def keys(seed: int = 11) -> Tensor:
    return keys_of(torch.tensor(seed), torch.arange(NUMBER))


def fits(values: Tensor, distribution) -> bool:
    """Kolmogorov–Smirnov at a level that one of a thousand right generators would miss."""
    return stats.kstest(values.flatten().numpy(), distribution.cdf).pvalue > 1e-3


@pytest.mark.parametrize("stream", [0, 1, 100])
def test_uniform_and_normal(stream: int) -> None:
    numbers = uniform(keys(), 3, stream)
    assert fits(numbers, stats.uniform())
    assert ((numbers > 0) & (numbers < 1)).all()
    assert float(torch.corrcoef(numbers.t()).triu(1).abs().max()) < 4 / NUMBER**0.5
    assert fits(normal(keys(), 2, stream), stats.norm())
    assert not fits(normal(keys(), 2, stream) * 1.05, stats.norm())


@pytest.mark.parametrize("shape", [0.05, 0.7, 1.0, 4.0, 200.0])
def test_gamma(shape: float) -> None:
    drawn = gamma(torch.full((NUMBER,), shape, dtype=torch.float64), keys(), 3)
    assert fits(drawn, stats.gamma(shape))
    assert not fits(drawn, stats.gamma(shape * 1.1))


@pytest.mark.parametrize(("a", "b"), [(0.5, 0.5), (4.0, 4.0), (30.0, 1.0)])
def test_beta(a: float, b: float) -> None:
    first, second = (torch.full((NUMBER,), value, dtype=torch.float64) for value in (a, b))
    drawn = beta(first, second, keys(), 2)
    assert fits(drawn, stats.beta(a, b))
    assert not fits(drawn, stats.beta(a * 1.2, b))


def test_the_derivative_of_a_beta_draw_is_that_of_its_distribution_function() -> None:
    """x(a, b) at a fixed quantile: ∂x/∂a = −(∂F/∂a)/f, here by central differences of scipy's F."""
    a = torch.tensor([0.7, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    b = torch.tensor([1.3, 0.8, 4.0], dtype=torch.float64, requires_grad=True)
    drawn = beta(a, b, keys()[:3], 0)
    found = torch.autograd.grad(drawn.sum(), [a, b])
    x, first, second = (t.detach().numpy() for t in (drawn, a, b))
    h, density = 1e-5, stats.beta.pdf(x, first, second)
    by_a = -(stats.beta.cdf(x, first + h, second) - stats.beta.cdf(x, first - h, second)) / (2 * h) / density
    by_b = -(stats.beta.cdf(x, first, second + h) - stats.beta.cdf(x, first, second - h)) / (2 * h) / density
    for gradient, expected in zip(found, (by_a, by_b), strict=True):
        assert gradient.numpy() == pytest.approx(expected, rel=1e-3)


def test_a_draw_depends_on_key_and_place_alone() -> None:
    whole = uniform(keys(), 2, 0)
    share = uniform(keys_of(torch.tensor(11), torch.arange(100, 160)), 2, 0)
    assert torch.equal(whole[100:160], share)
    assert not torch.equal(uniform(keys(12), 2, 0), whole)
    assert not torch.equal(uniform(keys(), 2, 1), whole)
    before = torch.get_rng_state()
    gamma(torch.ones(5), keys()[:5], 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_permutations_hold_every_number_once_and_reach_every_place() -> None:
    orders = torch.stack([permutation(torch.tensor(key), 6, 0) for key in range(600)])
    assert torch.equal(orders.sort(dim=1).values, torch.arange(6).expand(600, 6))
    counts = torch.stack([(orders[:, place, None] == torch.arange(6)).sum(dim=0) for place in range(6)])
    # 100 expected in each cell, standard deviation 9.
    assert ((counts - 100).abs() < 45).all()
