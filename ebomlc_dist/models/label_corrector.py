"""The meta model g_α(h(x), ỹ): a distribution over the true label, from an image's features and its given label."""

import torch
from torch import Tensor, nn

from ebomlc_dist.models.norm import drop_batch_counters


class LabelCorrector(nn.Module):
    """Embedding(K, E) ⊕ features → H tanh → H tanh → K.

    It returns logits; the softmax belongs to the caller, so that log-probabilities are exact. The embedding and the
    linear layers start from Xavier's uniform distribution (Glorot & Bengio 2010, gain 1), biases at zero. Nothing is
    cast: the arithmetic is that of the parameters' dtype.

    Args:
        num_classes: K.
        feature_dim: D of the main model's features.
        embedding_dim: E.
        hidden_dim: H.
        dropout: share of hidden values dropped in training, after each tanh.
        batch_norm: BatchNorm1d before each tanh. In training it needs two samples or more on each rank.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        embedding_dim: int = 128,
        hidden_dim: int = 128,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.embedding = nn.Embedding(num_classes, embedding_dim)
        layers: list[nn.Module] = []
        for width in (embedding_dim + feature_dim, hidden_dim):
            layers.append(nn.Linear(width, hidden_dim))
            if batch_norm:
                layers.append(nn.BatchNorm1d(hidden_dim))
            layers.append(nn.Tanh())
            if dropout:
                layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, nn.Linear(hidden_dim, num_classes))
        nn.init.xavier_uniform_(self.embedding.weight)
        for module in self.layers:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        drop_batch_counters(self)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features (n, D) and given labels (n,) int64 → logits (n, K)."""
        return self.layers(torch.cat([self.embedding(labels), features], dim=1))


class ReleasedCorrector(nn.Module):
    """The meta model of EBOMLC's released research code.

    Features ⊕ Embedding(K, E) → H tanh, dropout → H tanh, BatchNorm → K, as logits.

    The embedding starts from N(0, 1), the linear layers from Xavier's normal distribution (gain 1) with biases at zero.

    Args:
        num_classes: K.
        feature_dim: D of the features.
        embedding_dim: E.
        hidden_dim: H.
        dropout: share of hidden values dropped in training, after the first tanh alone.
        batch_norm: BatchNorm1d after the second tanh alone. In training it needs two samples or more on each rank.
    """

    def __init__(
        self,
        num_classes: int,
        feature_dim: int,
        embedding_dim: int = 128,
        hidden_dim: int = 128,
        dropout: float = 0.3,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.embedding = nn.Embedding(num_classes, embedding_dim)
        self.layers = nn.Sequential(
            nn.Linear(feature_dim + embedding_dim, hidden_dim),
            nn.Tanh(),
            *([nn.Dropout(dropout)] if dropout else []),
            nn.Linear(hidden_dim, hidden_dim),
            nn.Tanh(),
            *([nn.BatchNorm1d(hidden_dim)] if batch_norm else []),
            nn.Linear(hidden_dim, num_classes),
        )
        for module in self.layers:
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
                nn.init.zeros_(module.bias)
        drop_batch_counters(self)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Features (n, D) and given labels (n,) int64 → logits (n, K)."""
        return self.layers(torch.cat([features, self.embedding(labels)], dim=1))
