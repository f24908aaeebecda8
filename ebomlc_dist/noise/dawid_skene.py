"""How likely a label is right where no label is known to be: three opinions that err apart (Dawid & Skene 1979).

Each image has three labels: the given one and the predictions of two models that were not trained on it. Given the true
class y they are taken to err independently,

    P(a, b, g) = Σ_y π_y A[y, a] B[y, b] T[y, g]

which determines π, A, B and T, found by expectation maximisation with one image a class added. Errors that the views
share, such as images that both models and people take for another class, look like agreement: the probability is then
too high.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Matrix = NDArray[np.float64]

_STEPS, _DRAWS, _FEW_DRAWS = 50, 100, 20
_MANY_CASES = 10_000
_MOST_ENTRIES = 10_000_000
_SEED = 19


@dataclass(frozen=True)
class Views:
    """The fitted model: ``log_prior`` (K,), and ``log_tables``, three of (K, K) at [label said, true label]."""

    log_prior: Matrix
    log_tables: tuple[Matrix, ...]

    def posterior(self, labels: NDArray[np.int64]) -> Matrix:
        """(m, K) P(true | labels) for (m, 3) labels."""
        total = self.log_prior + sum(table[labels[:, view]] for view, table in enumerate(self.log_tables))
        found = np.exp(total - total.max(axis=1, keepdims=True))
        return found / found.sum(axis=1, keepdims=True)


def fit_views(labels: NDArray[np.int64], counts: NDArray, num_classes: int) -> Views:
    """Fit to distinct (m, 3) ``labels``, each seen ``counts`` (m,) times."""
    shape = (num_classes, len(labels))
    said = [csr_array((np.ones(len(labels)), (column, np.arange(len(labels)))), shape=shape) for column in labels.T]
    posterior = np.asarray(sum(one.T.toarray() for one in said)) / len(said)
    for _ in range(_STEPS):
        weights = posterior * counts[:, None]
        tables = [one @ weights + 1 / num_classes for one in said]
        prior = weights.sum(axis=0) + 1 / num_classes
        views = Views(np.log(prior / prior.sum()), tuple(np.log(table / table.sum(axis=0)) for table in tables))
        posterior = views.posterior(labels)
    return views


def purity(labels: NDArray[np.int64], chosen: NDArray[np.int64], num_classes: int) -> dict[str, float]:
    """The estimated share of right labels among chosen images: ``value``, ``low``, ``high``, each in 0…1.

    Args:
        labels: (n, 3) of all images: two predictions, and the given label.
        chosen: (m,) rows of them.
        num_classes: K.

    Returns:
        the estimate with its 95 % interval: of the share itself, not of its expectation, by drawing the images again
        and then, image by image, whether its label is right.
    """
    size = min(len(labels), max(1, _MOST_ENTRIES // num_classes))
    rows = np.linspace(0, len(labels) - 1, size).astype(np.int64)
    cases, counts = np.unique(labels[rows], axis=0, return_counts=True)
    asked = labels[chosen]
    rng = np.random.Generator(np.random.PCG64(_SEED))

    def right(seen: NDArray) -> Matrix:
        return fit_views(cases, seen, num_classes).posterior(asked)[np.arange(len(asked)), asked[:, 2]]

    drawn = []
    for _ in range(_DRAWS if len(cases) <= _MANY_CASES else _FEW_DRAWS):
        shares = right(rng.multinomial(size, counts / size))
        drawn.append((rng.random(len(shares)) < shares).mean())
    value = float(right(counts).mean())
    low, high = np.percentile(drawn, (2.5, 97.5))
    return {"value": value, "low": min(value, float(low)), "high": max(value, float(high))}
