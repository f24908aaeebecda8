"""Adam's own rule, for steps that need a network as it will be (Kingma & Ba 2015; Reddi et al. 2018 for AMSGrad).

m ← μ₁m + (1 − μ₁)g,   s ← μ₂s + (1 − μ₂)g²,   g: the gradient + λ·parameters
step = η · (m / (1 − μ₁ᵗ)) / (√(s / (1 − μ₂ᵗ)) + ε)
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class AdamRule:
    """What Adam would do with a gradient, read without changing anything.

    Attributes:
        rate: η, 0-dim tensor on the device, follows the schedule.
        steps: t − 1, 0-dim, steps done.
        first, second: m and s, (P,).
        largest: AMSGrad's running maximum of s, (P,), or None.
        betas: μ₁, μ₂.
        epsilon: ε.
        weight_decay: λ.
    """

    rate: Tensor
    steps: Tensor
    first: Tensor
    second: Tensor
    largest: Tensor | None
    betas: tuple[float, float]
    epsilon: float
    weight_decay: float

    def step(self, gradient: Tensor, point: Tensor) -> Tensor:
        """(P,): what would be subtracted from ``point`` (P,) for ``gradient`` (P,)."""
        decayed = gradient + self.weight_decay * point
        beta1, beta2 = self.betas
        first = beta1 * self.first + (1 - beta1) * decayed
        second = beta2 * self.second + (1 - beta2) * decayed.square()
        if self.largest is not None:
            second = torch.maximum(second, self.largest)
        time = self.steps.double() + 1
        unbiased = first / (1 - beta1**time).to(first.dtype)
        return self.rate * unbiased / ((second / (1 - beta2**time).to(first.dtype)).sqrt() + self.epsilon)
