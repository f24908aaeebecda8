"""Weights of several predictive distributions, by what they give to outcomes that none of them was fitted to.

    κ = argmax over the simplex of  Σ_i v_i log Σ_j κ_j q_j(y_i) + Σ_j a_j log κ_j

q_j(y_i) is what distribution j gives to the outcome of case i, v_i how much the case counts, a_j a pseudo-count that
decides where there is little evidence. The maximum of this concave function is found by expectation maximisation, as
for the weights of a mixture (stacking: Wolpert 1992; of predictive distributions: Yao et al. 2018).
"""

import torch
from torch import Tensor

_ITERATIONS = 300


def stacking_weights(given: Tensor, counts: Tensor, pseudo_counts: Tensor) -> Tensor:
    """κ (J,) float64 on the simplex.

    Args:
        given: (n, J), q_j(y_i) in 0…1. A case that no distribution expects counts for none.
        counts: (n,), v_i ≥ 0.
        pseudo_counts: (J,), a_j ≥ 0, with a sum above 0.
    """
    given, counts, pseudo_counts = given.double(), counts.double(), pseudo_counts.double()
    weights = torch.full_like(pseudo_counts, 1 / len(pseudo_counts))
    for _ in range(_ITERATIONS):
        parts = given * weights
        parts = parts / parts.sum(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        totals = counts @ parts + pseudo_counts
        weights = totals / totals.sum()
    return weights
