"""Meta models that weigh samples by their loss: a perceptron with one hidden layer, and two of them for a Beta."""

import torch
from torch import Tensor, nn
from torch.nn import functional

HIDDEN = 100


class WeightNet(nn.Module):
    """Loss → 100 ReLU → sigmoid: the weight of a sample (Shu et al. 2019, "Meta-Weight-Net").

    Layers start as torch's linear layers do.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = _perceptron()

    def forward(self, losses: Tensor) -> Tensor:
        """(n,) losses → (n,) weights in 0…1."""
        return self.layers(losses.unsqueeze(1)).squeeze(1).sigmoid()


class BetaWeightNet(nn.Module):
    """Loss → the two shapes of a Beta distribution over a sample's weight (Zhao et al. 2021, "A Probabilistic
    Formulation for Meta-Weight-Net").

    Two perceptrons, loss → 100 ReLU → softplus.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first = _perceptron()
        self.second = _perceptron()

    def forward(self, losses: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) losses → shapes a and b, (n,) each, > 0."""
        column = losses.unsqueeze(1)
        smallest = torch.finfo(losses.dtype).eps
        first, second = (functional.softplus(net(column)).squeeze(1) + smallest for net in (self.first, self.second))
        return first, second


def _perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(1, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 1))
