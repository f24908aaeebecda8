"""Labels as rows of zeros with a one, of any type and without waiting for the device; torch's own gives int64 alone."""

import torch
from torch import Tensor


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """(n, K) of ``dtype``: a one at [i, label of i]. ``labels``: (n,) int64."""
    return (labels[:, None] == torch.arange(num_classes, device=labels.device)).to(dtype)


def in_own_row(labels: Tensor, values: Tensor, num_classes: int) -> Tensor:
    """(n, K, m): ``values`` (n, m) in the row of the sample's label and zeros in the others, so that a sum over samples
    is a table by class."""
    return one_hot(labels, num_classes, values.dtype)[:, :, None] * values[:, None, :]
