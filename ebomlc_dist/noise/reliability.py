"""How much noisy labels are worth beside trusted ones, and the settings of EBOMLC-S that follow from it.

A label that is right with probability r, and otherwise equally likely any of the K − 1 others, carries

    τ = (r − 1/K) / (1 − 1/K)

of a right label's gradient, in expectation. Of two unbiased estimates of that gradient, one from n_c trusted images and
one from n_n noisy ones scaled by 1/τ, the best combination weighs each by the inverse of its variance, that is by n_c
and n_n τ². The share of the noisy images in what is known is therefore

    ω = n_n τ² / (n_n τ² + n_c)

and the settings are δ = ξ = √ω, so that the noisy gradient's weight ξβ is ω where the two gradients are orthogonal
(β = δ there), and, where F mixes losses, ρ = 1 − ω, so that in the main model's gradient each has its share. Where F
mixes probabilities the weight of a trusted image is not ρ, and ρ = (1 − ω)/2, so that the corrector always learns.
There is no constant to be tuned.

Which r: that of the given labels, T's diagonal, or that of the corrected ones. The latter also counts what the
corrector has learnt from the trusted images, as if the noisy ones had told it.

A noisy image comes with two labels, the given one and the corrector's answer. What a model learns from either is
decided by how far the right class leads its strongest rival: with A[t, ·] the mean label of images of class t (T for
given labels, the corrector's mean answers for corrected ones),

    λ = max(0, mean over t of A[t, t] − max_{j≠t} A[t, j])

is τ where errors are spread evenly, and less where they all go one way. The weight of the corrected label beside the
given one is

    κ = λ_c² / (λ_c² + λ_g²)

Another measure of labels is how much of what there is to know about the true class they tell, with classes alike in
size:

    r = I(y; ỹ) / log K = mean over t of KL(T[t, ·] ‖ mean of T's rows) / log K

1 for labels that are never wrong, or wrong in a way that can be undone, and 0 where they say nothing.
"""

import math

import torch
from torch import Tensor

LITTLE = 0.05
"""An r below which noisy images do not help: once a model fits its trusted images, any weight on others rules."""


def information_share(reliability: Tensor, num_classes: int, num_noisy: int, num_clean: int) -> Tensor:
    """ω in 0…1 for r = ``reliability`` (0-dim), K classes, n_n noisy and n_c trusted images."""
    signal = ((reliability - 1 / num_classes) / (1 - 1 / num_classes)).clamp(0.0, 1.0)
    worth = num_noisy * signal.square()
    return worth / (worth + num_clean)


def margin(mean_labels: Tensor) -> Tensor:
    """λ in 0…1, 0-dim, of A (K, K), rows on the simplex."""
    rivals = mean_labels.clone().fill_diagonal_(-torch.inf).max(dim=1).values
    return (mean_labels.diagonal() - rivals).mean().clamp_min(0.0)


def corrected_share(corrected: Tensor, given: Tensor) -> Tensor:
    """κ in 0…1 for λ of corrected and of given labels (0-dim each); a half where neither leads anywhere."""
    total = corrected.square() + given.square()
    return torch.where(total > 0, corrected.square() / torch.where(total > 0, total, 1.0), 0.5)


def information_told(transition: Tensor) -> Tensor:
    """r in 0…1, 0-dim, of T (K, K), rows on the simplex."""
    rows = transition.double()
    information = torch.special.entr(rows.mean(dim=0)).sum() - torch.special.entr(rows).sum(dim=1).mean()
    return (information / math.log(len(rows))).clamp(0.0, 1.0)


def settings_for(share: Tensor, losses_mixed: bool) -> Tensor:
    """(3,) ρ, δ and ξ for ω = ``share`` (0-dim), where F mixes losses or something else."""
    root = share.sqrt()
    return torch.stack([1 - share if losses_mixed else (1 - share) / 2, root, root])


def settings_by_formula(
    transition: Tensor, measured: Tensor, sizes: tuple[int, int, int], by_corrected: bool, losses_mixed: bool
) -> Tensor:
    """(4,) ρ, δ, ξ and κ.

    Args:
        transition: T (K, K).
        measured: (4,) of held-out images, the second the reliability of corrected labels, the last their λ; zeros where
            none is held out. Then nothing is known of the corrector, and it is not asked.
        sizes: K, n_n, n_c.
        by_corrected: whether r is the reliability of corrected labels instead of T's.
        losses_mixed: whether F mixes losses.
    """
    reliability = measured[1] if by_corrected else transition.diagonal().mean()
    kappa = corrected_share(measured[3], margin(transition))
    kappa = torch.where(measured[1] > 0, kappa, 0.0)
    return torch.cat([settings_for(information_share(reliability, *sizes), losses_mixed), kappa[None]])
