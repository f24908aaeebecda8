"""EBOMLC: efficient bilevel optimisation for meta label correction (Algorithm 2).

A main model f_w learns from labels that a label corrector g_α gives. h(x) are features through which no gradient flows.

    G(w, α) = mean softCE(f_w(x_n), g_α(h(x_n), ỹ))                  lower objective, over the noisy batch
    F(w, α) = mean CE(ρ·f_w(x_c) + (1−ρ)·g_α(h(x_c), y_c), y_c)      upper objective, over the clean batch, eq. (9)
    Q(w, α) = G(w, α) − G(w', α),  w' = w − η_w∇_wG(w, α), a constant       value gap, eq. (8)
    β = max(0, δ − ⟨∇_wF, ∇_wQ⟩ / ‖∇Q‖²)                             barrier coefficient, eq. (11)
    d_w = ∇_wF + ξβ∇_wQ,   d_α = ∇_αF + ξβ∇_αQ                       directions, eqs. (12)–(14)

d_w goes through SGD with momentum, d_α through Adam. `Objectives` holds F and G, `value_gap` gives Q, `barrier_step`
the directions. MLC, MLC-D, the released step and EBOMLC-S take from here what they share. A step costs 7 forward units
(upper 3, lower 3, look-ahead 1).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from ebomlc_dist.fields import frame, shared
from ebomlc_dist.methods.contract import (
    Batch,
    Method,
    MethodConfig,
    Networks,
    PairedBatch,
    Reducer,
    Rules,
    StepResult,
    Streams,
)
from ebomlc_dist.numerics.barrier import Gram, barrier_coefficient, barrier_direction, gram
from ebomlc_dist.numerics.losses import MixtureKind, cross_entropy, mixture_cross_entropy, soft_cross_entropy
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.numerics.overlap import overlap

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
LowerObjective = Annotated[
    Literal["noisy", "with_clean"],
    shared("with_clean: half of each clean batch joins the lower objective as cross entropy."),
]
Mixture = Annotated[float, shared("ρ, weight of the main prediction in F.", ge=0.0, le=1.0)]
Mixed = Annotated[MixtureKind, shared("What ρ mixes: probabilities, logits, losses, or as the released code.")]
BarrierStrength = Annotated[float, shared("δ, strength of the barrier.", ge=0.0)]
NoisyScale = Annotated[float, shared("ξ, factor of β in the step.", gt=0.0, le=1.0)]


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


class ValueGapConfig(CorrectorConfig):
    """How the value gap, its gradient and the barrier are read."""

    value_gradient: Literal["stop_gradient", "difference"] = frame(
        "stop_gradient", "∇_wQ: ∇_wG(w) as in BOME, or ∇_wG(w) − ∇_wG(w') as in the released code."
    )
    inner_steps: int = frame(1, "T, gradient steps from w to w'.", ge=1)
    barrier_cap: float | None = frame(None, "Upper limit of β.", gt=0.0)


class EbomlcConfig(ValueGapConfig):
    """EBOMLC's settings; the defaults are the paper's."""

    mixture: Mixture = 0.2
    mixture_kind: Mixed = "probability"
    barrier_strength: BarrierStrength = 0.25
    noisy_scale: NoisyScale = 0.5
    name: Literal["ebomlc"] = "ebomlc"


class Objectives:
    """F, G and what they are made of: over one rank's samples, as sums. See the module's equations."""

    def __init__(self, config: CorrectorConfig, mixture_kind: MixtureKind = "probability") -> None:
        self._takes_main_features = config.features == "main"
        self._mixture_kind = mixture_kind

    def features(self, networks: Networks, images: Tensor, main_features: Tensor) -> Tensor:
        """h(x), (n, D), without a gradient."""
        if self._takes_main_features:
            return main_features.detach()
        with torch.no_grad():
            return networks["extractor"](images)[1]

    def clean_sum(self, forward: Forward, clean: Batch) -> Tensor:
        """Sum of plain cross entropy on trusted labels under ``forward``: F at ρ = 1, which no corrector is part of."""
        logits, _ = forward(clean.images)
        return clean.sum(cross_entropy(logits, clean.labels))

    def shown_labels(self, batch: PairedBatch) -> Tensor:
        """(n,) int64, the labels that the corrector is shown on the clean images: the true ones."""
        assert batch.clean is not None
        return batch.clean.labels

    def upper_sum(self, networks: Networks, clean: Batch, shown: Tensor, mixture: float | Tensor) -> Tensor:
        """Sum of F with ρ = ``mixture``, differentiable in w and α; the corrector is ``shown`` (n,) int64 labels."""
        logits, features = networks["main"](clean.images)
        meta_logits = networks["meta"](self.features(networks, clean.images, features), shown)
        return clean.sum(mixture_cross_entropy(logits, meta_logits, clean.labels, mixture, self._mixture_kind))

    def soft_labels(self, answers: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """What G asks for on noisy images, (n, K): g_α's ``answers`` (n, K), in which it is linear.

        ``logits``: the main model's, (n, K). ``labels``: the given ones, (n,) int64.
        """
        return answers

    def corrected_labels(self, answers: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """What is believed of the true labels, (n, K), on the simplex. Arguments as for `soft_labels`."""
        return answers

    def lower_sum(self, forward: Forward, batch: PairedBatch, log_probabilities: Tensor, soft_labels: Tensor) -> Tensor:
        """Sum of G for (n, K) ``log_probabilities`` of the noisy images under ``forward``, with (n, K) soft labels.

        Where the lower objective includes clean images, their plain cross entropy under ``forward`` joins the sum.
        """
        total = batch.noisy.sum(soft_cross_entropy(log_probabilities, soft_labels))
        if batch.lower_clean is None:
            return total
        return total + self.clean_sum(forward, batch.lower_clean)

    def lower_count(self, batch: PairedBatch) -> int:
        """How many of this rank's samples `lower_sum` runs over."""
        return batch.noisy.count + (batch.lower_clean.count if batch.lower_clean is not None else 0)


