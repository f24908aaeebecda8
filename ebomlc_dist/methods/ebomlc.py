"""EBOMLC: efficient bilevel optimisation for meta label correction (Algorithm 2).

A main model f_w learns from labels that a meta model g_α corrects. With G as in
`label_correction` and F as in `mixture`:

    Q(w, α) = G(w, α) − G(w', α),  w' = w − η_w∇_wG(w, α), a constant        value gap, eq. (8)
    β = max(0, δ − ⟨∇_wF, ∇_wQ⟩ / ‖∇Q‖²)                                    barrier coefficient, eq. (11)
    d_w = ∇_wF + ξβ∇_wQ,   d_α = ∇_αF + ξβ∇_αQ                              directions, eqs. (12)–(14)

d_w goes through SGD with momentum, d_α through Adam. The value gap is `value_gap`'s; a step costs 7 forward units
(upper 3, lower 3, look-ahead 1).
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ebomlc_dist.methods.contract import Networks, PairedBatch, Reducer, Rules, StepResult
from ebomlc_dist.methods.mixture import MixtureConfig, MixtureCorrection
from ebomlc_dist.methods.value_gap import ValueGapConfig, barrier_metrics, value_gap
from ebomlc_dist.numerics.barrier import barrier_coefficient, barrier_direction, gram
from ebomlc_dist.numerics.beside import beside
from ebomlc_dist.numerics.network import gradients


class EbomlcConfig(MixtureConfig, ValueGapConfig):
    """EBOMLC's settings; the defaults are the paper's."""

    name: Literal["ebomlc"] = "ebomlc"


@dataclass(frozen=True)
class StepSettings:
    """ρ, δ and ξ of one step: numbers, or 0-dim tensors on the device, the same on every rank."""

    mixture: float | Tensor
    barrier_strength: float | Tensor
    noisy_scale: float | Tensor


class Ebomlc(MixtureCorrection):
    """The step of EBOMLC. See the module's equations."""

    Config: ClassVar = EbomlcConfig
    config: EbomlcConfig

    def shown_labels(self, batch: PairedBatch) -> Tensor:
        """(n,) int64, the labels that the corrector is shown on the clean images: the true ones."""
        assert batch.clean is not None
        return batch.clean.labels

    def own_metrics(self) -> dict[str, Tensor]:
        """Further figures of a step, see `StepResult.metrics`."""
        return {}

    def settings(self) -> StepSettings:
        """What this step takes for ρ, δ and ξ: the configured values."""
        config = self.config
        return StepSettings(config.mixture, config.barrier_strength, config.noisy_scale)

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        config, settings, main, meta = self.config, self.settings(), networks["main"], networks["meta"]
        assert batch.clean is not None

        clean = batch.clean
        upper = beside(
            main.vector.device,
            lambda: self.upper_sum(networks, clean, self.shown_labels(batch), settings.mixture),
            lambda total: reducer.mean_of_sums([*gradients(total, [main, meta]), total.detach()], clean.count),
        )
        gap = value_gap(self, config, networks, rules["main"].rate, batch, reducer)
        upper_main, upper_meta, upper_mean = upper().wait()

        products = gram(upper_main, upper_meta, gap.main, gap.meta, main.dots)
        beta = barrier_coefficient(
            products.upper_gap_main, products.gap_gap, settings.barrier_strength, config.barrier_cap
        )
        weight = (settings.noisy_scale * beta).to(main.vector.dtype)
        return StepResult(
            directions={
                "main": barrier_direction(upper_main, gap.main, weight),
                "meta": barrier_direction(upper_meta, gap.meta, weight),
            },
            metrics=barrier_metrics(upper_mean, gap, products, beta)
            | {"upper_meta_norm": torch.linalg.vector_norm(upper_meta), "alignment": products.upper_gap_meta}
            | self.own_metrics(),
            maxima={"barrier_coefficient": beta},
            corrected=gap.corrected,
        )
