"""The dynamic barrier: how much of the value gap's gradient joins the upper gradient.

d = argmin ½‖∇F − d‖²  subject to  ⟨∇Q, d⟩ ≥ φ        (BOME; EBOMLC eq. 5)

has the solution d = ∇F + β∇Q with β = max(0, (φ − ⟨∇F, ∇Q⟩) / ‖∇Q‖²). β needs inner products only, so it is a function
of the Gram matrix of the two gradients and the same on every rank once those are reduced.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebomlc_dist.numerics.network import Dots, whole_dots


@dataclass(frozen=True)
class Gram:
    """Inner products of ∇F and ∇Q, split into the main part (w) and the meta part (α). 0-dim float64.

    Attributes:
        upper_gap_main: ⟨∇_wF, ∇_wQ⟩.
        upper_upper_main: ‖∇_wF‖².
        gap_gap_main: ‖∇_wQ‖².
        upper_gap_meta: ⟨∇_αF, ∇_αQ⟩, the alignment of eq. (10).
        gap_gap: ‖∇Q‖² = ‖∇_wQ‖² + ‖∇_αQ‖².
    """

    upper_gap_main: Tensor
    upper_upper_main: Tensor
    gap_gap_main: Tensor
    upper_gap_meta: Tensor
    gap_gap: Tensor


def gram(
    upper_main: Tensor, upper_meta: Tensor, gap_main: Tensor, gap_meta: Tensor, main_dots: Dots = whole_dots
) -> Gram:
    """The Gram entries of vectors ∇_wF, ∇_αF, ∇_wQ, ∇_αQ, each (P,).

    Args:
        main_dots: inner products of w's vectors, `Network.dots` where they may be spread over ranks.
    """
    main_pairs = ((upper_main, gap_main), (gap_main, gap_main), (upper_main, upper_main))
    meta_pairs = ((upper_meta, gap_meta), (gap_meta, gap_meta))
    products = (
        whole_dots(*main_pairs, *meta_pairs)
        if main_dots is whole_dots
        else (*main_dots(*main_pairs), *whole_dots(*meta_pairs))
    )
    upper_gap, gap_gap, upper_upper, upper_gap_meta, gap_gap_meta = products
    return Gram(
        upper_gap_main=upper_gap,
        upper_upper_main=upper_upper,
        gap_gap_main=gap_gap,
        upper_gap_meta=upper_gap_meta,
        gap_gap=gap_gap + gap_gap_meta,
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
    # Where ∇Q is zero, so is the product: 0/1. A sum, as a choice by `torch.where` takes two launches.
    ratio = dot / (gap_gap + (gap_gap == 0))
    return (strength - ratio).clamp(min=0.0, max=cap)


def barrier_direction(upper: Tensor, gap: Tensor, weight: Tensor) -> Tensor:
    """∇F + ξβ∇Q (eqs. 12–14) from gradients (P,) and the 0-dim ``weight`` ξβ, of any precision."""
    return torch.addcmul(upper, weight.to(upper.dtype), gap)
