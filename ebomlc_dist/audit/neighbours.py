"""What the nearest neighbours of a row say of its label: the share of each class among them.

g(k|x) = Σ over the M rows nearest to x, but x itself, of 1[their given label is k] / M. Distance is the cosine of
standardised features. Of a large set some rows, evenly spaced, stand for all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ebomlc_dist.data.dataset import InputSet, feature_statistics
from ebomlc_dist.data.loaders.augment import normalise
from ebomlc_dist.numerics.one_hot import one_hot

NEIGHBOURS = 50
MOST_REFERENCES = 20_000


@dataclass(frozen=True)
class Neighbours:
    """Rows that vote.

    Attributes:
        rows: (m,) int64, which rows of the features they are, ascending.
        unit: (m, D) float32, their standardised features, scaled to length 1.
        votes: (m, K) float32, one-hot given labels.
        mean, std: (D,) float32.
    """

    rows: Tensor
    unit: Tensor
    votes: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, features: InputSet, rows: Tensor, labels: Tensor, num_classes: int) -> "Neighbours":
        """Return voters for labelled rows.

        Args:
            features: all of them.
            rows: (n,) int64, those with a given label.
            labels: (n,) int64, beside them.
            num_classes: K.
        """
        mean, std = feature_statistics(features)
        number = min(len(rows), MOST_REFERENCES)
        some = torch.arange(number) * len(rows) // max(number, 1)
        chosen, order = rows[some].sort()
        votes = one_hot(labels[some][order], num_classes, torch.float32)
        return cls(chosen, _unit(features, chosen, mean, std), votes, mean, std)

    def share(self, features: InputSet, rows: Tensor) -> Tensor:
        """(n, K) float32: g of ``rows`` (n,) of the features."""
        likeness = _unit(features, rows, self.mean, self.std) @ self.unit.T
        # A row does not vote for itself.
        place = torch.searchsorted(self.rows, rows.contiguous()).clamp_max(len(self.rows) - 1)
        itself = self.rows[place] == rows
        likeness[itself.nonzero().flatten(), place[itself]] = -torch.inf
        number = min(NEIGHBOURS, len(self.rows) - 1)
        nearest = likeness.topk(number, dim=1).indices
        return self.votes[nearest].mean(dim=1)


def _unit(features: InputSet, rows: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    return torch.nn.functional.normalize(normalise(features[rows], mean, std), dim=1)
