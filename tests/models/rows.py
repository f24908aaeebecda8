"""One row a main model: what it takes and how large it is. Also the models of torchvision that stand for the others."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Row:
    """Images (C, H, W) of the model's home ground, or D features; its feature width and parameters at 10 classes.

    ``published`` is the size its source states, in millions, or None for our own models.
    """

    images: tuple[int, ...]
    feature_dim: int
    parameters: int
    published: float | None = None


ROWS = {
    "digits-cnn": Row((1, 8, 8), 64, 24_058),
    "fast-cnn": Row((3, 32, 32), 256, 1_161_282),
    "linear": Row((384,), 384, 3_850),
    "mlp": Row((384,), 256, 101_898),
    "resnet8": Row((3, 32, 32), 64, 75_290),
    "resnet20": Row((3, 32, 32), 64, 269_722, 0.27),
    "resnet32": Row((3, 32, 32), 64, 464_154, 0.46),
    "resnet44": Row((3, 32, 32), 64, 658_586, 0.66),
    "resnet56": Row((3, 32, 32), 64, 853_018, 0.85),
}

TORCHVISION_ROWS = {
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "googlenet": 1024,
    "inception_v3": 2048,
    "mobilenet_v3_small": 1024,
    "regnet_y_400mf": 440,
    "resnet18": 512,
    "squeezenet1_1": 512,
    "swin_t": 768,
    "vgg11_bn": 4096,
    "vit_b_16": 768,
}


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
