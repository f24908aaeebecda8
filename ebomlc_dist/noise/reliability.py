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
"""

import torch
from torch import Tensor


def information_share(reliability: Tensor, num_classes: int, num_noisy: int, num_clean: int) -> Tensor:
    """ω in 0…1 for r = ``reliability`` (0-dim), K classes, n_n noisy and n_c trusted images."""
    signal = ((reliability - 1 / num_classes) / (1 - 1 / num_classes)).clamp(0.0, 1.0)
    worth = num_noisy * signal.square()
    return worth / (worth + num_clean)


def lead(mean_labels: Tensor) -> Tensor:
    """λ in 0…1, 0-dim, of A (K, K), rows on the simplex."""
    rivals = mean_labels.clone().fill_diagonal_(-torch.inf).max(dim=1).values
    return (mean_labels.diagonal() - rivals).mean().clamp_min(0.0)


def corrected_share(corrected: Tensor, given: Tensor) -> Tensor:
    """κ in 0…1 for λ of corrected and of given labels (0-dim each); a half where neither leads anywhere."""
    total = corrected.square() + given.square()
    return torch.where(total > 0, corrected.square() / torch.where(total > 0, total, 1.0), 0.5)


def settings_for(share: Tensor, losses_mixed: bool) -> Tensor:
    """(3,) ρ, δ and ξ for ω = ``share`` (0-dim), where F mixes losses or something else."""
    root = share.sqrt()
    return torch.stack([1 - share if losses_mixed else (1 - share) / 2, root, root])
