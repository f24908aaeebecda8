"""Cross entropy on the noisy labels, then fine-tuning on the trusted images alone: what a practitioner does first.

    epochs 1 … e:        L(w) = mean CE(f_w(x_n), ỹ)        noisy images, noisy labels, as `ce`
    epochs e + 1 … E:    L(w) = mean CE(f_w(x_c), y_c)      trusted images alone, as `ce-clean`
    e = round((1 − s)·E),  1 ≤ e < E,   d_w = ∇_wL          s: ``finetune_share`` of the E epochs

One run, one optimiser and one learning-rate schedule, so that the whole costs what `ce` costs. The default s = 1/3
starts the fine-tuning where the common step schedule first reduces the rate: it runs at a tenth of the rate, and ends
at a hundredth. An epoch has as many steps in both parts.
Cost: 3 forward units. Reductions: 1.
"""

from typing import Literal

from ebomlc_dist.errors import InputError
from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import DatasetReducer, MethodConfig, Networks, Streams
from ebomlc_dist.methods.cross_entropy import CrossEntropy


class FineTuningConfig(MethodConfig):
    """Settings of `ce-finetune`."""

    name: Literal["ce-finetune"] = "ce-finetune"
    finetune_share: float = frame(
        1 / 3, "s, share of the epochs, the last ones, on the trusted images alone.", gt=0.0, lt=1.0
    )


class FineTuning(CrossEntropy):
    """The step of `ce` on the stream that the epoch asks for. See the module's equations."""

    Config = FineTuningConfig
    config: FineTuningConfig

    def _streams(self) -> Streams:
        return Streams()

    def enter_epoch(self, epoch: int, epochs: int) -> None:
        super().enter_epoch(epoch, epochs)
        first = min(max(round((1 - self.config.finetune_share) * epochs), 1), max(epochs - 1, 1))
        self.streams = Streams(noisy_images="clean" if epoch >= first else "noisy")

    def begin_epoch(self, networks: Networks, interlude: DatasetReducer) -> None:
        if self.epochs < 2:
            raise InputError(
                "ce-finetune needs two epochs, one on noisy labels and one on trusted images, and the run has "
                f"{self.epochs}; set at least 2 (--epochs 2)"
            )
