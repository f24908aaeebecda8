"""The dynamic barrier: how much of the value gap's gradient joins the upper gradient.

d = argmin ½‖∇F − d‖²  subject to  ⟨∇Q, d⟩ ≥ φ        (BOME; EBOMLC eq. 5)

has the solution d = ∇F + β∇Q with β = max(0, (φ − ⟨∇F, ∇Q⟩) / ‖∇Q‖²). β needs inner products only, so it is a function
of the Gram matrix of the two gradients and the same on every rank once those are reduced.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Gram:
    """Inner products of ∇F and ∇Q, split into the main part (w) and the meta part (α). 0-dim float64.

    Attributes:
        upper_gap_main: ⟨∇_wF, ∇_wQ⟩.
        upper_gap_meta: ⟨∇_αF, ∇_αQ⟩, the alignment of eq. (10).
        gap_gap: ‖∇Q‖² = ‖∇_wQ‖² + ‖∇_αQ‖².
    """

    upper_gap_main: Tensor
    upper_gap_meta: Tensor
    gap_gap: Tensor


def gram(upper_main: Tensor, upper_meta: Tensor, gap_main: Tensor, gap_meta: Tensor) -> Gram:
    """The Gram entries of vectors ∇_wF, ∇_αF, ∇_wQ, ∇_αQ, each (P,)."""
    return Gram(
        upper_gap_main=torch.dot(upper_main, gap_main).double(),
        upper_gap_meta=torch.dot(upper_meta, gap_meta).double(),
        gap_gap=torch.dot(gap_main, gap_main).double() + torch.dot(gap_meta, gap_meta).double(),
    )


def barrier_coefficient(dot: Tensor, gap_gap: Tensor, strength: float | Tensor, cap: float | None = None) -> Tensor:
    """β = max(0, δ − dot / ‖∇Q‖²), 0-dim, finite for finite input.

    ``dot`` is ⟨∇_wF, ∇_wQ⟩ for EBOMLC (eq. 11, where the meta part cancels against the alignment term) and
    ⟨∇F, ∇Q⟩ for the plain barrier of BOME (eq. 7). Where ∇Q is zero the direction does not depend on β, and β is δ.

    Args:
        dot: 0-dim inner product.
        gap_gap: 0-dim ‖∇Q‖².
        strength: δ, a number or 0-dim.
        cap: upper limit of β, against a vanishing ‖∇Q‖. None: no limit of ours.
    """
    empty = gap_gap <= 0
    ratio = torch.where(empty, 0.0, dot / torch.where(empty, 1.0, gap_gap))
    return (strength - ratio).clamp(min=0.0, max=cap)


def barrier_direction(upper: Tensor, gap: Tensor, weight: Tensor) -> Tensor:
    """∇F + ξβ∇Q (eqs. 12–14) from gradients (P,) and the 0-dim ``weight`` ξβ, of any precision."""
    return upper + weight.to(upper.dtype) * gap