@dataclass(frozen=True)
class StepWeights:
    """ρ, δ and ξ of one step: numbers, or 0-dim tensors on the device, the same on every rank."""

    mixture: float | Tensor
    barrier_strength: float | Tensor
    noisy_scale: float | Tensor


@dataclass(frozen=True)
class ValueGap:
    """Q at (w, α): global means, alike on every rank, and this rank's corrected labels.

    Attributes:
        value: Q, 0-dim.
        lower: G(w, α), 0-dim.
        main: ∇_wQ, (P,).
        meta: ∇_αQ, (P_meta,).
        corrected: (n,) int64, the corrector's most likely label of each noisy sample.
    """

    value: Tensor
    lower: Tensor
    main: Tensor
    meta: Tensor
    corrected: Tensor


def value_gap(
    objectives: Objectives,
    config: ValueGapConfig,
    networks: Networks,
    rate: Tensor,
    batch: PairedBatch,
    reducer: Reducer,
) -> ValueGap:
    """The value gap of BOME (Liu et al. 2022), by which a lower objective becomes a constraint.

        Q(w, α) = G(w, α) − G(w_T, α),   w_T: T plain gradient steps of size η_w on G from w, held constant

    G is linear in the soft labels, so with log-probabilities at w and at w_T in hand ∇_αQ is one backward pass through
    the meta model:

        Q = mean Σ_k g_k (log p_{w_T} − log p_w)_k,   ∇_αQ = mean Σ_k (log p_{w_T} − log p_w)_k ∇_α g_k

    With ∇_wQ read as ∇_wG(w) the pass at w_T is forward only: 3T + 1 forward units. Read as a difference: 3T + 3.
    T = ``config.inner_steps``, η_w = ``rate`` (0-dim). T + 1 reductions.
    """
    main, meta, noisy = networks["main"], networks["meta"], batch.noisy
    count = objectives.lower_count(batch)
    logits, features = main(noisy.images)
    answers = meta(objectives.features(networks, noisy.images, features), noisy.labels).softmax(dim=1)
    soft_labels = objectives.soft_labels(answers, logits, noisy.labels)
    targets = soft_labels.detach()
    log_here = logits.log_softmax(dim=1)
    lower_sum = objectives.lower_sum(main, batch, log_here, targets)
    sums = [*gradients(lower_sum, [main]), lower_sum.detach()]
    lower_main, lower_mean = reducer.mean_of_sums(sums, count).wait()

    ahead = torch.addcmul(main.vector.detach(), rate, lower_main, value=-1)
    for _ in range(config.inner_steps - 1):
        ahead.requires_grad_()
        inner_logits, _ = main.at(ahead, noisy.images)
        inner_sum = objectives.lower_sum(partial(main.at, ahead), batch, inner_logits.log_softmax(dim=1), targets)
        (gradient,) = reducer.mean_of_sums([main.gradient_at(inner_sum, ahead)], count).wait()
        ahead = ahead.detach() - rate * gradient

    # The lower objective there; its gradient only where ∇_wQ is read as a difference.
    difference = config.value_gradient == "difference"
    with torch.set_grad_enabled(difference):
        ahead.requires_grad_(difference)
        ahead_logits, _ = main.at(ahead, noisy.images)
        log_ahead = ahead_logits.log_softmax(dim=1)
        ahead_sum = objectives.lower_sum(partial(main.at, ahead), batch, log_ahead, targets)
    log_ratio = log_ahead.detach() - log_here.detach()
    gap_sums = [*gradients(soft_labels, [meta], along=noisy.counted(log_ratio)), (lower_sum - ahead_sum).detach()]
    if difference:
        gap_sums.append(main.gradient_at(ahead_sum, ahead))
    gap_meta, value, *ahead_main = reducer.mean_of_sums(gap_sums, count).wait()
    return ValueGap(
        value=value,
        lower=lower_mean,
        main=lower_main - ahead_main[0] if difference else lower_main,
        meta=gap_meta,
        corrected=objectives.corrected_labels(answers, logits, noisy.labels).detach().argmax(dim=1),
    )


