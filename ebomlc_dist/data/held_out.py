"""The part of the trusted set that is measured on and not trained on."""

import torch
from torch import Tensor


def held_out(labels: Tensor, share: float) -> Tensor:
    """(n,) bool: of each class the last images in order, ``share`` of them rounded, one at most short of all.

    Args:
        labels: (n,) int64 trusted labels.
        share: 0…1.
    """
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        number = min(round(share * len(members)), len(members) - 1)
        chosen[members[len(members) - number :]] = True
    return chosen
