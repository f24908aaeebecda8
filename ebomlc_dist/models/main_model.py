"""What every main model is: a body that gives features, and one linear layer on top of them."""

from collections.abc import Callable

from torch import Tensor, nn


class MainModel(nn.Module):
    """``features = body(images)``, ``logits = head(features)``.

    Args:
        body: (n, C, H, W) images → (n, D) features.
        head: the last linear layer, D → K.
    """

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.body = body
        self.head = head

    @property
    def feature_dim(self) -> int:
        """D, the width of the features."""
        return self.head.in_features

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, C, H, W) float images → logits (n, K) and features (n, D), the very input of the head."""
        features = self.body(images)
        return self.head(features), features

    def fit_to(self, images: Callable[[], Tensor]) -> None:
        """Set what the network takes from training images before it is trained; most networks take nothing.

        Args:
            images: gives (n, C, H, W) images, normalised and not augmented.
        """


def start_head_as_released(model: MainModel) -> None:
    """Draw the head as EBOMLC's released code does: weights from N(0, 2/D), biases from torch's default, U(±1/√D)."""
    model.head.reset_parameters()
    nn.init.kaiming_normal_(model.head.weight, nonlinearity="relu")