def barrier_step(
    objectives: Objectives,
    config: ValueGapConfig,
    weights: StepWeights,
    networks: Networks,
    rules: Rules,
    batch: PairedBatch,
    reducer: Reducer,
) -> StepResult:
    """Algorithm 2 on one batch: eqs. (11) to (14) of the module, with ρ, δ and ξ of ``weights``."""
    main, meta, clean = networks["main"], networks["meta"], batch.clean
    assert clean is not None
    upper = overlap(
        main.vector.device,
        lambda: objectives.upper_sum(networks, clean, objectives.shown_labels(batch), weights.mixture),
        lambda total: reducer.mean_of_sums([*gradients(total, [main, meta]), total.detach()], clean.count),
    )
    gap = value_gap(objectives, config, networks, rules["main"].rate, batch, reducer)
    upper_main, upper_meta, upper_mean = upper().wait()

    products = gram(upper_main, upper_meta, gap.main, gap.meta, main.dots)
    beta = barrier_coefficient(products.upper_gap_main, products.gap_gap, weights.barrier_strength, config.barrier_cap)
    weight = (weights.noisy_scale * beta).to(main.vector.dtype)
    return StepResult(
        directions={
            "main": barrier_direction(upper_main, gap.main, weight),
            "meta": barrier_direction(upper_meta, gap.meta, weight),
        },
        metrics=barrier_metrics(upper_mean, gap, products, beta)
        | {"upper_meta_norm": torch.linalg.vector_norm(upper_meta), "alignment": products.upper_gap_meta},
        maxima={"barrier_coefficient": beta},
        corrected=gap.corrected,
    )


def barrier_metrics(upper_mean: Tensor, gap: ValueGap, products: Gram, beta: Tensor) -> dict[str, Tensor]:
    """The figures of a step along ∇F + β∇Q: F's mean, the gap, inner products of ∇F and ∇Q, and β."""
    return {
        "upper": upper_mean,
        "lower": gap.lower,
        "value_gap": gap.value,
        "barrier_coefficient": beta,
        "barrier_coefficient_is_zero": beta == 0,
        "upper_main_norm": products.upper_upper_main.sqrt(),
        "gap_main_norm": products.gap_gap_main.sqrt(),
        "gap_meta_norm": torch.linalg.vector_norm(gap.meta),
        "upper_gap_main": products.upper_gap_main,
    }


class LabelCorrection(Method):
    """A method with a label corrector: the networks and the data that its `objectives` need."""

    objectives: Objectives

    def __init__(self, config: CorrectorConfig) -> None:
        super().__init__(config)
        self.objectives = Objectives(config)
        self.networks: tuple[str, ...] = ("main", "meta") + (("extractor",) if config.features == "frozen" else ())
        self.streams = Streams(clean=True, lower_clean=config.lower_objective == "with_clean")

    def corrected_probabilities(
        self, networks: Networks, logits: Tensor, features: Tensor, labels: Tensor
    ) -> Tensor | None:
        """What is believed of the true labels, (n, K)."""
        return self.objectives.corrected_labels(networks["meta"](features, labels).softmax(dim=1), logits, labels)


class Ebomlc(LabelCorrection):
    """EBOMLC, with the configured ρ, δ and ξ."""

    Config: ClassVar = EbomlcConfig
    config: EbomlcConfig

    def __init__(self, config: EbomlcConfig) -> None:
        super().__init__(config)
        self.objectives = Objectives(config, config.mixture_kind)

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        config = self.config
        weights = StepWeights(config.mixture, config.barrier_strength, config.noisy_scale)
        return barrier_step(self.objectives, config, weights, networks, rules, batch, reducer)
