"""Label noise as a transition matrix T, ``transition_matrix[true, noisy]`` = P(noisy label | true label).

- uniform over the *other* classes at rate p: T = (1 − p)·I + p/(K − 1)·(1 − I)
- uniform over *any* class:                   T = (1 − p)·I + p/K·1, of which p·(K − 1)/K are really wrong
- flip: class k moves to one other class f(k), drawn once:  T[k, k] = 1 − p, T[k, f(k)] = p

Uniform and flip are as in Ren et al. 2018 and Hendrycks et al. 2018 (GLC).
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor


def uniform_matrix(num_classes: int, rate: float, over: Literal["other", "any"] = "other") -> Tensor:
    """(K, K) float64 matrix of symmetric noise.

    Args:
        num_classes: K ≥ 2.
        rate: p in 0…1.
        over: ``other`` moves a share p to the K − 1 other classes; ``any`` redraws a share p from all K classes.
    """
    _check(num_classes, rate)
    identity = torch.eye(num_classes, dtype=torch.float64)
    if over == "any":
        return (1 - rate) * identity + rate / num_classes
    return (1 - rate) * identity + rate / (num_classes - 1) * (1 - identity)


def flip_matrix(num_classes: int, rate: float, rng: np.random.Generator) -> Tensor:
    """(K, K) float64 matrix that moves each class to one other class, drawn from ``rng`` independently of ``rate``."""
    _check(num_classes, rate)
    steps = torch.from_numpy(rng.integers(1, num_classes, size=num_classes))
    return pair_matrix((torch.arange(num_classes) + steps) % num_classes, rate)


def pair_matrix(pairs: Tensor, rate: float) -> Tensor:
    """(K, K) float64 matrix that moves class k to class ``pairs[k]``, (K,) int64, in a share ``rate`` of cases."""
    num_classes = len(pairs)
    _check(num_classes, rate)
    matrix = (1 - rate) * torch.eye(num_classes, dtype=torch.float64)
    matrix[torch.arange(num_classes), pairs] = rate
    return matrix


def released_pairs(num_classes: int) -> Tensor:
    """(K,) int64, the class that each flips to in the code of GLC, MLC and EBOMLC: numpy's legacy generator, seed 1."""
    state, classes = np.random.RandomState(1), np.arange(num_classes)
    return torch.tensor([int(state.choice(np.delete(classes, label))) for label in classes])


def apply_transition(labels: Tensor, matrix: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw one noisy label for each label, independently, by inversion of its row's distribution.

    One uniform number is used for each label in turn, so that with the same seed a label that is wrong under uniform
    or flip noise stays wrong at every higher rate.

    Args:
        labels: (N,) int64 true labels in 0…K−1.
        matrix: (K, K) float64, rows sum to 1.
        rng: where the N uniform numbers come from.

    Returns:
        (N,) int64 noisy labels. A class of probability 0 is never drawn.
    """
    sums = matrix.cumsum(dim=1)
    cumulative = (sums / sums[:, -1:]).numpy()
    uniform = rng.random(len(labels))
    true = labels.numpy()
    noisy = np.empty_like(true)
    for label in np.unique(true):
        rows = true == label
        noisy[rows] = np.searchsorted(cumulative[label], uniform[rows], side="right")
    return torch.from_numpy(noisy)


def nominal_rate(labels: Tensor, matrix: Tensor) -> float:
    """The expected share of ``labels`` (N,) that ``matrix`` turns into another class, in 0…1."""
    return float((1 - matrix.diagonal()[labels]).mean())


def realised_rate(true_labels: Tensor, noisy_labels: Tensor) -> float:
    """The share of labels that differ, in 0…1; both (N,) int64, N ≥ 1."""
    return float((true_labels != noisy_labels).double().mean())


def _check(num_classes: int, rate: float) -> None:
    if num_classes < 2:
        raise ValueError(f"label noise needs at least 2 classes, not {num_classes}")
    if not 0 <= rate <= 1:
        raise ValueError(f"noise rate {rate} is outside 0…1")
