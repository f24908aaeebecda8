"""Per-sample losses. All take logits (n, K) and return (n,), so that sums and counts can be reduced over ranks."""

from math import log
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

MixtureKind = Literal["probability", "logit", "released", "loss"]


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """−(1−s)·log p[label] − s·mean_k log p[k], (n,), with p = softmax(logits) and s = ``smoothing``.

    ``labels``: (n,) int64. Label smoothing: Szegedy et al. 2016, section 7.
    """
    return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


def soft_cross_entropy(log_probabilities: Tensor, soft_labels: Tensor) -> Tensor:
    """−Σ_k g_k log p_k, (n,), for (n, K) soft labels g. Linear in g: its derivative there is −log p."""
    return -(soft_labels * log_probabilities).sum(dim=1)


def forward_corrected(log_probabilities: Tensor, labels: Tensor, transition_matrix: Tensor) -> Tensor:
    """−log Σ_i p_i T[i, label], (n,): cross entropy of the noisy label (Patrini et al. 2017, forward correction).

    Args:
        log_probabilities: (n, K) log p over true labels.
        labels: (n,) int64 noisy labels.
        transition_matrix: T (K, K), P(noisy label | true label).
    """
    # In logarithms, so that the identity matrix gives −log p_label bit for bit.
    return -torch.logsumexp(log_probabilities + transition_matrix.log().t()[labels], dim=1)


def mixture_cross_entropy(
    main_logits: Tensor, meta_logits: Tensor, labels: Tensor, mixture: float | Tensor, kind: MixtureKind
) -> Tensor:
    """The mixture upper objective, (n,) (EBOMLC eq. 9), in the reading named by ``kind``.

    With ρ = ``mixture`` (a number or 0-dim), p = softmax(main_logits), g = softmax(meta_logits):

    - ``probability``: −log(ρ·p_y + (1−ρ)·g_y), the paper's mixture of two distributions.
    - ``logit``: cross entropy of ρ·main_logits + (1−ρ)·meta_logits.
    - ``released``: cross entropy of ρ·main_logits + (1−ρ)·g, as the released code has it.
    - ``loss``: −ρ·log p_y − (1−ρ)·log g_y, not in the paper. The main model's gradient has the weight ρ on every image.
      Under ``probability`` it is ρ·p_y / (ρ·p_y + (1−ρ)·g_y), small where the corrector is right or the main model not.
    """
    if kind == "loss":
        return mixture * cross_entropy(main_logits, labels) + (1 - mixture) * cross_entropy(meta_logits, labels)
    if kind == "logit":
        return cross_entropy(mixture * main_logits + (1 - mixture) * meta_logits, labels)
    if kind == "released":
        return cross_entropy(mixture * main_logits + (1 - mixture) * meta_logits.softmax(dim=1), labels)
    main_term = _log(mixture) - cross_entropy(main_logits, labels)
    meta_term = _log(1 - mixture) - cross_entropy(meta_logits, labels)
    return -torch.logaddexp(main_term, meta_term)


def _log(share: float | Tensor) -> float | Tensor:
    if isinstance(share, Tensor):
        return share.log()
    return log(share) if share > 0 else float("-inf")


def beta_divergence(a: Tensor, b: Tensor, prior_a: Tensor, prior_b: Tensor) -> Tensor:
    """KL(Beta(a, b) ‖ Beta(prior_a, prior_b)), (n,), for (n,) shapes a and b and a 0-dim prior, all > 0."""
    total = a + b
    normaliser = torch.lgamma(total) - torch.lgamma(a) - torch.lgamma(b)
    prior_normaliser = torch.lgamma(prior_a + prior_b) - torch.lgamma(prior_a) - torch.lgamma(prior_b)
    shift = (a - prior_a) * (torch.digamma(a) - torch.digamma(total))
    return normaliser - prior_normaliser + shift + (b - prior_b) * (torch.digamma(b) - torch.digamma(total))
