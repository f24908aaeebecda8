"""Draws of the noise process T[t, g] = P(given g | true t), from what a classifier says of images.

As for `moments.transition_by_moments`, a noisy image shows its prediction p and its given label g, and a held-out
trusted image its true class t and p; g and p depend on each other through t alone:

    t ~ π,   p | t ~ C[t],   g | t ~ T[t],   π ~ Dirichlet(1, …, 1),   C, T: rows that are alike (`alike_rows`)

Where the classifier is weak and few images are held out, many pairs (C, T) explain the counts about as well: a
classifier that errs, or labels that do. All of them count, by how well they explain both tables.

They are drawn by Gibbs sampling (Geman and Geman 1984) of the true classes, C, T and π in turn, with a fixed seed. The
two labels of an image are two observers in the sense of Dawid and Skene (1979). Gibbs steps alone hardly move along

    J = Cᵀ M,   M[t, g] = π_t T[t, g]        what noisy images show, the same for (A C, A⁻ᵀ M) with any A

so that each sweep also proposes A = exp(xG), accepted by Metropolis' rule. G = R − 1 mixes each row with other rows:
evenly, or as the held-out images, or the noisy ones, are mixed up. exp(−xG) is proposed as often as exp(xG), and the
volume changes by |A|^(K−1) for C, |A|^(−K) for M, Π π_t^(K−1) from T to M.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from ebomlc_dist.noise.alike_rows import Counts, Matrix, draw_rows, log_density

MOST_CLASSES = 100
"""The work of a sweep grows with the cube of the number of classes."""
_SEED = 13
_SWEEPS, _MANY_CLASSES, _FEW_SWEEPS = 1000, 20, 300
_SETTLING = 0.3
_PROPOSALS = 12
_SIZES = (0.003, 0.01, 0.03, 0.1, 0.3)
_EVEN_PART = 0.02
_FIRST_STRENGTH = 10.0
_TINY = 1e-300


@dataclass(frozen=True)
class Draw:
    """One draw from the posterior.

    Attributes:
        mass: M (K, K), [true, given], sums to one.
        overlap: how often a wrong prediction and a wrong label of one image are the same class, 0…1.
        settled: whether the chain has left its start; draws before that say nothing of the posterior.
    """

    mass: Matrix
    overlap: float
    settled: bool


def drawn(joint: Counts, held_out: Counts) -> Iterator[Draw]:
    """Yield draws from (K, K) tables of counts; K ≤ `MOST_CLASSES`.

    Args:
        joint: noisy images with prediction p (row) and given label g (column).
        held_out: trusted images of class t (row) with prediction p (column).
    """
    size = len(joint)
    rng = np.random.Generator(np.random.PCG64(_SEED))
    known = held_out + _FIRST_STRENGTH * mean_confusion(held_out)
    confusion = known / known.sum(axis=1, keepdims=True)
    # From a T that is wide: a likeliest one can lie in another mode, and is left slowly.
    mass: Matrix = mean_confusion(np.zeros((size, size))) / size
    cells = joint.nonzero()
    moves = _Moves(joint, held_out)

    sweeps = _SWEEPS if size <= _MANY_CLASSES else _FEW_SWEEPS
    for sweep in range(sweeps):
        by_prediction, by_given = _draw_classes(rng, joint, cells, confusion, mass)
        confusion, transition = draw_rows(rng, by_prediction + held_out), draw_rows(rng, by_given)
        mass = rng.dirichlet(by_given.sum(axis=1) + 1.0)[:, None] * transition
        confusion, mass = moves.applied(rng, confusion, mass)
        yield Draw(mass, _overlap(confusion, mass), sweep >= round(_SETTLING * sweeps))


def mean_confusion(counts: NDArray[np.number]) -> Matrix:
    """P(predicted | true), (K, K), of (K, K) counts: the mean accuracy in every class, errors spread evenly."""
    size, accuracy = len(counts), (np.trace(counts) + 1) / (counts.sum() + 2)
    mean = np.full((size, size), (1 - accuracy) / (size - 1))
    np.fill_diagonal(mean, accuracy)
    return mean


def _overlap(confusion: Matrix, mass: Matrix) -> float:
    """How often a wrong prediction and a wrong label of one image are the same class, 0…1."""
    both_wrong = float(((mass.sum(axis=1) - mass.diagonal()) * (1 - confusion.diagonal())).sum())
    same = float((mass * confusion).sum() - (mass.diagonal() * confusion.diagonal()).sum())
    return min(max(same, 0.0) / max(both_wrong, _TINY), 1.0)


def _draw_classes(
    rng: np.random.Generator, joint: Counts, cells: tuple[Counts, ...], confusion: Matrix, mass: Matrix
) -> tuple[Counts, Counts]:
    """True classes of all noisy images, as counts [true, predicted] and [true, given]."""
    size, (predicted, given) = len(joint), cells
    weights = confusion.T[predicted] * mass.T[given] + _TINY
    true = rng.multinomial(joint[cells], weights / weights.sum(axis=1, keepdims=True))
    by_prediction, by_given = np.zeros((2, size, size), dtype=np.int64)
    np.add.at(by_prediction, predicted, true)
    np.add.at(by_given, given, true)
    return by_prediction.T, by_given.T


class _Moves:
    """Proposals along the (C, M) that explain the noisy images alike."""

    def __init__(self, joint: Counts, held_out: Counts) -> None:
        size = len(joint)
        ways = (np.ones((size, size)), held_out, joint + joint.T)
        self._held_out = held_out
        self._steps = [
            (x, expm(x * generator), expm(-x * generator).T)
            for generator in map(_generator, ways)
            for length in _SIZES
            for x in (length, -length)
        ]

    def applied(self, rng: np.random.Generator, confusion: Matrix, mass: Matrix) -> tuple[Matrix, Matrix]:
        """C and M after some proposals."""
        size, worth = len(mass), self._worth(confusion, mass)
        for choice, luck in zip(rng.integers(len(self._steps), size=_PROPOSALS), rng.random(_PROPOSALS), strict=True):
            x, forth, back = self._steps[choice]
            other_confusion, other_mass = forth @ confusion, back @ mass
            if other_confusion.min() <= 0 or other_mass.min() <= 0:
                continue
            other_worth = self._worth(other_confusion, other_mass)
            # log |A|^(K−1) |A|^(−K) = −x·trace(G), and G's diagonal is −1.
            if np.log(luck) < other_worth - worth + x * size:
                confusion, mass, worth = other_confusion, other_mass, other_worth
        return confusion, mass

    def _worth(self, confusion: Matrix, mass: Matrix) -> float:
        """The log posterior of C and M, but for what no proposal changes."""
        classes = mass.sum(axis=1, keepdims=True)
        likelihood = (self._held_out * np.log(confusion + _TINY)).sum()
        volume = (len(mass) - 1) * np.log(classes).sum()
        return float(likelihood + log_density(confusion) + log_density(mass / classes) - volume)


def _generator(mixed: NDArray) -> Matrix:
    """R − 1, R[t, ·] the shares of the other classes in (K, K) counts ``mixed``, a few of them even."""
    others = np.where(np.eye(len(mixed), dtype=bool), 0.0, mixed.astype(float))
    others += (~np.eye(len(mixed), dtype=bool)) * max(_EVEN_PART * others.mean(), _EVEN_PART)
    return others / others.sum(axis=1, keepdims=True) - np.eye(len(mixed))
