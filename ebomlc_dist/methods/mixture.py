"""EBOMLC's upper objective, in which the corrector's prediction joins the main model's (eq. 9):

F(w, α) = mean CE(ρ·f_w(x_c) + (1−ρ)·g_α(h(x_c), y_c), y_c)
"""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import Batch, Networks
from ebomlc_dist.methods.label_correction import CorrectorConfig, LabelCorrection
from ebomlc_dist.numerics.losses import MixtureKind, mixture_cross_entropy


class MixtureConfig(CorrectorConfig):
    """What Algorithm 2 and the released step have in common."""

    mixture: Annotated[float, Field(ge=0.0, le=1.0)] = frame(0.2, "ρ, weight of the main prediction in F.")
    mixture_kind: MixtureKind = frame(
        "probability", "What ρ mixes: probabilities, logits, losses, or as the released code."
    )
    barrier_strength: Annotated[float, Field(ge=0.0)] = frame(0.25, "δ, strength of the barrier.")
    noisy_scale: Annotated[float, Field(gt=0.0, le=1.0)] = frame(0.5, "ξ, factor of β in the step.")


class MixtureCorrection(LabelCorrection):
    """Label correction with the mixture upper objective."""

    config: MixtureConfig

    def upper_sum(self, networks: Networks, clean: Batch, shown: Tensor, mixture: float | Tensor) -> Tensor:
        """Sum of F with ρ = ``mixture``, differentiable in w and α; the corrector is ``shown`` (n,) int64 labels."""
        logits, features = networks["main"](clean.images)
        meta_logits = networks["meta"](self.features(networks, clean.images, features), shown)
        return clean.sum(mixture_cross_entropy(logits, meta_logits, clean.labels, mixture, self.config.mixture_kind))
