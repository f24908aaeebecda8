"""MLC-D: meta label correction with BOME's dynamic barrier (Algorithm 1).

With the plain upper objective F(w) = mean CE(f_w(x_c), y_c), the lower objective G of `ebomlc`, and Q its value gap
after T inner steps:

    β = max(0, δ − ⟨∇_wF, ∇_wQ⟩ / ‖∇Q‖²)        barrier coefficient, eq. (7); F does not depend on α
    d_w = ∇_wF + β∇_wQ,   d_α = β∇_αQ           directions, eq. (6)

The step ``mlcbome`` of EBOMLC's released code is another one. The first of its five inner steps is followed by an
optimiser step with the gradient that the previous training step left; momentum and weight decay act in the inner steps;
the corrected labels are formed anew in each; ∇Q is a difference. The paper's 62 to 68 % may be that step's.

Cost at T = 5: 19 forward units (upper 3, inner steps 15, the pass at w_T 1), 21 with `difference`. Reductions: T + 2.
"""

from typing import ClassVar, Literal

import torch

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import Networks, PairedBatch, Reducer, Rules, StepResult
from ebomlc_dist.methods.ebomlc import BarrierStrength, LabelCorrection, ValueGapConfig, barrier_metrics, value_gap
from ebomlc_dist.numerics.barrier import barrier_coefficient, barrier_direction, gram
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.numerics.overlap import overlap


class MlcDConfig(ValueGapConfig):
    """MLC-D's settings; the defaults are the paper's."""

    name: Literal["mlc-d"] = "mlc-d"
    inner_steps: int = frame(5, "T, gradient steps from w to w'.", ge=1)
    barrier_strength: BarrierStrength = 0.5


class MlcD(LabelCorrection):
    """The step of MLC-D. See the module's equations."""

    Config: ClassVar = MlcDConfig
    config: MlcDConfig

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        config, main = self.config, networks["main"]
        assert batch.clean is not None

        clean = batch.clean
        upper = overlap(
            main.vector.device,
            lambda: self.objectives.clean_sum(main, clean),
            lambda total: reducer.mean_of_sums([*gradients(total, [main]), total.detach()], clean.count),
        )
        gap = value_gap(self.objectives, config, networks, rules["main"].rate, batch, reducer)
        upper_main, upper_mean = upper().wait()

        upper_meta = torch.zeros_like(gap.meta)
        products = gram(upper_main, upper_meta, gap.main, gap.meta, main.dots)
        beta = barrier_coefficient(
            products.upper_gap_main, products.gap_gap, config.barrier_strength, config.barrier_cap
        )
        return StepResult(
            directions={
                "main": barrier_direction(upper_main, gap.main, beta),
                "meta": barrier_direction(upper_meta, gap.meta, beta),
            },
            metrics=barrier_metrics(upper_mean, gap, products, beta),
            maxima={"barrier_coefficient": beta},
            corrected=gap.corrected,
        )
