"""A perceptron with one hidden layer, for images of one fixed size."""

from torch import nn

from ebomlc_dist.models.main_model import MainModel

WIDTH = 32


def perceptron(num_classes: int, in_channels: int) -> MainModel:
    """One hidden layer on 8×8 images."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(in_channels * 64, WIDTH), nn.ReLU())
    return MainModel(body, nn.Linear(WIDTH, num_classes))


perceptron.sides = (8, 8)
