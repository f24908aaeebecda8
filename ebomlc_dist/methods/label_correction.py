"""What the label-correcting methods share: the lower objective, and the label a trained corrector gives.

With main model f_w, label corrector g_α, and features h(x) through which no gradient flows:

    G(w, α) = mean softCE(f_w(x_n), g_α(h(x_n), ỹ))      lower objective, over the noisy batch
    F(w)    = mean CE(f_w(x_c), y_c)                     plain upper objective, over the clean batch

EBOMLC's upper objective mixes in the corrector: `ebomlc_dist.methods.mixture`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from ebomlc_dist.fields import frame, shared
from ebomlc_dist.methods.contract import Batch, Method, MethodConfig, Networks, PairedBatch, Streams
from ebomlc_dist.numerics.losses import cross_entropy, soft_cross_entropy

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
LowerObjective = Annotated[
    Literal["noisy", "with_clean"],
    shared("with_clean: half of each clean batch joins the lower objective as cross entropy."),
]


class CorrectorConfig(MethodConfig):
    """What every method with a label corrector chooses."""

    features: Literal["main", "frozen"] = frame("main", "Features h(x): the main model's, or a frozen extractor's.")
    extractor: Path | None = frame(None, "Model folder of the frozen extractor, such as RUN/model.")
    extractor_images: Literal["clean", "noisy"] | None = frame(
        None, "Train the frozen extractor first, by cross entropy on these images.", before=None
    )
    lower_objective: LowerObjective = "noisy"

    @model_validator(mode="after")
    def _extractor_is_given_where_needed(self) -> Self:
        known = self.extractor is not None or self.extractor_images is not None
        if (self.features == "frozen") != known:
            raise ValueError(
                "features 'frozen' and an extractor go together (method.extractor=RUN/model, or one that is trained "
                "first: method.extractor_images=clean or noisy)"
            )
        return self


class LabelCorrection(Method):
    """The objectives over one rank's samples, as sums."""

    def __init__(self, config: CorrectorConfig) -> None:
        super().__init__(config)
        self.networks: tuple[str, ...] = ("main", "meta") + (("extractor",) if config.features == "frozen" else ())
        self.streams = Streams(clean=True, lower_clean=config.lower_objective == "with_clean")

    def clean_sum(self, forward: Forward, clean: Batch) -> Tensor:
        """Sum of plain cross entropy on trusted labels under ``forward``, such as the upper objective F."""
        logits, _ = forward(clean.images)
        return clean.sum(cross_entropy(logits, clean.labels))

    def features(self, networks: Networks, images: Tensor, main_features: Tensor) -> Tensor:
        """h(x), (n, D), without a gradient."""
        if self.config.features == "main":
            return main_features.detach()
        with torch.no_grad():
            return networks["extractor"](images)[1]

    def soft_labels(self, answers: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """What G asks for on noisy images, (n, K): g_α's ``answers`` (n, K), in which it is linear.

        ``logits``: the main model's, (n, K). ``labels``: the given ones, (n,) int64.
        """
        return answers

    def corrected_labels(self, answers: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """What is believed of the true labels, (n, K), on the simplex. Arguments as for `soft_labels`."""
        return answers

    def lower_sum(self, forward: Forward, batch: PairedBatch, logits: Tensor, soft_labels: Tensor) -> Tensor:
        """Sum of G for ``logits`` (n, K) of the noisy images under ``forward``, with (n, K) soft labels.

        Where the lower objective includes clean images, their plain cross entropy under ``forward`` joins the sum.
        """
        total = batch.noisy.sum(soft_cross_entropy(logits.log_softmax(dim=1), soft_labels))
        if batch.lower_clean is None:
            return total
        return total + self.clean_sum(forward, batch.lower_clean)

    def lower_count(self, batch: PairedBatch) -> int:
        """How many of this rank's samples `lower_sum` runs over."""
        return batch.noisy.count + (batch.lower_clean.count if batch.lower_clean is not None else 0)

    def corrected_probabilities(
        self, networks: Networks, logits: Tensor, features: Tensor, labels: Tensor
    ) -> Tensor | None:
        """What is believed of the true labels, (n, K)."""
        return self.corrected_labels(networks["meta"](features, labels).softmax(dim=1), logits, labels)
