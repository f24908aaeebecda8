"""The value gap of BOME (Liu et al. 2022), by which a lower objective becomes a constraint:

    Q(w, α) = G(w, α) − G(w_T, α),   w_T: T plain gradient steps of size η_w on G from w, held constant

G is linear in the soft labels, so with log-probabilities at w and at w_T in hand ∇_αQ is one backward pass through the
meta model:

    Q = mean Σ_k g_k (log p_{w_T} − log p_w)_k,   ∇_αQ = mean Σ_k (log p_{w_T} − log p_w)_k ∇_α g_k.

With ∇_wQ read as ∇_wG(w) the pass at w_T is forward only: 3T + 1 forward units. Read as a difference: 3T + 3.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ebomlc_dist.fields import frame
from ebomlc_dist.methods.contract import Networks, PairedBatch, Reducer
from ebomlc_dist.methods.label_correction import CorrectorConfig, LabelCorrection
from ebomlc_dist.numerics.barrier import Gram
from ebomlc_dist.numerics.network import gradients


class ValueGapConfig(CorrectorConfig):
    """How the value gap and its gradient are read."""

    value_gradient: Literal["stop_gradient", "difference"] = frame(
        "stop_gradient", "∇_wQ: ∇_wG(w) as in BOME, or ∇_wG(w) − ∇_wG(w') as in the released code."
    )
    inner_steps: int = frame(1, "T, gradient steps from w to w'.", ge=1)
    barrier_cap: float | None = frame(None, "Upper limit of β.", gt=0.0)


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
    objectives: LabelCorrection,
    config: ValueGapConfig,
    networks: Networks,
    rate: Tensor,
    batch: PairedBatch,
    reducer: Reducer,
) -> ValueGap:
    """The value gap after ``config.inner_steps`` steps of size ``rate`` (0-dim); T + 1 reductions."""
    main, meta, noisy = networks["main"], networks["meta"], batch.noisy
    count = objectives.lower_count(batch)
    logits, features = main(noisy.images)
    answers = meta(objectives.features(networks, noisy.images, features), noisy.labels).softmax(dim=1)
    soft_labels = objectives.soft_labels(answers, logits, noisy.labels)
    targets = soft_labels.detach()
    lower_sum = objectives.lower_sum(main, batch, logits, targets)
    sums = [*gradients(lower_sum, [main]), lower_sum.detach()]
    lower_main, lower_mean = reducer.mean_of_sums(sums, count).wait()

    ahead = main.vector.detach() - rate * lower_main
    for _ in range(config.inner_steps - 1):
        ahead.requires_grad_()
        inner_logits, _ = main.at(ahead, noisy.images)
        inner_sum = objectives.lower_sum(partial(main.at, ahead), batch, inner_logits, targets)
        (gradient,) = reducer.mean_of_sums([main.gradient_at(inner_sum, ahead)], count).wait()
        ahead = ahead.detach() - rate * gradient

    # The lower objective there; its gradient only where ∇_wQ is read as a difference.
    difference = config.value_gradient == "difference"
    with torch.set_grad_enabled(difference):
        ahead.requires_grad_(difference)
        ahead_logits, _ = main.at(ahead, noisy.images)
        ahead_sum = objectives.lower_sum(partial(main.at, ahead), batch, ahead_logits, targets)
    log_ratio = (ahead_logits.log_softmax(dim=1) - logits.log_softmax(dim=1)).detach()
    gap_sums = [*gradients(noisy.sum((log_ratio * soft_labels).sum(dim=1)), [meta]), (lower_sum - ahead_sum).detach()]
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


def barrier_metrics(upper_mean: Tensor, gap: ValueGap, products: Gram, beta: Tensor) -> dict[str, Tensor]:
    """The figures of a step along ∇F + β∇Q: F's mean, the gap, inner products of ∇F and ∇Q, and β."""
    return {
        "upper": upper_mean,
        "lower": gap.lower,
        "value_gap": gap.value,
        "barrier_coefficient": beta,
        "barrier_coefficient_is_zero": (beta == 0).double(),
        "upper_main_norm": products.upper_upper_main.sqrt(),
        "gap_main_norm": products.gap_gap_main.sqrt(),
        "gap_meta_norm": torch.linalg.vector_norm(gap.meta),
        "upper_gap_main": products.upper_gap_main,
    }
