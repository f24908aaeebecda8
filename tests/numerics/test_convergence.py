"""The bilevel iteration on a problem with a known answer, by its order of convergence.

Lower ½|w − a|², upper ½|w − b|² + r/2·|a|². With T inner steps of size s, w_T − w = −s_T(w − a), s_T = 1 − (1−s)^T, and

    ∇_wQ = w − a,   ∇_aQ = (a − w) − (a − w_T) = −s_T(w − a)

so that, with w held at the lower optimum by the barrier, the iteration settles at a_T = s_T/(r + s_T)·b. It is biased
for finite T by design: the value function is cut off after T steps.
"""

import pytest
import torch

from ebomlc_dist.numerics.barrier import barrier_coefficient, gram

B = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
R = 0.5


def settled(rate: float, inner_steps: int, inner_size: float = 0.5, strength: float = 0.5) -> torch.Tensor:
    """Where plain gradient steps along ∇F + β∇Q end up, with the plain barrier of BOME (eq. 7)."""
    w, a = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    shrink = 1 - (1 - inner_size) ** inner_steps
    for _ in range(int(40 / rate)):
        upper_w, upper_a = w - B, R * a
        gap_w, gap_a = w - a, -shrink * (w - a)
        products = gram(upper_w, upper_a, gap_w, gap_a)
        beta = barrier_coefficient(products.upper_gap_main + products.upper_gap_meta, products.gap_gap, strength)
        w, a = w - rate * (upper_w + beta * gap_w), a - rate * (upper_a + beta * gap_a)
    return a


def expected(inner_steps: int, inner_size: float = 0.5) -> torch.Tensor:
    shrink = 1 - (1 - inner_size) ** inner_steps
    return shrink / (R + shrink) * B


@pytest.mark.parametrize("inner_steps", [1, 2, 5])
def test_error_is_of_first_order_in_the_learning_rate(inner_steps: int) -> None:
    rates = torch.tensor([0.04, 0.02, 0.01], dtype=torch.float64)
    errors = torch.stack([(settled(float(r), inner_steps) - expected(inner_steps)).norm() for r in rates])
    slope = torch.diff(errors.log()) / torch.diff(rates.log())
    assert errors[-1] < 0.04
    assert ((slope > 0.9) & (slope < 1.1)).all(), slope


def test_one_inner_step_is_biased_by_design() -> None:
    bilevel_optimum = B / (R + 1)
    assert (settled(0.01, 1) - bilevel_optimum).norm() > 0.1
    assert (settled(0.01, 8) - bilevel_optimum).norm() < 0.04
