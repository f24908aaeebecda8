"""Plain cross entropy: the floor, and two references that bound every table.

    L(w) = mean CE(f_w(x), y),   d_w = ∇_wL         y smoothed by ``train.label_smoothing``

with y the noisy label (`ce`), the trusted label on the trusted images alone (`ce-clean`), or the true label
(`ce-oracle`). Where `ce`'s ``clean_images`` is ``labelled``, the trusted images join the noisy ones with their labels.
Cost: 3 forward units.
"""

from typing import ClassVar, Literal

from ebomlc_dist.methods.contract import (
    CleanImages,
    Method,
    MethodConfig,
    Networks,
    PairedBatch,
    Reducer,
    Rules,
    StepResult,
    Streams,
    joined_streams,
)
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.numerics.network import gradients


class CrossEntropyConfig(MethodConfig):
    """Settings of `ce`."""

    name: Literal["ce"] = "ce"
    clean_images: CleanImages = "unused"


class CrossEntropyCleanConfig(MethodConfig):
    """No settings of its own."""

    name: Literal["ce-clean"] = "ce-clean"


class CrossEntropyOracleConfig(MethodConfig):
    """No settings of its own."""

    name: Literal["ce-oracle"] = "ce-oracle"


class CrossEntropy(Method):
    """Cross entropy on whatever labels its stream carries."""

    Config: ClassVar[type[MethodConfig]] = CrossEntropyConfig
    main_optimizers = ("sgd", "adam")
    smooths = True

    def __init__(self, config: MethodConfig) -> None:
        super().__init__(config)
        self.streams = self._streams()

    def _streams(self) -> Streams:
        return joined_streams(self.config.clean_images)

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        main, noisy = networks["main"], batch.noisy
        logits, _ = main(noisy.images)
        loss_sum = noisy.sum(cross_entropy(logits, noisy.labels, noisy.smoothing))
        sums = [*gradients(loss_sum, [main]), loss_sum.detach()]
        direction, loss = reducer.mean_of_sums(sums, noisy.count).wait()
        return StepResult(
            directions={"main": direction},
            metrics={"lower": loss, "lower_main_norm": main.norm(direction)},
        )


class CrossEntropyClean(CrossEntropy):
    """The same step on the trusted images alone, for as many steps as every other method."""

    Config = CrossEntropyCleanConfig

    def _streams(self) -> Streams:
        return Streams(noisy_images="clean")


class CrossEntropyOracle(CrossEntropy):
    """The same step on the true labels of the noisy images."""

    Config = CrossEntropyOracleConfig

    def _streams(self) -> Streams:
        return Streams(noisy_labels="true")
