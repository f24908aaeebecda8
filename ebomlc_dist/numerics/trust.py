"""How much corrected labels are worth beside trusted ones, and the settings of EBOMLC that follow from it.

A label that is right with probability r, and otherwise equally likely any of the K − 1 others, carries

    τ = (r − 1/K) / (1 − 1/K)

of a right label's gradient, in expectation. Of two unbiased estimates of that gradient, one from n_c trusted images and
one from n_n corrected ones scaled by 1/τ, the best combination weighs each by the inverse of its variance, that is by
n_c and n_n τ². The share of the corrected labels in what is known is therefore

    ω = n_n τ² / (n_n τ² + n_c)

and the settings are δ = ξ = √ω, so that the noisy gradient's weight ξβ is ω where the two gradients are orthogonal
(β = δ there), and ρ = (1 − ω)/2, the main model's part of F shrinking with what the trusted images have to add. There
is no constant to be tuned: labels at chance give δ = ξ = 0 and ρ = 1/2, perfect ones and a large noisy set δ = ξ = 1
and ρ = 0.
"""

import torch
from torch import Tensor


def information_share(reliability: Tensor, num_classes: int, num_noisy: int, num_clean: int) -> Tensor:
    """ω in 0…1 for r = ``reliability`` (0-dim), K classes, n_n noisy and n_c trusted images."""
    signal = ((reliability - 1 / num_classes) / (1 - 1 / num_classes)).clamp(0.0, 1.0)
    worth = num_noisy * signal.square()
    return worth / (worth + num_clean)


def settings_for(share: Tensor) -> Tensor:
    """(3,) ρ, δ and ξ for ω = ``share`` (0-dim)."""
    root = share.sqrt()
    return torch.stack([(1 - share) / 2, root, root])
