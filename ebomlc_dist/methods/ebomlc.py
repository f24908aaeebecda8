"""EBOMLC: efficient bilevel optimisation for meta label correction (Algorithm 2).

A main model f_w learns from labels that a meta model g_α corrects. With F and G as in `label_correction`:

    Q(w, α) = G(w, α) − G(w', α),  w' = w − η_w∇_wG(w, α), a constant        value gap, eq. (8)
    β = max(0, δ − ⟨∇_wF, ∇_wQ⟩ / ‖∇Q‖²)                                    barrier coefficient, eq. (11)
    d_w = ∇_wF + ξβ∇_wQ,   d_α = ∇_αF + ξβ∇_αQ                              directions, eqs. (12)–(14)

d_w goes through SGD with momentum, d_α through Adam. G is linear in the soft labels, so with log-probabilities at w and
at w' in hand ∇_αQ is one backward pass through the meta model:

    Q = mean Σ_k g_k (log p_w' − log p_w)_k,   ∇_αQ = mean Σ_k (log p_w' − log p_w)_k ∇_α g_k.

The look-ahead is forward only, and a step costs 7 forward units (upper 3, lower 3, look-ahead 1).
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebomlc_dist.methods.contract import PairedBatch, Reducer, StepResult
from ebomlc_dist.methods.label_correction import CorrectorConfig, LabelCorrection
from ebomlc_dist.numerics.barrier import barrier_coefficient, gram
from ebomlc_dist.numerics.flat import FlatModule, gradient_at, gradients
from ebomlc_dist.numerics.sgd import SgdRule


class EbomlcConfig(CorrectorConfig):
    """EBOMLC's settings; the defaults are the paper's."""

    name: Literal["ebomlc"] = "ebomlc"
    value_gradient: Literal["stop_gradient", "difference"] = Field(
        "stop_gradient", description="∇_wQ: ∇_wG(w) as in BOME, or ∇_wG(w) − ∇_wG(w') as in the released code"
    )
    inner_steps: int = Field(1, ge=1, description="T, gradient steps from w to w'")
    barrier_cap: float | None = Field(None, gt=0.0, description="upper limit of β")


class Ebomlc(LabelCorrection):
    """The step of EBOMLC. See the module's equations."""

    Config: ClassVar = EbomlcConfig
    config: EbomlcConfig

    def step(
        self, networks: Mapping[str, FlatModule], rules: Mapping[str, SgdRule], batch: PairedBatch, reducer: Reducer
    ) -> StepResult:
        config, main, meta, noisy = self.config, networks["main"], networks["meta"], batch.noisy
        assert batch.clean is not None
        count = self.lower_count(batch)

        upper_sum = self.upper_sum(networks, batch.clean)
        upper = reducer.mean_of_sums([*gradients(upper_sum, [main, meta]), upper_sum.detach()], batch.clean.count)

        logits, features = main(noisy.images)
        soft_labels = meta(self.features(networks, noisy.images, features), noisy.labels).softmax(dim=1)
        lower_sum = self.lower_sum(main, batch, logits, soft_labels.detach())
        lower = reducer.mean_of_sums([*gradients(lower_sum, [main]), lower_sum.detach()], count)

        upper_main, upper_meta, upper_mean = upper.wait()
        lower_main, lower_mean = lower.wait()

        # w' and the lower objective there; its gradient only where ∇_wQ is read as a difference.
        ahead = self._inner_steps(main, rules["main"].rate, batch, soft_labels.detach(), lower_main, reducer)
        difference = config.value_gradient == "difference"
        with torch.set_grad_enabled(difference):
            ahead.requires_grad_(difference)
            ahead_logits, _ = main.at(ahead, noisy.images)
            ahead_sum = self.lower_sum(partial(main.at, ahead), batch, ahead_logits, soft_labels.detach())
        log_ratio = (ahead_logits.log_softmax(dim=1) - logits.log_softmax(dim=1)).detach()
        gap_sums = [
            *gradients(noisy.sum((log_ratio * soft_labels).sum(dim=1)), [meta]),
            (lower_sum - ahead_sum).detach(),
        ]
        if difference:
            gap_sums.append(gradient_at(ahead_sum, ahead, main))
        gap_meta, value_gap, *ahead_main = reducer.mean_of_sums(gap_sums, count).wait()
        gap_main = lower_main - ahead_main[0] if difference else lower_main

        products = gram(upper_main, upper_meta, gap_main, gap_meta)
        beta = barrier_coefficient(
            products.upper_gap_main, products.gap_gap, config.barrier_strength, config.barrier_cap
        )
        weight = (config.noisy_scale * beta).to(main.vector.dtype)
        return StepResult(
            directions={"main": upper_main + weight * gap_main, "meta": upper_meta + weight * gap_meta},
            metrics={
                "upper": upper_mean,
                "lower": lower_mean,
                "value_gap": value_gap,
                "barrier_coefficient": beta,
                "barrier_coefficient_is_zero": (beta == 0).double(),
                "upper_main_norm": torch.linalg.vector_norm(upper_main),
                "gap_main_norm": torch.linalg.vector_norm(gap_main),
                "gap_meta_norm": torch.linalg.vector_norm(gap_meta),
                "alignment": products.upper_gap_meta,
            },
            maxima={"barrier_coefficient": beta},
            corrected=soft_labels.argmax(dim=1),
        )

    def _inner_steps(
        self,
        main: FlatModule,
        rate: Tensor,
        batch: PairedBatch,
        soft_labels: Tensor,
        lower_main: Tensor,
        reducer: Reducer,
    ) -> Tensor:
        """w' (P,): T plain gradient steps on G from w, the first one along the gradient already in hand."""
        ahead = main.vector.detach() - rate * lower_main
        for _ in range(self.config.inner_steps - 1):
            ahead.requires_grad_()
            logits, _ = main.at(ahead, batch.noisy.images)
            lower_sum = self.lower_sum(partial(main.at, ahead), batch, logits, soft_labels)
            sums = [gradient_at(lower_sum, ahead, main)]
            (gradient,) = reducer.mean_of_sums(sums, self.lower_count(batch)).wait()
            ahead = ahead.detach() - rate * gradient
        return ahead
