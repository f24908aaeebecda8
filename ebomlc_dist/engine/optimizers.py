"""torch's optimisers on flat vectors: one fused kernel each, skipped on the device where a step is not finite."""

import math
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.graph import increment_version
from torch.optim import SGD, Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, MultiStepLR

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.numerics.adam import AdamRule
from ebomlc_dist.numerics.network import Network
from ebomlc_dist.numerics.sgd import SgdRule

Unit = Literal["epoch", "step"]
"""What a schedule counts."""
WARMUP_START = 0.2


class FlatOptimizer:
    """One network's optimiser and schedule.

    The learning rate is a 0-dim tensor on the device, changed in place by the schedule, and a captured step follows.

    Args:
        network: what it moves.
        optimizer: torch's, over the network's vector alone, with its state in place.
        schedule: moves the rate when a ``unit`` has ended.
        late_beta1: Adam's μ₁ from place ``late_from`` of the schedule on; None where it stays.
        decayed_twice: factor of the rate that `rule` tells in the epoch after a milestone; 1 where it tells the rate.
        unit: what the schedule counts.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Optimizer,
        schedule: LRScheduler,
        late_beta1: float | None = None,
        late_from: int = 0,
        decayed_twice: float = 1.0,
        unit: Unit = "epoch",
    ) -> None:
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self._first_rate = self.rate.clone()
        self._late_beta1, self._late_from = late_beta1, late_from
        self.unit = unit
        self._first_betas = self._group.get("betas")
        self._decayed_twice = decayed_twice

    @property
    def rate(self) -> Tensor:
        """The current learning rate, 0-dim."""
        return self._group["lr"]

    @property
    def _group(self) -> dict:
        return self.optimizer.param_groups[0]

    def apply(self, direction: Tensor, skip: Tensor) -> None:
        """Step along ``direction`` (P,); where ``skip`` (0-dim float) is 1, leave parameters and state as they are."""
        self.network.vector.grad = direction
        self.optimizer.found_inf = skip  # type: ignore[attr-defined]  # read by torch's fused kernels
        self.optimizer.step()
        # A vector less to hold until the next step.
        self.network.vector.grad = None
        # A spread network asks the version whether its vector moved; the fused kernels do not count.
        increment_version(self.network.vector)

    @property
    def constants(self) -> Hashable:
        """Return the Python numbers that a recorded step contains. While they stay equal, the recording is valid."""
        own = tuple((key, value) for key, value in self._group.items() if isinstance(value, int | float | tuple))
        return *own, self._rule_factor

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Allow a CUDA graph to record `apply` within the block; torch refuses an Adam that was not prepared."""
        if "capturable" not in self._group:
            yield
            return
        self._group["capturable"] = True
        try:
            yield
        finally:
            self._group["capturable"] = False

    def rule(self) -> SgdRule | AdamRule:
        """Return what the optimiser would do with a gradient; follows its state."""
        group, state = self._group, self.optimizer.state[self.network.vector]
        if isinstance(self.optimizer, SGD):
            factor = self._rule_factor
            return SgdRule(
                rate=group["lr"] if factor == 1 else factor * group["lr"],
                velocity=state["momentum_buffer"],
                momentum=group["momentum"],
                weight_decay=group["weight_decay"],
                nesterov=group["nesterov"],
            )
        return AdamRule(
            rate=group["lr"],
            steps=state["step"],
            first=state["exp_avg"],
            second=state["exp_avg_sq"],
            largest=state.get("max_exp_avg_sq"),
            betas=group["betas"],
            epsilon=group["eps"],
            weight_decay=group["weight_decay"],
        )

    def end(self, unit: Unit) -> None:
        """Move the learning rate by the schedule where a ``unit`` of it has ended."""
        if unit == self.unit:
            self.schedule.step()
            self._follow_beta1()

    def restart(self) -> None:
        """Forget every step: state, rate and schedule as at the beginning."""
        for tensor in self.optimizer.state[self.network.vector].values():
            tensor.zero_()
        self.rate.copy_(self._first_rate)
        self._at(0)

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that decides the next step: the optimiser's state and the current rate."""
        return {**self.optimizer.state[self.network.vector], "rate": self.rate}

    def load(self, state: Mapping[str, Tensor], done: int) -> None:
        """Copy `state` in; the schedule goes on after ``done`` of its units."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
        self._at(done)

    @property
    def _rule_factor(self) -> float:
        """What torch's ``MultiStepLR.get_lr()`` gives over the rate: at a milestone it is decayed once more."""
        schedule = self.schedule
        at_milestone = isinstance(schedule, MultiStepLR) and schedule.last_epoch in schedule.milestones
        return self._decayed_twice if at_milestone else 1.0

    def _at(self, done: int) -> None:
        self.schedule.last_epoch = done
        self._follow_beta1()

    def _follow_beta1(self) -> None:
        if self._late_beta1 is not None and self._first_betas is not None:
            late = self.schedule.last_epoch >= self._late_from
            self._group["betas"] = (self._late_beta1 if late else self._first_betas[0], self._first_betas[1])


