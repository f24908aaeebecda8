"""The step of EBOMLC's released research code, written down as equations, for replication.

It is not Algorithm 2. With SGD's velocity m, momentum μ, weight decay λ and rate η, and u(g, w) = g + λw + μm:

    1.  g_F = −η·u(∇_wF(w), w)                        the upper gradient enters as a step, not as a gradient
    2.  w' = w − η·u(∇_wG(w), w), and w is not restored
    3.  ∇Q = ∇G(w, α) − ∇G(w', α), the corrected labels at w' formed from the features at w'
    4.  β = ξ·max(0, (δ‖∇Q‖² − ⟨∇_wQ, g_F⟩) / (‖∇Q‖² + 1e-8))
    5.  where ``gap_as_step``: ∇_wQ ← −η·u(∇_wQ, w')  (data sets other than CIFAR-10)
    6.  SGD at w' on g_F + β∇_wQ;  Adam on ∇_αF + β∇_αQ

so that w moves almost exactly along −∇_wG, and the velocity holds small corrections only.

The sign of line 1 is theirs. SGD subtracts η·g_F in line 6, which adds η²·u(∇_wF): w *ascends* F, by η² and not by η,
and what it learns of the trusted images it learns from their half in G. Line 4 has the sign too: with u ≈ ∇_wF it is
β = ξ·max(0, δ + η⟨∇_wQ, ∇_wF⟩/‖∇Q‖²), where eq. (11) has δ − ⟨∇_wQ, ∇_wF⟩/‖∇Q‖². Line 5 has w ascend Q likewise. α
descends both.

η of lines 1, 2 and 5 is the optimiser rule's rate, see `optim.look_ahead_rate`; SGD's own step has its own rate. Cost:
9 forward units here (upper 3, lower 3, at w' 3), plus clean halves.
"""

from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import Networks, PairedBatch, Reducer, Rules, StepResult
from ebomlc_dist.methods.ebomlc import (
    BarrierStrength,
    CorrectorConfig,
    Forward,
    LabelCorrection,
    Mixture,
    NoisyScale,
    Objectives,
)
from ebomlc_dist.numerics.barrier import gram
from ebomlc_dist.numerics.losses import MixtureKind, soft_cross_entropy
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.numerics.overlap import overlap


class EbomlcReleasedConfig(CorrectorConfig):
    """The released code's settings. Its companions (meta model, optimisers, split, flips, padding, score) belong to the
    recipe."""

    name: Literal["ebomlc-released"] = "ebomlc-released"
    lower_objective: Literal["noisy", "with_clean"] = frame(
        "with_clean", "G on noisy samples, or on these and half of the clean batch."
    )
    mixture: Mixture = 0.2
    mixture_kind: MixtureKind = frame("released", "What ρ mixes.")
    barrier_strength: BarrierStrength = 0.25
    noisy_scale: NoisyScale = 0.5
    gap_as_step: bool = frame(False, "Line 5; the released code does it except on CIFAR-10.")
    look_ahead_statistics: Literal["kept", "moved"] = frame(
        "kept",
        "moved: the passes at w' move BatchNorm's running statistics, as in the released code.",
        before="kept",
    )


class EbomlcReleased(LabelCorrection):
    """The released step. See the module's equations."""

    Config: ClassVar = EbomlcReleasedConfig
    config: EbomlcReleasedConfig

    def __init__(self, config: EbomlcReleasedConfig) -> None:
        super().__init__(config)
        self.objectives = Objectives(config, config.mixture_kind)

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        config, main, meta, rule = self.config, networks["main"], networks["meta"], rules["main"]
        assert batch.clean is not None
        count = self.objectives.lower_count(batch)

        clean = batch.clean
        upper = overlap(
            main.vector.device,
            lambda: self.objectives.upper_sum(networks, clean, clean.labels, config.mixture),
            lambda total: reducer.mean_of_sums([*gradients(total, [main, meta]), total.detach()], clean.count),
        )

        lower_sum, soft_here, soft_labels = self._lower(networks, main, batch)
        lower = reducer.mean_of_sums([*gradients(lower_sum, [main]), lower_sum.detach()], count)
        upper_main, upper_meta, upper_mean = upper().wait()
        lower_main, lower_mean = lower.wait()

        origin = main.vector.detach()
        ahead = (origin - rule.step(lower_main, origin)).requires_grad_()
        moved = config.look_ahead_statistics == "moved"
        at_ahead = partial(main.at, ahead, moves_statistics=moved)
        ahead_sum, soft_ahead, _ = self._lower(networks, at_ahead, batch)
        ahead_gap, ahead_mean, *gap_meta = reducer.mean_of_sums(
            [
                main.gradient_at(ahead_sum, ahead),
                ahead_sum.detach(),
                *gradients(soft_here - soft_ahead, [meta]),
            ],
            count,
        ).wait()
        ahead = ahead.detach()
        gap_main = lower_main - ahead_gap

        entered = -rule.step(upper_main, origin)
        products = gram(entered, upper_meta, gap_main, gap_meta[0], main.dots)
        gap_gap = products.gap_gap
        excess = config.barrier_strength * gap_gap - products.upper_gap_main
        beta = excess.clamp(min=0.0) / (gap_gap + 1e-8)
        weight = (config.noisy_scale * beta).to(origin.dtype)
        applied_gap = -rule.step(gap_main, ahead) if config.gap_as_step else gap_main
        return StepResult(
            directions={"main": entered + weight * applied_gap, "meta": upper_meta + weight * gap_meta[0]},
            start_points={"main": ahead},
            metrics={
                "upper": upper_mean,
                "lower": lower_mean,
                "value_gap": lower_mean - ahead_mean,
                "barrier_coefficient": beta,
                "barrier_coefficient_is_zero": beta == 0,
                "upper_main_norm": main.norm(upper_main),
                "gap_main_norm": products.gap_gap_main.sqrt(),
                "gap_meta_norm": torch.linalg.vector_norm(gap_meta[0]),
                "alignment": products.upper_gap_meta,
            },
            maxima={"barrier_coefficient": beta},
            corrected=soft_labels.argmax(dim=1),
        )

    def _lower(self, networks: Networks, forward: Forward, batch: PairedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """G's sum with fixed soft labels, its noisy part with fixed predictions (for ∇_α), the soft labels (n, K)."""
        objectives, noisy = self.objectives, batch.noisy
        logits, features = forward(noisy.images)
        seen = objectives.features(networks, noisy.images, features)
        soft_labels = networks["meta"](seen, noisy.labels).softmax(dim=1)
        for_meta = noisy.sum(soft_cross_entropy(logits.detach().log_softmax(dim=1), soft_labels))
        fixed = soft_labels.detach()
        return objectives.lower_sum(forward, batch, logits.log_softmax(dim=1), fixed), for_meta, fixed
