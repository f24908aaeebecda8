"""One step of any method: propose, check, apply. No host sync from beginning to end."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType

import torch
from torch import Tensor

from ebomlc_dist.engine.optimizers import FlatOptimizer
from ebomlc_dist.engine.weight_average import WeightAverage
from ebomlc_dist.methods.contract import Method, PairedBatch, Reducer
from ebomlc_dist.numerics.loss_scale import LossScale
from ebomlc_dist.numerics.network import Network


@dataclass(frozen=True)
class StepOutcome:
    """What a step leaves behind, all on the device.

    Attributes:
        metrics: name → 0-dim, global values.
        maxima: the same, for figures whose largest value matters.
        corrected: (n,) int64 labels the method believes, or None.
        skipped: 0-dim bool, the same on every rank.
    """

    metrics: Mapping[str, Tensor]
    maxima: Mapping[str, Tensor]
    corrected: Tensor | None
    skipped: Tensor


class TrainStep:
    """Applies a method's proposal through the optimisers.

    A proposal that is not finite on any rank is not finite in the reduced values, hence on every rank: all of them skip
    together, and parameters, optimiser state, running statistics and the method's state stay as they were.
    """

    def __init__(
        self,
        method: Method,
        networks: Mapping[str, Network],
        optimizers: Mapping[str, FlatOptimizer],
        reducer: Reducer,
        loss_scale: LossScale | None,
        averages: Mapping[str, WeightAverage] = MappingProxyType({}),
    ) -> None:
        self.method = method
        self.networks = networks
        self.optimizers = optimizers
        self.reducer = reducer
        self.loss_scale = loss_scale
        self.averages = averages

    def __call__(self, batch: PairedBatch) -> StepOutcome:
        before = {name: network.statistics.clone() for name, network in self.networks.items()}
        rules = {name: optimizer.rule() for name, optimizer in self.optimizers.items()}
        result = self.method.step(self.networks, rules, batch, self.reducer)
        norms = [self.networks[name].norm(direction) for name, direction in result.directions.items()]
        # Two launches where `isfinite` takes four: a norm is never negative, and NaN is below nothing.
        skipped = ~(reduce(torch.maximum, norms) < torch.inf)
        rest = skipped.float()
        with torch.no_grad():
            for name, origin in result.start_points.items():
                vector = self.networks[name].vector
                vector.copy_(torch.where(skipped, vector, origin))
            for name, direction in result.directions.items():
                own = result.skip_update.get(name)
                self.optimizers[name].apply(direction, rest if own is None else (skipped | own).float())
            for name, network in self.networks.items():
                network.statistics.copy_(torch.where(skipped, before[name], network.statistics))
            for name, value in result.state.items():
                old = self.method.state[name]
                old.copy_(torch.where(skipped, old, value))
            for average in self.averages.values():
                average.update(skipped)
        if self.loss_scale is not None:
            self.loss_scale.update(skipped)
        return StepOutcome(result.metrics, result.maxima, result.corrected, skipped)
