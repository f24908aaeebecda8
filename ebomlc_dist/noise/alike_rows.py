"""A prior over stochastic matrices whose rows are alike: who is how often wrong, and where errors go.

For a matrix X (K, K), such as a classifier's confusion or a noise process, X[t, ·] a distribution over labels:

    X[t, t] ~ Beta(s(1−ε), sε),   X[t, others] / (1 − X[t, t]) ~ Dirichlet(c, …, c),   ε, s, c: the same for all rows

ε, s and c are unknown, each evenly likely on a grid. So rows lend each other strength as far as they are alike: errors
that go to one other class (c small) or anywhere (c large), the same rate in all rows (s large) or not (s small).
Everything here sums ε, s and c out, or draws them with the rows summed out.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Matrix = NDArray[np.floating]
Counts = NDArray[np.integer]

RATES = np.concatenate([[0.002, 0.005, 0.01, 0.02, 0.04], np.arange(0.06, 0.985, 0.03)])
STRENGTHS = 2.0 ** np.arange(1, 9)
EVENNESS = 0.005 * 2.0 ** np.arange(15)
_KEPT, _LOST = STRENGTHS[:, None] * (1 - RATES), STRENGTHS[:, None] * RATES
_LOG_BETA = gammaln(_KEPT + _LOST) - gammaln(_KEPT) - gammaln(_LOST)
_TINY = 1e-300
_CLIP = 1e-12


def mean_of_rows(counts: Counts) -> Matrix:
    """(K, K), the mean of X's posterior after (K, K) ``counts`` of draws from its rows. Exact, nothing is drawn."""
    right, wrong, lost = _parts(counts)
    weights = np.exp(_rate_evidence(right, lost))
    kept = (_KEPT[..., None] + right) / (STRENGTHS[:, None, None] + right + lost)
    kept = np.einsum("sr,srt->t", weights / weights.sum(), kept)
    evenness = np.exp(_evenness_evidence(wrong, lost))
    shares = (wrong + EVENNESS[:, None, None]) / (lost[:, None] + wrong.shape[1] * EVENNESS[:, None, None])
    return assembled(kept, np.einsum("c,cto->to", evenness / evenness.sum(), shares))


def draw_rows(rng: np.random.Generator, counts: Counts) -> Matrix:
    """(K, K), one draw of X from its posterior after (K, K) ``counts`` of draws from its rows."""
    right, wrong, lost = _parts(counts)
    strength, rate = np.unravel_index(_choice(rng, _rate_evidence(right, lost).ravel()), _KEPT.shape)
    evenness = EVENNESS[_choice(rng, _evenness_evidence(wrong, lost))]
    kept = rng.beta(right + _KEPT[strength, rate], lost + _LOST[strength, rate]).clip(_CLIP, 1 - _CLIP)
    shares = rng.standard_gamma(wrong + evenness) + _TINY
    return assembled(kept, shares / shares.sum(axis=1, keepdims=True))


def log_density(matrix: Matrix) -> float:
    """The logarithm of the prior's density at a (K, K) matrix with entries above zero."""
    kept, wrong, lost = _parts(matrix)
    others = wrong.shape[1]
    kept, lost = kept.clip(_CLIP, 1 - _CLIP), lost.clip(_CLIP)
    rates = len(matrix) * _LOG_BETA + (_KEPT - 1) * np.log(kept).sum() + (_LOST - 1) * np.log(lost).sum()
    found = np.logaddexp.reduce(rates, axis=None) - (others - 1) * np.log(lost).sum()
    if others > 1:
        logs = np.log((wrong / lost[:, None]).clip(_TINY)).sum()
        found += np.logaddexp.reduce(len(matrix) * _log_normaliser(others) + (EVENNESS - 1) * logs)
    return float(found)


@lru_cache
def _log_normaliser(others: int) -> Matrix:
    """Of Dirichlet(c, …, c) over ``others`` classes, for each evenness c."""
    return gammaln(others * EVENNESS) - others * gammaln(EVENNESS)


def assembled(kept: Matrix, shares: Matrix) -> Matrix:
    """(K, K) of its diagonal, (K,), and of how each row shares out the rest, (K, K − 1)."""
    matrix = np.diag(kept).astype(float)
    matrix[_others(len(kept))] = ((1 - kept)[:, None] * shares).ravel()
    return matrix


def _parts(matrix: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """The diagonal (K,), the other entries (K, K − 1), and their sums (K,)."""
    size = len(matrix)
    wrong = matrix[_others(size)].reshape(size, size - 1)
    return matrix.diagonal(), wrong, wrong.sum(axis=1)


def _others(size: int) -> NDArray[np.bool_]:
    return ~np.eye(size, dtype=bool)


def _rate_evidence(right: Counts, lost: Counts) -> Matrix:
    """Log likelihood of strengths (rows) and rates (columns), its maximum 0."""
    total = STRENGTHS[:, None] + right + lost
    logs = gammaln(_KEPT[..., None] + right) + gammaln(_LOST[..., None] + lost) - gammaln(total)[:, None, :]
    found = (logs + _LOG_BETA[..., None]).sum(axis=-1)
    return found - found.max()


def _evenness_evidence(wrong: Counts, lost: Counts) -> Matrix:
    """Log likelihood of each evenness, its maximum 0."""
    others = wrong.shape[1]
    met, times = np.unique(wrong[wrong > 0], return_counts=True)
    rows = gammaln(others * EVENNESS[:, None]) - gammaln(others * EVENNESS[:, None] + lost)
    cells = (gammaln(EVENNESS[:, None] + met) - gammaln(EVENNESS)[:, None]) * times
    found = rows.sum(axis=1) + cells.sum(axis=1)
    return found - found.max()


def _choice(rng: np.random.Generator, log_weights: Matrix) -> int:
    weights = np.exp(log_weights - log_weights.max())
    return int(rng.choice(len(weights), p=weights / weights.sum()))
