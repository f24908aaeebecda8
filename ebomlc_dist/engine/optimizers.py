"""torch's optimisers on flat vectors: one fused kernel each, skipped on the device where a step is not finite."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.numerics.flat import FlatModule
from ebomlc_dist.numerics.sgd import SgdRule


class FlatOptimizer:
    """One network's optimiser and schedule.

    The learning rate is a 0-dim tensor on the device, changed in place by the schedule, and a captured step follows.
    """

    def __init__(self, network: FlatModule, optimizer: Optimizer, milestones: list[int], decay: float) -> None:
        self.network = network
        self.optimizer = optimizer
        self.schedule = MultiStepLR(optimizer, milestones, gamma=decay)

    @property
    def rate(self) -> Tensor:
        """The current learning rate, 0-dim."""
        return self.optimizer.param_groups[0]["lr"]

    def apply(self, direction: Tensor, skip: Tensor) -> None:
        """Step along ``direction`` (P,); where ``skip`` (0-dim float) is 1, leave parameters and state as they are."""
        self.network.vector.grad = direction
        self.optimizer.found_inf = skip  # type: ignore[attr-defined]  # read by torch's fused kernels
        self.optimizer.step()

    def sgd_rule(self) -> SgdRule | None:
        """The rule of this optimiser where it is SGD, else None."""
        if not isinstance(self.optimizer, SGD):
            return None
        group = self.optimizer.param_groups[0]
        return SgdRule(
            rate=group["lr"],
            velocity=self.optimizer.state[self.network.vector]["momentum_buffer"],
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            nesterov=group["nesterov"],
        )

    def state(self) -> dict[str, Tensor]:
        """Every tensor that decides the next step: the optimiser's state and the current rate."""
        return {**self.optimizer.state[self.network.vector], "rate": self.rate}

    def load(self, state: Mapping[str, Tensor], epochs_done: int) -> None:
        """Copy `state` in; the schedule goes on after ``epochs_done`` epochs."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        self.schedule.last_epoch = epochs_done


def make_sgd(network: FlatModule, config: OptimConfig, epochs: int) -> FlatOptimizer:
    """SGD with momentum and weight decay on every parameter, stepped by the schedule of ``config``."""
    optimizer = SGD(
        [network.vector],
        lr=_rate(config.main_lr, network),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        fused=True,
    )
    # torch's fused kernel leaves the buffer uninitialised where the very first step is skipped.
    optimizer.state[network.vector]["momentum_buffer"] = torch.zeros_like(network.vector)
    return FlatOptimizer(network, optimizer, _milestones(config, epochs), config.decay)


def make_adam(network: FlatModule, config: OptimConfig, epochs: int) -> FlatOptimizer:
    """Adam for a meta model; its rate is constant unless ``meta_schedule`` is ``main``."""
    optimizer = Adam([network.vector], lr=_rate(config.meta_lr, network), fused=True)
    optimizer.state[network.vector].update(
        step=torch.zeros((), dtype=torch.float32, device=network.vector.device),
        exp_avg=torch.zeros_like(network.vector),
        exp_avg_sq=torch.zeros_like(network.vector),
    )
    milestones = _milestones(config, epochs) if config.meta_schedule == "main" else []
    return FlatOptimizer(network, optimizer, milestones, config.decay)


def _rate(value: float, network: FlatModule) -> Tensor:
    return torch.tensor(value, dtype=torch.float32, device=network.vector.device)


def _milestones(config: OptimConfig, epochs: int) -> list[int]:
    return [round(share * epochs) for share in config.milestones]
