"""Dynamic loss scaling for fp16, kept on the device.

The inner products of a dynamic barrier are quadratic in the gradients, so they are never formed from scaled ones:
`ebomlc_dist.numerics.network.gradients` divides the scale out in float32 before anything is squared or multiplied.
"""

import torch
from torch import Tensor


class LossScale:
    """A power of two that grows after ``growth_interval`` good steps and halves after a bad one.

    Attributes:
        value: 0-dim float32, the current scale.
        good_steps: 0-dim float32, good steps since the last change.
    """

    def __init__(self, device: torch.device, initial: float = 2.0**12, growth_interval: int = 2000) -> None:
        self.value = torch.full((), initial, device=device)
        self.good_steps = torch.zeros((), device=device)
        self.growth_interval = growth_interval

    def update(self, bad: Tensor) -> None:
        """Follow one step. ``bad``: 0-dim bool, whether the step was not finite on some rank."""
        good_steps = torch.where(bad, 0.0, self.good_steps + 1)
        grow = good_steps >= self.growth_interval
        self.value.mul_(torch.where(bad, 0.5, torch.where(grow, 2.0, 1.0))).clamp_(min=1.0, max=2.0**24)
        self.good_steps.copy_(torch.where(grow, 0.0, good_steps))
