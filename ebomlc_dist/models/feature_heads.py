"""Heads on features: a linear layer, and a small network."""

from torch import Tensor, nn

from ebomlc_dist.models.main_model import MainModel

WIDTHS = (256,)


class FeatureInput(nn.Module):
    """(n, D) features as they are. Anything else, such as images, is refused."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the features. Raises ``ValueError`` for another number of axes."""
        if features.dim() != 2:
            raise ValueError("it takes features (n, D)")
        return features


def linear(num_classes: int, in_channels: int) -> MainModel:
    """One linear layer on (n, D) features, D = ``in_channels``: multinomial logistic regression. It starts at zero."""
    head = nn.Linear(in_channels, num_classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return MainModel(FeatureInput(), head)


def mlp(num_classes: int, in_channels: int, widths: tuple[int, ...] | None = None) -> MainModel:
    """LayerNorm over (n, D) features, D = ``in_channels``, one hidden layer with ReLU for each width, a linear head.

    Hidden layers start from the normal distribution of He et al. 2015 (fan-in), the head likewise with gain 1; biases
    are zero.

    Args:
        num_classes: K.
        in_channels: D.
        widths: units of each hidden layer; None for 256 in one.
    """
    layers: list[nn.Module] = [FeatureInput(), nn.LayerNorm(in_channels)]
    previous = in_channels
    for width in WIDTHS if widths is None else widths:
        layers += [_layer(previous, width, "relu"), nn.ReLU()]
        previous = width
    return MainModel(nn.Sequential(*layers), _layer(previous, num_classes, "linear"))


def _layer(inputs: int, outputs: int, nonlinearity: str) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_normal_(layer.weight, nonlinearity=nonlinearity)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)
    return layer
