"""SGD's own rule, for look-aheads that follow it instead of the plain gradient step."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class SgdRule:
    """What SGD would do with a gradient, read without changing anything.

    Attributes:
        rate: η, 0-dim tensor on the device, follows the schedule.
        velocity: m (P,), the momentum buffer.
        momentum: μ.
        weight_decay: λ.
        nesterov: whether the step looks along the new velocity once more.
    """

    rate: Tensor
    velocity: Tensor
    momentum: float
    weight_decay: float
    nesterov: bool = False

    @property
    def sensitivity(self) -> Tensor:
        """The derivative of `step` with respect to the gradient, 0-dim: η, with nesterov η(1 + μ)."""
        return self.rate * (1 + self.momentum) if self.nesterov else self.rate

    def step(self, gradient: Tensor, point: Tensor) -> Tensor:
        """η·(g + λw + μm), (P,): what would be subtracted from ``point`` (P,) for ``gradient`` (P,)."""
        decayed = gradient + self.weight_decay * point
        velocity = decayed + self.momentum * self.velocity
        return self.rate * (decayed + self.momentum * velocity if self.nesterov else velocity)
