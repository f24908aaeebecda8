"""Theorem 1's rate and Theorem 2's limit, measured.

Theorem 1. With η_w = c_w/√T and η_α = c_α/T over T steps, (1/T) Σ_t ‖∇_wF(w^t, α^t)‖² ≤ C/√T. The constant, for
0 < ξ < 1 and ∇_wQ read as the difference ∇_wG(w) − ∇_wG(w'), which is at most LMη_w long: with
S = M(1 + ξ(1 + δLη_w)), a bound on both parts of the direction, one step gives

    (1 − ξ) η_w ‖∇_wF‖² ≤ F^t − F^{t+1} + η_w² (ξδLM² + LS²/2) + η_α MS + η_α² LS²/2

because −β⟨∇_wF, ∇_wQ⟩ ≤ ‖∇_wF‖² + δ‖∇_wF‖‖∇_wQ‖ by the definition of β (eq. 11). Sum over t, with F ≥ 0, and divide by
(1 − ξ) η_w T.

Where the bound says nothing. At ξ = 1 its left side is zero: where the objectives disagree and the meta model has no
say in G, the step along ∇_wQ follows ∇Q alone. With ∇_wQ read as ∇_wG(w) (`stop_gradient`, BOME's reading) the gap's
gradient does not shrink with η_w, and ∇_wF comes to rest against a share of ∇_wG. In both ‖∇_wF‖ does not go to zero:
the theorems fail, which `CASES` shows.

Theorem 2. With Σ η_w = ∞, Σ η_w² < ∞ and Σ η_α < ∞, ‖∇_wF(w^t, α^t)‖ → 0, under the same two conditions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.theory.problem import ALPHA_0, GRADIENT_BOUND, LIPSCHITZ, W_0, Rule, squared_gradients, upper

MAIN, META = 0.5, 0.5
"""c_w and c_α."""
MAIN_POWER, META_POWER = 0.75, 1.5
"""η_w = c_w (t+1)^−0.75 and η_α = c_α (t+1)^−1.5 of Theorem 2."""


@dataclass(frozen=True)
class Case:
    """A rule, and whether the theorems hold for it."""

    name: str
    rule: Rule
    holds: bool


CASES = (
    Case("∇Q a difference, ξ = 0.5", Rule(), True),
    Case("the same, G independent of α", Rule(say=0.0), True),
    Case("the same, and ξ = 1", Rule(noisy_scale=1.0, say=0.0), False),
    Case("∇Q by stop_gradient, ξ = 0.5", Rule("stop_gradient"), False),
)


def averages(rule: Rule, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """(1/T) Σ ‖∇_wF‖² for each number of steps T, under Theorem 1's rates for that T."""
    return np.array(
        [
            float(squared_gradients(rule, T, lambda _, T=T: MAIN / T**0.5, lambda _, T=T: META / T).mean())  # type: ignore[misc]
            for T in lengths.tolist()
        ]
    )


def bound(rule: Rule, lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """The right side of Theorem 1 for each T, for rules under which it holds."""
    main, meta = MAIN / np.sqrt(lengths), META / lengths
    start = upper(W_0, ALPHA_0)
    size = GRADIENT_BOUND * (1 + rule.noisy_scale * (1 + rule.strength * LIPSCHITZ * main))
    second = LIPSCHITZ * size**2 / 2
    per_step = (
        main**2 * (rule.noisy_scale * rule.strength * LIPSCHITZ * GRADIENT_BOUND**2 + second)
        + meta * GRADIENT_BOUND * size
        + meta**2 * second
    )
    return (start / lengths + per_step) / ((1 - rule.noisy_scale) * main)


def slope(lengths: NDArray[np.int64], values: NDArray[np.float64]) -> float:
    """The power of T that the values follow, by least squares on logarithms."""
    return float(np.polyfit(np.log(lengths), np.log(values), 1)[0])


def norms(rule: Rule, steps: int, main_power: float = MAIN_POWER) -> NDArray[np.float64]:
    """(steps,) ‖∇_wF(w^t, α^t)‖ under Theorem 2's rates."""
    squared = squared_gradients(
        rule, steps, lambda t: MAIN * (t + 1) ** -main_power, lambda t: META * (t + 1) ** -META_POWER
    )
    return np.sqrt(squared.numpy())
