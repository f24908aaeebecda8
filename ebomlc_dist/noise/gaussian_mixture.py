"""Two groups of losses: which samples belong to the group of small ones (Arazo et al. 2019; Li et al. 2020)."""

import warnings

import torch
from torch import Tensor


def small_loss_probability(losses: Tensor) -> Tensor:
    """P(sample belongs to the component of smaller mean | its loss), (N,) float64 on the CPU.

    A mixture of two Gaussians is fitted by scikit-learn, with DivideMix's settings and a fixed start.

    Args:
        losses: (N,), N ≥ 2, of any scale.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    values = losses.detach().double().cpu().reshape(-1, 1).numpy()
    mixture = GaussianMixture(n_components=2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
    with warnings.catch_warnings():
        # Ten iterations are the method's own; that they may not suffice is no news.
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(values)
    return torch.from_numpy(mixture.predict_proba(values)[:, mixture.means_.argmin()])


def unit_range(values: Tensor) -> Tensor:
    """(N,) values moved and scaled to 0…1; zeros where all are equal."""
    low, high = values.min(), values.max()
    return (values - low) / torch.where(high > low, high - low, 1.0)
