"""The look-ahead that the hypergradient methods share.

With a lower objective that is bilinear, G(w, α) = mean_i ⟨c_i(α), s_i(w)⟩ (see `ebomlc_dist.numerics.hypergradient`),
and the plain upper objective F(w) = mean CE(f_w(x_c), y_c):

    w' = w − η∇_wG(w, α),   v = ∇_wF(w'),   D = ∇_αF(w'(α)) = −η mean_i ⟨ṡ_i, ∇_αc_i(α)⟩,   ṡ_i = (∂s_i/∂w) v

With ``look_ahead`` = ``sgd``, w' is where SGD itself would go (momentum, weight decay), and η in D is the derivative of
that step with respect to the gradient. Reductions: ∇_wG, then v, then D.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from ebomlc_dist.fields import frame, shared
from ebomlc_dist.methods.contract import Batch, MethodConfig, Networks, PairedBatch, Reducer
from ebomlc_dist.numerics.adam import AdamRule
from ebomlc_dist.numerics.hypergradient import Hypergradient, HypergradientMode, Terms
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.numerics.network import Network, gradients
from ebomlc_dist.numerics.sgd import SgdRule

LookAheadRule = Annotated[Literal["plain", "sgd"], shared("w': a plain gradient step, or SGD's own rule.")]


class LookAheadConfig(MethodConfig):
    """What every method with a hypergradient chooses; the default is the fastest exact one."""

    hypergradient: HypergradientMode = frame("forward_mode", "How the hypergradient is computed.")
    look_ahead: LookAheadRule = "plain"


@dataclass(frozen=True)
class LookAhead:
    """What a look-ahead found; global means, alike on every rank.

    Attributes:
        lower_main: ∇_wG(w, α), (P,).
        lower_mean: G(w, α), 0-dim.
        upper_main: v = ∇_wF(w'), (P,).
        upper_mean: F(w'), 0-dim.
        hypergradient: D, (P_meta,).
        observed: (k,), the mean of what was observed; empty where nothing was.
    """

    lower_main: Tensor
    lower_mean: Tensor
    upper_main: Tensor
    upper_mean: Tensor
    hypergradient: Tensor
    observed: Tensor


def look_ahead(
    config: LookAheadConfig,
    networks: Networks,
    rule: SgdRule | AdamRule,
    batch: PairedBatch,
    reducer: Reducer,
    *,
    coefficients: Tensor,
    lower_sum: Callable[[Tensor], Tensor],
    lower_count: int,
    terms: Terms,
    here: Tensor,
    penalty: Tensor | None = None,
    observed: Tensor | None = None,
    keep_graph: bool = False,
) -> LookAhead:
    """One look-ahead and the hypergradient through it.

    Args:
        coefficients: c(α), (n, …), with their graph to the meta model.
        lower_sum: coefficients without that graph → this rank's sum of G at w.
        lower_count: how many of this rank's samples it runs over.
        terms: (P,) → s (n, …) at other parameters of the main model.
        here: s(w), (n, …), without a graph.
        penalty: (n,) per-sample terms in α; η times their mean joins F(w'(α)).
        observed: (n, k) values to take the mean of, without a graph.
        keep_graph: whether the graph of ``lower_sum`` is needed again.
    """
    assert isinstance(rule, SgdRule)
    assert batch.clean is not None
    main, meta, noisy = networks["main"], networks["meta"], batch.noisy
    point = main.vector.detach()
    through = Hypergradient(config.hypergradient, main, coefficients)
    lower = lower_sum(through.coefficients)
    seen = lower.new_zeros(0) if observed is None else torch.stack([noisy.sum(column) for column in observed.t()])
    sums = [through.lower_gradient(lower, keep_graph), lower.detach(), seen]
    lower_main, lower_mean, seen_mean = reducer.mean_of_sums(sums, lower_count).wait()

    plain = config.look_ahead == "plain"
    ahead = point - (rule.rate * lower_main if plain else rule.step(lower_main, point))
    upper_main, upper_mean = upper_gradient(main, ahead, batch.clean, reducer)

    products = through.slopes(terms, here, upper_main) * coefficients
    # The sum over the coefficients of one sample, where it has several.
    per_sample = products.sum(dim=1) if products.dim() > 1 else products
    meta_sum = noisy.sum(per_sample if penalty is None else per_sample - penalty)
    (product,) = reducer.mean_of_sums(gradients(meta_sum, [meta]), lower_count).wait()
    hypergradient = -(rule.rate if plain else rule.sensitivity) * product
    return LookAhead(lower_main, lower_mean, upper_main, upper_mean, hypergradient, seen_mean)


def upper_gradient(main: Network, point: Tensor, clean: Batch, reducer: Reducer) -> tuple[Tensor, Tensor]:
    """∇_wF (P,) and F at ``point`` (P,), reduced; running statistics stay. 3 forward units."""
    point = point.detach().requires_grad_()
    logits, _ = main.at(point, clean.images)
    upper_sum = clean.sum(cross_entropy(logits, clean.labels))
    sums = [main.gradient_at(upper_sum, point), upper_sum.detach()]
    gradient, mean = reducer.mean_of_sums(sums, clean.count).wait()
    return gradient, mean


def look_ahead_metrics(main: Network, ahead: LookAhead) -> dict[str, Tensor]:
    """The figures of a step with a look-ahead of ``main``."""
    return {
        "upper": ahead.upper_mean,
        "lower": ahead.lower_mean,
        "upper_main_norm": main.norm(ahead.upper_main),
        "lower_main_norm": main.norm(ahead.lower_main),
        "hypergradient_norm": torch.linalg.vector_norm(ahead.hypergradient),
    }
