"""The noise process T[t, g] = P(given g | true t), from counts.

`transition_by_counts` takes images both of whose labels are known. `transition_by_moments` takes what a classifier says
of noisy images and of a few whose true label is known.

With classes t (true), p (predicted), g (given), predictions that depend on the given label through the true one alone,

    J[p, g] = Σ_t C[t, p] M[t, g],   C[t, p] = P(p | t),   M[t, g] = P(t, g)

where J is counted over noisy images and C over held-out trusted ones. M ≥ 0 is found by expectation maximisation, the
maximum of the multinomial likelihood of J under a Dirichlet prior of ``PRIOR_IMAGES`` images a class, and

    T[t, g] = M[t, g] / Σ_g M[t, g] = P(g | t)

No class prior has to be known. A weak classifier makes C flat and the solution uncertain, not T flat: that is what sets
this apart from `transition_by_mean_softmax`, the estimate of GLC (Hendrycks et al. 2018), which carries the
classifier's own uncertainty.
"""

import numpy as np
import torch
from torch import Tensor

from ebomlc_dist.noise.alike_rows import mean_of_rows
from ebomlc_dist.noise.matrices import uniform_matrix

PRIOR_IMAGES = 1.0
ITERATIONS = 2000


def transition_by_moments(joint_counts: Tensor, confusion_counts: Tensor) -> Tensor:
    """T (K, K) float64, ``T[true, given]``, rows on the simplex.

    Args:
        joint_counts: (K, K), noisy images with prediction p (row) and given label g (column).
        confusion_counts: (K, K), held-out trusted images of class t (row) with prediction p (column).
    """
    joint = joint_counts.double()
    num_classes = len(joint)
    # One image a class, spread over the predictions, keeps every entry of C above zero.
    confusion = confusion_counts.double() + 1.0 / num_classes
    confusion = confusion / confusion.sum(dim=1, keepdim=True)
    prior = blind_transition(num_classes).to(joint.device) * PRIOR_IMAGES
    found = prior / prior.sum() * joint.sum()
    for _ in range(ITERATIONS):
        explained = (confusion.t() @ found).clamp_min(torch.finfo(torch.float64).tiny)
        found = found * (confusion @ (joint / explained)) + prior
    return found / found.sum(dim=1, keepdim=True)


def transition_by_mean_softmax(joint_sums: Tensor, confusion_sums: Tensor) -> Tensor:
    """T (K, K) float64 as the mean probabilities that a head for noisy labels gives to held-out images of each class.

    The head reads the classifier's probabilities f: P(g | x) = Σ_p f_p(x) P(g | p), P(g | p) from the noisy images.

    Args:
        joint_sums: (K, K), Σ f_p(x) over noisy images with given label g, at [p, g].
        confusion_sums: (K, K), Σ f_p(x) over held-out trusted images of class t, at [t, p].
    """
    head, soft = (sums.double() + 1.0 / len(sums) for sums in (joint_sums, confusion_sums))
    return (soft / soft.sum(dim=1, keepdim=True)) @ (head / head.sum(dim=1, keepdim=True))


def transition_by_counts(counts: Tensor) -> Tensor:
    """T (K, K) float64, the mean of its posterior after (K, K) counts [true, given], with rows that are alike."""
    return torch.from_numpy(mean_of_rows(counts.cpu().numpy().round().astype(np.int64))).to(counts.device)


def blind_transition(num_classes: int) -> Tensor:
    """(K, K) float64, what is assumed before anything is known: half of the labels right, the others anywhere else."""
    return uniform_matrix(num_classes, rate=0.5)


def draw_labels(labels: Tensor, transition_matrix: Tensor, numbers: Tensor) -> Tensor:
    """(n,) int64 noisy labels of true ``labels`` (n,) by inversion, from (n,) uniform ``numbers``."""
    sums = transition_matrix.cumsum(dim=1)[labels]
    return (sums / sums[:, -1:] <= numbers[:, None]).sum(dim=1).clamp_max(len(transition_matrix) - 1)
