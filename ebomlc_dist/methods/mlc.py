"""MLC: meta label correction by a hypergradient (Zheng et al. 2021, "Meta Label Correction for Noisy Label Learning").

With the lower objective G and the plain upper objective F of `label_correction`, one step is

    w' = w − η∇_wG(w, α),   v = ∇_wF(w')
    D = −η∇_α⟨∇_wG(w, α), v⟩                     hypergradient of F(w'(α)), see `ebomlc_dist.numerics.hypergradient`
    d_w = ∇_wG(w, α),   d_α = D

F drives the meta model alone. With ``look_ahead`` = ``sgd``, w' is where SGD itself would go (momentum, weight decay),
and η in D is the derivative of that step with respect to the gradient.

K > 1. α is held for K steps of w and then moved once, by the derivative of F after the K-th step. As w depends on α
already, through the earlier steps since α moved,

    ∂w'/∂α = (I − η∇²_wG) ∂w/∂α − η∇_α∇_wG,   D_t = v·(I − η∇²_wG) ∂w/∂α − η∇_α⟨∇_wG, v⟩

The paper takes the Hessian as I and v·(1 − η) as its part along g = ∇_wF(w), because g·∂w/∂α is what the step before
has left behind:

    D_t = γD_{t−1} − η∇_α⟨∇_wG(w, α), v⟩,   γ = ⟨(1 − η)v, g⟩ / ‖g‖²,   D_0 = 0 where α has just moved

g is taken on this step's clean batch.

Cost: 7 forward units with ``finite_difference``, 9 with ``forward_mode``, 10 with ``double_backward``; 3 more at K > 1.
Reductions: 3, and one more at K > 1.
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ebomlc_dist.methods.contract import Batch, PairedBatch, Reducer, StepResult
from ebomlc_dist.methods.label_correction import CorrectorConfig, LabelCorrection
from ebomlc_dist.numerics.flat import FlatModule, gradient_at, gradients
from ebomlc_dist.numerics.hypergradient import Hypergradient, HypergradientMode
from ebomlc_dist.numerics.sgd import SgdRule


class MlcConfig(CorrectorConfig):
    """MLC's settings; the defaults are the paper's, with the fastest exact hypergradient."""

    name: Literal["mlc"] = "mlc"
    hypergradient: HypergradientMode = "forward_mode"
    look_ahead: Literal["plain", "sgd"] = Field("plain", description="w': a plain gradient step, or SGD's own rule")
    look_ahead_steps: int = Field(1, ge=1, description="K, steps of w for one of α")


class Mlc(LabelCorrection):
    """The step of MLC. See the module's equations.

    Attributes:
        memory: at K > 1, ``hypergradient``: D_{t−1} (P_meta,), and ``steps``: 0-dim, steps since α moved.
    """

    Config: ClassVar = MlcConfig
    config: MlcConfig

    def __init__(self, config: MlcConfig) -> None:
        super().__init__(config)
        self.memory: dict[str, Tensor] = {}

    def allocate(self, networks: Mapping[str, FlatModule]) -> None:
        """No hypergradient yet: α counts as just moved."""
        if self.config.look_ahead_steps > 1:
            meta = networks["meta"].vector.detach()
            self.memory = {"hypergradient": torch.zeros_like(meta), "steps": meta.new_zeros(())}

    def step(
        self, networks: Mapping[str, FlatModule], rules: Mapping[str, SgdRule], batch: PairedBatch, reducer: Reducer
    ) -> StepResult:
        config, main, meta, rule, noisy = self.config, networks["main"], networks["meta"], rules["main"], batch.noisy
        assert batch.clean is not None
        count, here = self.lower_count(batch), main.vector.detach()

        upper_here = self._upper(main, here, batch.clean, reducer)[0] if config.look_ahead_steps > 1 else None
        logits, features = main(noisy.images)
        soft_labels = meta(self.features(networks, noisy.images, features), noisy.labels).softmax(dim=1)
        through = Hypergradient(config.hypergradient, main, soft_labels)
        lower_sum = self.lower_sum(main, batch, logits, through.coefficients)
        sums = [through.lower_gradient(lower_sum), lower_sum.detach()]
        lower_main, lower_mean = reducer.mean_of_sums(sums, count).wait()

        plain = config.look_ahead == "plain"
        ahead = here - (rule.rate * lower_main if plain else rule.step(lower_main, here))
        upper_ahead, upper_mean = self._upper(main, ahead, batch.clean, reducer)

        def terms(point: Tensor) -> Tensor:
            return -main.at(point, noisy.images)[0].log_softmax(dim=1)

        slopes = through.slopes(terms, -logits.detach().log_softmax(dim=1), upper_ahead)
        meta_sums = gradients(noisy.sum((slopes * soft_labels).sum(dim=1)), [meta])
        (product,) = reducer.mean_of_sums(meta_sums, count).wait()
        hypergradient = -(rule.rate if plain else rule.sensitivity) * product

        result = StepResult(
            directions={"main": lower_main, "meta": hypergradient},
            metrics={
                "upper": upper_mean,
                "lower": lower_mean,
                "upper_main_norm": torch.linalg.vector_norm(upper_ahead),
                "lower_main_norm": torch.linalg.vector_norm(lower_main),
                "hypergradient_norm": torch.linalg.vector_norm(hypergradient),
            },
            corrected=through.coefficients.detach().argmax(dim=1),
        )
        return result if upper_here is None else self._carried(result, rule.rate, upper_ahead, upper_here)

    def _upper(self, main: FlatModule, point: Tensor, clean: Batch, reducer: Reducer) -> tuple[Tensor, Tensor]:
        """∇_wF (P,) and F at ``point`` (P,), reduced; running statistics stay."""
        point = point.detach().requires_grad_()
        upper_sum = self.clean_sum(partial(main.at, point), clean)
        sums = [gradient_at(upper_sum, point, main), upper_sum.detach()]
        gradient, mean = reducer.mean_of_sums(sums, clean.count).wait()
        return gradient, mean

    def _carried(self, result: StepResult, rate: Tensor, upper_ahead: Tensor, upper_here: Tensor) -> StepResult:
        """The same step as one of K: D_{t−1} joins, and α waits unless this is the K-th."""
        norm = torch.dot(upper_here, upper_here)
        carry = (1 - rate) * torch.dot(upper_ahead, upper_here) / torch.where(norm > 0, norm, 1.0)
        hypergradient = result.directions["meta"] + carry * self.memory["hypergradient"]
        steps = self.memory["steps"] + 1
        due = steps >= self.config.look_ahead_steps
        return StepResult(
            directions={"main": result.directions["main"], "meta": hypergradient},
            metrics={**result.metrics, "hypergradient_carry": carry},
            corrected=result.corrected,
            waits={"meta": ~due},
            memory={
                "hypergradient": torch.where(due, 0.0, hypergradient),
                "steps": torch.where(due, 0.0, steps),
            },
        )
