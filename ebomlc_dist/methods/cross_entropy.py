"""Plain cross entropy: the floor, and two references that bound every table.

    L(w) = mean CE(f_w(x), y),   d_w = ∇_wL

with y the noisy label (`ce`), the trusted label on the trusted images alone (`ce-clean`), or the true label
(`ce-oracle`). Cost: 3 forward units.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ebomlc_dist.methods.contract import MethodConfig, PairedBatch, Reducer, StepResult, Streams
from ebomlc_dist.numerics.flat import FlatModule, gradients
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.numerics.sgd import SgdRule


class CrossEntropyConfig(MethodConfig):
    """No settings of its own."""

    name: Literal["ce"] = "ce"


class CrossEntropyCleanConfig(MethodConfig):
    """No settings of its own."""

    name: Literal["ce-clean"] = "ce-clean"


class CrossEntropyOracleConfig(MethodConfig):
    """No settings of its own."""

    name: Literal["ce-oracle"] = "ce-oracle"


class CrossEntropy:
    """Cross entropy on whatever labels its stream carries."""

    Config: ClassVar[type[MethodConfig]] = CrossEntropyConfig
    networks: tuple[str, ...] = ("main",)
    streams = Streams()

    def __init__(self, config: MethodConfig) -> None:
        self.config = config

    def step(
        self, networks: Mapping[str, FlatModule], rules: Mapping[str, SgdRule], batch: PairedBatch, reducer: Reducer
    ) -> StepResult:
        main, noisy = networks["main"], batch.noisy
        logits, _ = main(noisy.images)
        loss_sum = noisy.sum(cross_entropy(logits, noisy.labels))
        sums = [*gradients(loss_sum, [main]), loss_sum.detach()]
        direction, loss = reducer.mean_of_sums(sums, noisy.count).wait()
        return StepResult(
            directions={"main": direction},
            metrics={"lower": loss, "lower_main_norm": torch.linalg.vector_norm(direction)},
        )

    def corrected_probabilities(
        self, networks: Mapping[str, FlatModule], logits: Tensor, features: Tensor, labels: Tensor
    ) -> Tensor | None:
        return None


class CrossEntropyClean(CrossEntropy):
    """The same step on the trusted images alone, for as many steps as every other method."""

    Config = CrossEntropyCleanConfig
    streams = Streams(noisy_images="clean")


class CrossEntropyOracle(CrossEntropy):
    """The same step on the true labels of the noisy images."""

    Config = CrossEntropyOracleConfig
    streams = Streams(noisy_labels="true")
