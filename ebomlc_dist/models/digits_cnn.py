"""A small convolutional network for 8×8 grey images: cheap on a CPU, few operations a pass."""

from torch import nn

from ebomlc_dist.models.main_model import MainModel

WIDTHS = (16, 32, 64)


def digits_cnn(num_classes: int, in_channels: int) -> MainModel:
    """Three 3×3 convolutions (16, 32, 64 channels, the last two with stride 2), global average pooling, 64 features.

    Takes (n, C, H, W) images of any size. Convolutions start from the normal distribution of He et al. 2015 (fan-in),
    the head likewise with gain 1 and zero bias.
    """
    layers: list[nn.Module] = []
    previous = in_channels
    for channels, stride in zip(WIDTHS, (1, 2, 2), strict=True):
        convolution = nn.Conv2d(previous, channels, 3, stride, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU()]
        previous = channels
    head = nn.Linear(previous, num_classes)
    nn.init.kaiming_normal_(head.weight, nonlinearity="linear")
    nn.init.zeros_(head.bias)
    return MainModel(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), head)
