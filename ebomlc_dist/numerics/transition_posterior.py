"""The noise process T[t, g] = P(given g | true t) as the mean of its posterior, from what a classifier says of images.

As for `transition.transition_by_moments`, a noisy image shows its prediction p and its given label g, and a held-out
trusted image its true class t and p; g and p depend on each other through t alone:

    t ~ π,   p | t ~ C[t],   g | t ~ T[t]

Where the classifier is weak and few images are held out, many T explain the counts about as well, and the one that
does best can be far off in single classes. Here all of them count, by how well they explain both tables and by

    T[t, t] ~ Beta(s(1−ε), sε),   T[t, others] / (1 − T[t, t]) ~ Dirichlet(c, …, c),   ε, s, c: the same for all classes
    C[t] ~ Dirichlet(m·a at t, m(1−a)/(K−1) elsewhere),   a: mean accuracy on the held-out images,   m = 10
    π ~ Dirichlet(1, …, 1)

ε, s and c are unknown too, each evenly likely on a grid. So classes lend each other strength where they are alike:
errors that go to one other class (c small), or anywhere (c large); the same rate in all classes (s large), or not.

The two labels of an image are two observers in the sense of Dawid and Skene (1979). The mean is found by Gibbs
sampling (Geman and Geman 1984) of the true classes, C, T, π, and ε, s, c in turn, with a fixed seed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln
from torch import Tensor

from ebomlc_dist.numerics.transition import blind_transition

Matrix = NDArray[np.floating]

MOST_CLASSES = 100
"""The work of a sweep grows with the cube of the number of classes."""
_SEED = 13
_SWEEPS, _MANY_CLASSES, _FEW_SWEEPS = 1000, 20, 200
_SETTLING = 0.25
_CONFUSION_IMAGES = 10.0
_RATES = np.concatenate([[0.005, 0.01, 0.02, 0.04, 0.07], np.arange(0.1, 0.99, 0.05)])
_STRENGTHS = 2.0 ** np.arange(1, 9)
_EVENNESS = 0.005 * 2.0 ** np.arange(13)
_KEPT, _LOST = _STRENGTHS[:, None] * (1 - _RATES), _STRENGTHS[:, None] * _RATES
_LOG_BETA = gammaln(_KEPT + _LOST) - gammaln(_KEPT) - gammaln(_LOST)
_TINY = 1e-300


def transition_by_posterior(joint_counts: Tensor, confusion_counts: Tensor) -> Tensor:
    """T (K, K) float64 on the CPU, ``T[true, given]``, rows on the simplex; K ≤ `MOST_CLASSES`.

    Args:
        joint_counts: (K, K), noisy images with prediction p (row) and given label g (column).
        confusion_counts: (K, K), held-out trusted images of class t (row) with prediction p (column).
    """
    joint, held_out = (np.rint(counts.cpu().numpy()).astype(np.int64) for counts in (joint_counts, confusion_counts))
    size = len(joint)
    rng = np.random.Generator(np.random.PCG64(_SEED))
    known = held_out + _CONFUSION_IMAGES * mean_confusion(held_out)
    confusion = known / known.sum(axis=1, keepdims=True)
    transition = blind_transition(size).numpy()
    classes, likeness = np.full(size, 1 / size), _Likeness(rate=0.5, strength=8.0, evenness=1.0)

    sweeps = _SWEEPS if size <= _MANY_CLASSES else _FEW_SWEEPS
    settling = round(_SETTLING * sweeps)
    total = np.zeros((size, size))
    for sweep in range(sweeps):
        weights = np.einsum("t,tp,tg->pgt", classes, confusion, transition) + _TINY
        true = rng.multinomial(joint, weights / weights.sum(axis=2, keepdims=True))  # (p, g, t)
        by_prediction, by_given = true.sum(axis=1).T, true.sum(axis=0).T
        confusion = _dirichlet(rng, known + by_prediction)
        transition, likeness = _draw_transition(rng, by_given, likeness)
        classes = rng.dirichlet(by_given.sum(axis=1) + 1.0)
        if sweep >= settling:
            total += transition
    return torch.from_numpy(total / (sweeps - settling))


@dataclass(frozen=True)
class _Likeness:
    """How alike the rows of T are: ε, s and c."""

    rate: float
    strength: float
    evenness: float


def _draw_transition(
    rng: np.random.Generator, counts: NDArray[np.int64], likeness: _Likeness
) -> tuple[Matrix, _Likeness]:
    """T given counts [true, given] and how alike its rows are; then how alike they are, given T."""
    size = len(counts)
    others = ~np.eye(size, dtype=bool)
    right = counts.diagonal()
    wrong = counts[others].reshape(size, size - 1)
    strength, rate = likeness.strength, likeness.rate
    kept = rng.beta(right + strength * (1 - rate), wrong.sum(axis=1) + strength * rate).clip(1e-12, 1 - 1e-12)
    shares = _dirichlet(rng, wrong + likeness.evenness)
    transition = np.diag(kept)
    transition[others] = ((1 - kept)[:, None] * shares).ravel()
    return transition, _draw_likeness(rng, kept, shares)


def _draw_likeness(rng: np.random.Generator, kept: Matrix, shares: Matrix) -> _Likeness:
    """From the likelihood of T's diagonal, (K,), and of its other entries' shares, (K, K − 1), on the grids."""
    size, others = len(kept), shares.shape[1]
    beta = size * _LOG_BETA + ((_KEPT - 1) * np.log(kept).sum() + (_LOST - 1) * np.log1p(-kept).sum())
    strength, rate = np.unravel_index(_choice(rng, beta.ravel()), beta.shape)
    c = _EVENNESS
    even = size * (gammaln(others * c) - others * gammaln(c)) + (c - 1) * np.log(shares).sum()
    return _Likeness(float(_RATES[rate]), float(_STRENGTHS[strength]), float(c[_choice(rng, even)]))


def _choice(rng: np.random.Generator, log_weights: Matrix) -> int:
    weights = np.exp(log_weights - log_weights.max())
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def _dirichlet(rng: np.random.Generator, concentrations: Matrix) -> Matrix:
    """A draw for each row."""
    drawn = rng.gamma(concentrations) + _TINY
    return drawn / drawn.sum(axis=1, keepdims=True)


def mean_confusion(counts: NDArray[np.number]) -> Matrix:
    """P(predicted | true), (K, K), of (K, K) counts: the mean accuracy in every class, errors spread evenly."""
    size, accuracy = len(counts), (np.trace(counts) + 1) / (counts.sum() + 2)
    mean = np.full((size, size), (1 - accuracy) / (size - 1))
    np.fill_diagonal(mean, accuracy)
    return mean
