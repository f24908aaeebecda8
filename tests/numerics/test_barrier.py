"""Properties of the dynamic barrier."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ebomlc_dist.numerics.barrier import barrier_coefficient, gram

SCALES = [1e-15, 1e-8, 1e-3, 1.0, 1e3, 1e8, 1e15]
seeds = st.integers(0, 2**32 - 1)


def vectors(seed: int, scale: float = 1.0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [scale * torch.randn(n, generator=generator, dtype=torch.float64) for n in (40, 9, 40, 9)]


def coefficient(upper_main, upper_meta, gap_main, gap_meta, strength: float = 0.25) -> torch.Tensor:
    products = gram(upper_main, upper_meta, gap_main, gap_meta)
    return barrier_coefficient(products.upper_gap_main, products.gap_gap, strength)


@given(seeds, st.sampled_from(SCALES), st.floats(0.01, 2.0))
def test_unclamped_identity(seed: int, scale: float, strength: float) -> None:
    """⟨∇_wF + β∇_wQ, ∇_wQ⟩ + β‖∇_αQ‖² = δ‖∇Q‖² wherever β > 0."""
    fw, fa, qw, qa = vectors(seed, scale)
    beta = coefficient(fw, fa, qw, qa, strength)
    left = torch.dot(fw + beta * qw, qw) + beta * torch.dot(qa, qa)
    right = strength * (torch.dot(qw, qw) + torch.dot(qa, qa))
    if beta > 0:
        torch.testing.assert_close(left, right, rtol=1e-9, atol=0)
    else:
        assert left >= right * (1 - 1e-9)


@given(seeds)
def test_direction_is_the_projection_on_the_half_space(seed: int) -> None:
    """No point that satisfies the constraint of (5), with φ of (10), is nearer to ∇F."""
    fw, fa, qw, qa = vectors(seed)
    f, q = torch.cat([fw, fa]), torch.cat([qw, qa])
    threshold = 0.25 * torch.dot(q, q) + torch.dot(fa, qa)
    d = f + coefficient(fw, fa, qw, qa) * q
    assert torch.dot(q, d) >= threshold - 1e-9 * torch.dot(q, q)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(20):
        other = d + 0.1 * torch.randn(len(d), generator=generator, dtype=torch.float64)
        missing = threshold - torch.dot(q, other)
        other = other + q * missing.clamp(min=0) / torch.dot(q, q)
        assert (other - f).norm() >= (d - f).norm() * (1 - 1e-12)


@given(seeds)
def test_rotation_of_the_main_space_changes_nothing(seed: int) -> None:
    fw, fa, qw, qa = vectors(seed)
    generator = torch.Generator().manual_seed(seed)
    rotation, _ = torch.linalg.qr(torch.randn(40, 40, generator=generator, dtype=torch.float64))
    torch.testing.assert_close(
        coefficient(rotation @ fw, fa, rotation @ qw, qa), coefficient(fw, fa, qw, qa), rtol=1e-9, atol=1e-12
    )


def test_a_stretched_main_space_changes_the_coefficient() -> None:
    fw, fa, qw, qa = vectors(5)
    stretch = torch.linspace(1, 3, 40, dtype=torch.float64)
    assert not torch.allclose(coefficient(stretch * fw, fa, stretch * qw, qa, 2.0), coefficient(fw, fa, qw, qa, 2.0))


def test_conflict_raises_the_coefficient_and_agreement_clamps_it_at_zero() -> None:
    q = torch.ones(4, dtype=torch.float64)
    nothing = torch.zeros(2, dtype=torch.float64)
    assert coefficient(-q, nothing, q, nothing) == 1.25
    assert coefficient(q, nothing, q, nothing) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zero_gap_stays_finite(dtype: torch.dtype) -> None:
    zero = torch.zeros(5, dtype=dtype)
    beta = coefficient(torch.ones(5, dtype=dtype), zero, zero, zero)
    assert torch.isfinite(beta)
    assert torch.equal(beta * zero, zero.double())


@pytest.mark.parametrize("scale", SCALES)
def test_float32_stays_finite_over_scales(scale: float) -> None:
    fw, fa, qw, qa = (v.float() for v in vectors(3))
    beta = coefficient(fw * scale, fa * scale, qw * scale, qa * scale)
    assert torch.isfinite(beta)
    assert float(beta) == pytest.approx(float(coefficient(fw, fa, qw, qa)), rel=1e-4)


def test_cap_limits() -> None:
    dot, gap = torch.tensor(-1.0), torch.tensor(1e-6)
    assert float(barrier_coefficient(dot, gap, 0.25)) == pytest.approx(1e6 + 0.25)
    assert float(barrier_coefficient(dot, gap, 0.25, cap=10.0)) == 10.0
    assert math.isfinite(float(barrier_coefficient(torch.tensor(-1e30), torch.tensor(1e-30), 0.25, cap=1.0)))
