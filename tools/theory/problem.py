"""A bilevel problem that meets the assumptions of EBOMLC's convergence analysis, with constants in closed form.

For w, α in R^n and fixed b,

    F(w, α) = Σ_i (1 − cos(w_i − b_i)) + r Σ_i (1 − cos(α_i − w_i)),   G(w, α) = Σ_i (1 − cos(w_i − a_i − sα_i))

Values, gradients and second derivatives are bounded: ‖∇²F‖ ≤ 1 + 2r and ‖∇²G‖ ≤ 1 + s² (Assumption 1),
‖∇F‖² ≤ n((1 + r)² + r²) and ‖∇G‖² ≤ n(1 + s²) (Assumption 2). Where F is stationary in w the lower gradient does not
vanish: the two objectives disagree, as they do under label noise. s is the say that the meta model has in G; s = 0 is
allowed by the assumptions.

The update is EBOMLC's with one inner step, without momentum, as in the analysis; the barrier is the library's own.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ebomlc_dist.numerics.barrier import barrier_coefficient, barrier_direction, gram

Reading = Literal["difference", "stop_gradient"]
R = 0.1
B = torch.tensor([1.0, -0.8, 0.5], dtype=torch.float64)
W_0 = torch.tensor([-0.5, 0.9, 1.4], dtype=torch.float64)
ALPHA_0 = torch.tensor([-0.3, 0.2, -0.3], dtype=torch.float64)
A = torch.tensor([-0.3, 0.3, -0.4], dtype=torch.float64)
LIPSCHITZ = max(1 + 2 * R, 2.0)
GRADIENT_BOUND = math.sqrt(len(B) * max((1 + R) ** 2 + R**2, 2.0))


@dataclass(frozen=True)
class Rule:
    """How a step is made: how ∇_wQ is read, ξ, and δ; and s, the say of the meta model."""

    reading: Reading = "difference"
    noisy_scale: float = 0.5
    strength: float = 0.25
    say: float = 1.0


def upper(w: Tensor, alpha: Tensor) -> float:
    """F(w, α)."""
    return float((1 - torch.cos(w - B)).sum() + R * (1 - torch.cos(alpha - w)).sum())


def squared_gradients(
    rule: Rule, steps: int, main_lr: Callable[[int], float], meta_lr: Callable[[int], float]
) -> Tensor:
    """(steps,) float64, ‖∇_wF(w^t, α^t)‖² for t = 0 … steps − 1, with learning rates by step."""
    w, alpha = W_0.clone(), ALPHA_0.clone()
    found = torch.zeros(steps, dtype=torch.float64)
    for step in range(steps):
        rate = main_lr(step)
        coupling = torch.sin(alpha - w)
        upper_w, upper_alpha = torch.sin(w - B) - R * coupling, R * coupling
        found[step] = torch.dot(upper_w, upper_w)
        # ∇_wG at w and at w', which is a constant; ∇_αG is −s times that.
        lower = torch.sin(w - A - rule.say * alpha)
        ahead = torch.sin(w - rate * lower - A - rule.say * alpha)
        gap_w = lower - ahead if rule.reading == "difference" else lower
        gap_alpha = rule.say * (ahead - lower)
        products = gram(upper_w, upper_alpha, gap_w, gap_alpha)
        beta = barrier_coefficient(products.upper_gap_main, products.gap_gap, rule.strength)
        w = w - rate * barrier_direction(upper_w, gap_w, rule.noisy_scale * beta)
        alpha = alpha - meta_lr(step) * barrier_direction(upper_alpha, gap_alpha, rule.noisy_scale * beta)
    return found
