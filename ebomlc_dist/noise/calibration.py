"""What a label should be, given the image and the label it has: Bayes' rule with what the trusted images teach.

    P(true y | image x, given g) ∝ q_y(x)/π_y · P(true y | given g)

q is a multinomial logistic regression on the logarithms of the main model's probabilities, fitted on the trusted
images: whatever the method taught the model (to repeat noisy labels, to mix up two classes), q says what its output
means. π is the trusted images' class distribution. P(true | given) is found from the noisy images by the EM steps of
Saerens, Latinne and Decaestecker (2002), a few of them, since many fit the model's own errors. For the trusted images
themselves q is cross-validated, so that the posterior can be judged on them.

A model is surer on images that it was trained on than on others. Where some trusted images were held out, q is fitted
on the rest and then flattened, q^(1/t), t by the likelihood of the held-out ones (Guo et al. 2017, temperature
scaling): a few images cannot teach which classes a model mixes up, but how far it may be believed.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ebomlc_dist.noise.alike_rows import Matrix

MOST_CLASSES = 100
_PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
_FOLDS = 5
_LEAST = 1e-6
_BLOCK = 65_536
_STEPS = 30
_TEMPERATURES = np.geomspace(0.25, 16.0, 61)
_FEWEST_UNSEEN = 20


@dataclass(frozen=True)
class Calibration:
    """q, fitted.

    Attributes:
        trusted: (Nc, K) float64 of the trusted images, each by a fit without it.
        prior: (K,) π.
        temperature: t.
    """

    trusted: Matrix
    prior: Matrix
    temperature: float
    _model: LogisticRegression

    def blocks(self, probabilities: NDArray[np.float32]) -> Iterator[tuple[slice, Matrix]]:
        """Yield q (m, K) of the main model's probabilities (n, K), some rows at a time."""
        for begin in range(0, len(probabilities), _BLOCK):
            rows = slice(begin, min(begin + _BLOCK, len(probabilities)))
            yield rows, self._calibrated(probabilities[rows])

    def priors(self, probabilities: NDArray[np.float32], given: NDArray) -> Matrix:
        """(K, K) P(true | given) [given, true], from the main model's probabilities (n, K) of the noisy images, or of
        evenly spaced ones among many."""
        rows = np.linspace(0, len(given) - 1, min(len(given), _BLOCK)).astype(np.int64)
        calibrated, labels = self._calibrated(probabilities[rows]), given[rows]
        size = len(self.prior)
        found = np.full((size, size), 1 / size)
        members = np.zeros((size, len(rows)))
        members[labels, np.arange(len(rows))] = 1
        members /= np.maximum(members.sum(axis=1, keepdims=True), 1)
        for _ in range(_STEPS):
            found = members @ self.posterior(calibrated, labels, found)
        return found

    def _calibrated(self, probabilities: NDArray[np.float32]) -> Matrix:
        return _flattened(self._model.predict_proba(_logarithms(probabilities)), self.temperature)

    def posterior(self, calibrated: Matrix, given: NDArray, priors: Matrix) -> Matrix:
        """Return P(true | image, given label), (m, K), for q (m, K) and given labels (m,)."""
        product = calibrated / self.prior * priors[given]
        return product / np.maximum(product.sum(axis=1, keepdims=True), 1e-300)


def calibrate(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], unseen: NDArray[np.bool_] | None = None
) -> Calibration | None:
    """Return q, fitted on trusted images: (Nc, K) probabilities and (Nc,) labels.

    Args:
        unseen: (Nc,) those that the model was not trained on, where it was on the others; fewer than 20 are taken like
            the others.

    Returns:
        None where they cannot teach it: above 100 classes, or a class with fewer than two images.
    """
    return _flattened_on(probabilities, truth, unseen) if enough(unseen) else _fitted(probabilities, truth)


def enough(unseen: NDArray[np.bool_] | None) -> TypeGuard[NDArray[np.bool_]]:
    """Return whether enough images were held out to use them alone."""
    return unseen is not None and int(unseen.sum()) >= _FEWEST_UNSEEN


def _flattened_on(
    probabilities: NDArray[np.float32], truth: NDArray[np.int64], unseen: NDArray[np.bool_]
) -> Calibration | None:
    """q fitted on the images that were trained on, t on the others."""
    found = _fitted(probabilities[~unseen], truth[~unseen])
    if found is None:
        return None
    calibrated, right = found._calibrated(probabilities[unseen]), truth[unseen]

    def likelihood(temperature: float) -> float:
        flat = _flattened(calibrated, temperature)
        return float(np.log(np.maximum(flat[np.arange(len(right)), right], _LEAST)).mean())

    temperature = float(max(_TEMPERATURES, key=likelihood))
    trusted = np.empty((len(truth), calibrated.shape[1]))
    trusted[~unseen], trusted[unseen] = found.trusted, calibrated
    prior = np.bincount(truth, minlength=calibrated.shape[1]) / len(truth)
    return replace(found, trusted=_flattened(trusted, temperature), prior=prior, temperature=temperature)


def _fitted(probabilities: NDArray[np.float32], truth: NDArray[np.int64]) -> Calibration | None:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    num_classes = probabilities.shape[1]
    counts = np.bincount(truth, minlength=num_classes)
    if num_classes > MOST_CLASSES or counts.min() < 2:
        return None
    features = _logarithms(probabilities)
    folds = StratifiedKFold(min(_FOLDS, int(counts.min())))
    with warnings.catch_warnings():
        # A fit that stops early is a fit all the same; the one with the best likelihood is taken.
        warnings.simplefilter("ignore", ConvergenceWarning)
        best = None
        for penalty in _PENALTIES:
            model = LogisticRegression(C=penalty, max_iter=300)
            held_out = cross_val_predict(model, features, truth, cv=folds, method="predict_proba")
            likelihood = np.log(np.maximum(held_out[np.arange(len(truth)), truth], _LEAST)).mean()
            if best is None or likelihood > best[0]:
                best = (likelihood, held_out, model)
        assert best is not None
        _, held_out, model = best
        model.fit(features, truth)
    return Calibration(held_out, counts / counts.sum(), 1.0, model)


def _flattened(calibrated: Matrix, temperature: float) -> Matrix:
    """(m, K) of (m, K): to the power 1/t, summing to one."""
    powers = np.maximum(calibrated, 1e-300) ** (1 / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


def _logarithms(probabilities: NDArray[np.float32]) -> Matrix:
    return np.log(np.maximum(probabilities, _LEAST).astype(np.float64))