def make_main_optimizer(network: Network, config: OptimConfig, length: int) -> FlatOptimizer:
    """Return the optimiser of a main model: SGD with momentum, or Adam; weight decay on every parameter.

    Args:
        network: what it moves.
        config: its settings.
        length: of one stage of the run, in units of its schedule.
    """
    unit = config.schedule_unit
    if config.main_optimizer == "adam":
        adam = _adam(network, config.main_lr, config.weight_decay, amsgrad=False)
        late_from = round(min(config.milestones, default=1.0) * length)
        return FlatOptimizer(network, adam, _schedule(adam, config, length), config.late_beta1, late_from, unit=unit)
    sgd = SGD(
        [network.vector],
        lr=_rate(config.main_lr, network),
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        fused=True,
    )
    # torch's fused kernel leaves the buffer uninitialised where the very first step is skipped.
    sgd.state[network.vector]["momentum_buffer"] = torch.zeros_like(network.vector)
    decayed_twice = config.decay if config.look_ahead_rate == "get_lr" else 1.0
    return FlatOptimizer(network, sgd, _schedule(sgd, config, length), decayed_twice=decayed_twice, unit=unit)


def make_meta_optimizer(network: Network, config: OptimConfig, length: int) -> FlatOptimizer:
    """Adam for a meta model; its rate is constant unless ``meta_schedule`` is ``main``."""
    adam = _adam(network, config.meta_lr, config.meta_weight_decay, config.meta_amsgrad)
    schedule = _schedule(adam, config, length) if config.meta_schedule == "main" else MultiStepLR(adam, [])
    return FlatOptimizer(network, adam, schedule, unit=config.schedule_unit)


MAKERS = {"main": make_main_optimizer, "peer": make_main_optimizer, "meta": make_meta_optimizer}
"""Network name → its optimiser; a network that is not here is not trained."""


def _adam(network: Network, rate: float, weight_decay: float, amsgrad: bool) -> Adam:
    optimizer = Adam([network.vector], lr=_rate(rate, network), weight_decay=weight_decay, amsgrad=amsgrad, fused=True)
    names = ["exp_avg", "exp_avg_sq"] + (["max_exp_avg_sq"] if amsgrad else [])
    optimizer.state[network.vector].update(
        step=torch.zeros((), dtype=torch.float32, device=network.vector.device),
        **{name: torch.zeros_like(network.vector) for name in names},
    )
    return optimizer


def _schedule(optimizer: Optimizer, config: OptimConfig, length: int) -> LRScheduler:
    """``step``: ×decay after each milestone. ``cosine``: to zero. ``linear``: to zero from the first milestone on.

    With a warm-up the rate first grows in a line from a fifth of its value, and the rest of the run has the schedule.
    ``length`` and the schedule's places are epochs or steps.
    """
    warm = round(config.warmup * length)
    if warm:
        rest = _factor(config, length - warm)
        return LambdaLR(
            optimizer,
            lambda place: WARMUP_START + (1 - WARMUP_START) * place / warm if place < warm else rest(place - warm),
        )
    if config.schedule == "cosine":
        return CosineAnnealingLR(optimizer, length)
    if config.schedule == "linear":
        return LambdaLR(optimizer, _factor(config, length))
    return MultiStepLR(optimizer, _milestones(config, length), gamma=config.decay)


def _factor(config: OptimConfig, length: int) -> Callable[[int], float]:
    """Place in a schedule of ``length`` → factor of the rate there."""
    milestones = _milestones(config, length)
    start = min(milestones, default=0)
    if config.schedule == "cosine":
        return lambda place: (1 + math.cos(math.pi * place / max(length, 1))) / 2
    if config.schedule == "linear":
        return lambda place: min(1.0, (length - place) / max(length - start, 1))
    return lambda place: config.decay ** sum(place >= milestone for milestone in milestones)


def _milestones(config: OptimConfig, length: int) -> list[int]:
    return [round(share * length) for share in config.milestones]


def _rate(value: float, network: Network) -> Tensor:
    return torch.tensor(value, dtype=torch.float32, device=network.vector.device)
