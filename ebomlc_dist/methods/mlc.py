"""MLC: meta label correction by a hypergradient (Zheng et al. 2021, "Meta Label Correction for Noisy Label Learning").

With the lower objective G of `ebomlc` and the plain upper objective F(w) = mean CE(f_w(x_c), y_c), one step is

    w' = w − η·(momentum·velocity + ∇_wG(w, α) + decay·w),   v = ∇_wF(w')
    D = −η∇_α⟨∇_wG(w, α), v⟩                     hypergradient of F(w'(α)), see `look_ahead`
    d_w = ∇_wG(w, α),   d_α = D

F drives the meta model alone.

The defaults are those of the authors' code (github.com/microsoft/MLC, ``hmlc_K_mix``), which EBOMLC's authors run as
well. Half of each clean batch joins G as cross entropy, weighted by counts: the main model learns from trusted labels
too. w' is where SGD itself would go. ``lower_objective=noisy`` and ``look_ahead=plain`` are the bare equations, in
which the main model learns from the corrector alone and w' = w − η∇_wG(w, α).

Their commands for CIFAR are the common frame, so there is no ``own_frame``: ResNet-32, 120 epochs, SGD 0.1 with ×0.1
after 80 and 100, momentum 0.9, weight decay 5e-4, batches of 100 noisy and 100 clean images, Adam 3e-4, K = 1.

K > 1. α is held for K steps of w and then moved once, by the derivative of F after the K-th step. As w depends on α
already, through the earlier steps since α moved,

    ∂w'/∂α = (I − η∇²_wG) ∂w/∂α − η∇_α∇_wG,   D_t = v·(I − η∇²_wG) ∂w/∂α − η∇_α⟨∇_wG, v⟩

The paper takes the Hessian as I and v·(1 − η) as its part along g = ∇_wF(w), because g·∂w/∂α is what the step before
has left behind:

    D_t = γD_{t−1} − η∇_α⟨∇_wG(w, α), v⟩,   γ = ⟨(1 − η)v, g⟩ / ‖g‖²,   D_0 = 0 where α has just moved

g is taken on this step's clean batch.

Cost: 7 forward units with ``finite_difference``, 9 with ``forward_mode``, 10 with ``double_backward``; 1.5 more
at K > 1, and 3 more without the clean half. Reductions: 3, and one more at K > 1.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import Networks, PairedBatch, Reducer, Rules, StepResult, Task
from ebomlc_dist.methods.ebomlc import CorrectorConfig, LabelCorrection, LowerObjective
from ebomlc_dist.methods.look_ahead import (
    LookAheadConfig,
    LookAheadRule,
    look_ahead,
    look_ahead_metrics,
    upper_gradient,
)
from ebomlc_dist.numerics.hypergradient import in_layout


class MlcConfig(CorrectorConfig, LookAheadConfig):
    """MLC's settings; the defaults are those of its authors' code, Adam with AMSGrad for the corrector among them."""

    optim_defaults: ClassVar[Mapping[str, Any]] = {"meta_amsgrad": True}
    name: Literal["mlc"] = "mlc"
    lower_objective: LowerObjective = "with_clean"
    look_ahead: LookAheadRule = "sgd"
    look_ahead_steps: int = frame(1, "K, steps of w for one of α.", ge=1)


class Mlc(LabelCorrection):
    """The step of MLC. See the module's equations.

    Attributes:
        state: at K > 1, ``hypergradient``: D_{t−1} (P_meta,), and ``steps``: 0-dim, steps since α moved.
    """

    Config: ClassVar = MlcConfig
    config: MlcConfig

    def allocate(self, networks: Networks, task: Task) -> None:
        """No hypergradient yet: α counts as just moved."""
        if self.config.look_ahead_steps > 1:
            meta = networks["meta"].vector.detach()
            self.state = {"hypergradient": torch.zeros_like(meta), "steps": meta.new_zeros(())}

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        config, objectives, rule, noisy = self.config, self.objectives, rules["main"], batch.noisy
        main, meta = networks["main"], networks["meta"]
        assert batch.clean is not None
        upper_here: Tensor | None = None
        if config.look_ahead_steps > 1:
            upper_here, _ = upper_gradient(main, main.vector, batch.clean, reducer)
        logits, features = main(in_layout(config.hypergradient, noisy.images))
        soft_labels = meta(objectives.features(networks, noisy.images, features), noisy.labels).softmax(dim=1)
        ahead = look_ahead(
            config,
            networks,
            rule,
            batch,
            reducer,
            coefficients=soft_labels,
            lower_sum=lambda targets: objectives.lower_sum(main, batch, logits.log_softmax(dim=1), targets),
            lower_count=objectives.lower_count(batch),
            terms=lambda point: -main.at(point, noisy.images)[0].log_softmax(dim=1),
            here=-logits.detach().log_softmax(dim=1),
        )
        result = StepResult(
            directions={"main": ahead.lower_main, "meta": ahead.hypergradient},
            metrics=look_ahead_metrics(main, ahead),
            corrected=soft_labels.detach().argmax(dim=1),
        )
        if upper_here is None:
            return result
        along, norm = main.dots((ahead.upper_main, upper_here), (upper_here, upper_here))
        along, norm = along.to(upper_here.dtype), norm.to(upper_here.dtype)
        carry = (1 - rule.rate) * along / torch.where(norm > 0, norm, 1.0)
        return self._carried(result, carry)

    def _carried(self, result: StepResult, carry: Tensor) -> StepResult:
        """The same step as one of K: D_{t−1} joins times γ = ``carry``, and α waits unless this is the K-th."""
        hypergradient = result.directions["meta"] + carry * self.state["hypergradient"]
        steps = self.state["steps"] + 1
        due = steps >= self.config.look_ahead_steps
        return StepResult(
            directions={"main": result.directions["main"], "meta": hypergradient},
            metrics={**result.metrics, "hypergradient_carry": carry},
            corrected=result.corrected,
            skip_update={"meta": ~due},
            state={
                "hypergradient": torch.where(due, 0.0, hypergradient),
                "steps": torch.where(due, 0.0, steps),
            },
        )
