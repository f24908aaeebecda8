"""A fixed-weight sum of cross entropy on trusted and on noisy labels: the baseline of every weighting rule.

    L(w) = λ·mean CE(f_w(x_c), y_c) + (1−λ)·mean CE(f_w(x_n), ỹ),   d_w = ∇_wL

The first mean is over the clean batch, the second over the noisy one. λ = 1 is `ce-clean` with the clean batch's size,
λ = 0 is `ce`, but for running statistics, which both passes move. The two means are reduced apart, the first on its way
while the noisy pass runs.
Cost: 6 forward units. Reductions: 2.
"""

from typing import ClassVar, Literal

from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import (
    Batch,
    Method,
    MethodConfig,
    Networks,
    PairedBatch,
    Reducer,
    Rules,
    StepResult,
    Streams,
)
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.numerics.network import Network, gradients
from ebomlc_dist.numerics.overlap import overlap


class WeightedCrossEntropyConfig(MethodConfig):
    """Settings of `ce-weighted`."""

    name: Literal["ce-weighted"] = "ce-weighted"
    clean_weight: float = frame(
        0.5, "λ, weight of the trusted labels; that of the noisy ones is 1 − λ.", ge=0.0, le=1.0
    )


class WeightedCrossEntropy(Method):
    """The step of `ce-weighted`. See the module's equation."""

    Config: ClassVar = WeightedCrossEntropyConfig
    config: WeightedCrossEntropyConfig
    streams = Streams(clean=True)
    main_optimizers = ("sgd", "adam")
    smooths = True

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        main, weight = networks["main"], self.config.clean_weight
        assert batch.clean is not None
        clean = batch.clean
        clean_mean = overlap(
            main.vector.device,
            lambda: _loss_sum(main, clean),
            lambda total: reducer.mean_of_sums([*gradients(total, [main]), total.detach()], clean.count),
        )
        loss_sum = _loss_sum(main, batch.noisy)
        noisy_mean = reducer.mean_of_sums([*gradients(loss_sum, [main]), loss_sum.detach()], batch.noisy.count)
        clean_gradient, clean_loss = clean_mean().wait()
        noisy_gradient, noisy_loss = noisy_mean.wait()
        direction = weight * clean_gradient + (1 - weight) * noisy_gradient
        return StepResult(
            directions={"main": direction},
            metrics={
                "upper": clean_loss,
                "lower": noisy_loss,
                "upper_main_norm": main.norm(clean_gradient),
                "lower_main_norm": main.norm(noisy_gradient),
            },
        )


def _loss_sum(main: Network, batch: Batch) -> Tensor:
    return batch.sum(cross_entropy(main(batch.images)[0], batch.labels, batch.smoothing))
