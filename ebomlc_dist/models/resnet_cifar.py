"""Residual networks for small images: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2.

A 3×3 convolution, then three stages of n blocks of two 3×3 convolutions with 16, 32 and 64 channels, the second and
third stage opening with stride 2; global average pooling; a linear layer. Depth = 6n + 2. Shortcuts have no parameters
(the paper's option A): where the shape changes, every second pixel is taken and the new channels are zeros.
"""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from ebomlc_dist.models.main_model import MainModel

WIDTHS = (16, 32, 64)


class PixelMean(nn.Module):
    """(n, C, H, W) → (n, C), the mean over pixels.

    The same bits as ``AdaptiveAvgPool2d(1)``, whose way back through channels-last images takes two launches more.
    """

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(-1, -2))


class Block(nn.Module):
    """``relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))``."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.stride = stride
        self.new_channels = channels - in_channels

    def forward(self, images: Tensor) -> Tensor:
        residual = self.norm2(self.conv2(functional.relu(self.norm1(self.conv1(images)))))
        return functional.relu(self._shortcut(images) + residual)

    def _shortcut(self, images: Tensor) -> Tensor:
        if self.stride == 1:
            return images
        before = self.new_channels // 2
        return functional.pad(
            images[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before)
        )


def resnet(depth: int, num_classes: int, in_channels: int) -> MainModel:
    """Return a ResNet of ``depth`` = 6n + 2 layers for (n, C, H, W) images with sides of 8 and more; 64 features.

    Convolutions and the head start from the normal distribution of He et al. 2015 (fan-in), the head with gain 1 and
    zero bias; normalisation starts as the identity.
    """
    blocks_per_stage, remainder = divmod(depth - 2, 6)
    if remainder or blocks_per_stage < 1:
        raise ValueError(f"depth {depth} is not 6n + 2")
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, WIDTHS[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(WIDTHS[0]),
        nn.ReLU(),
    ]
    previous = WIDTHS[0]
    for channels in WIDTHS:
        for _ in range(blocks_per_stage):
            # Only a stage's first block sees another number of channels: it halves the image as well.
            layers.append(Block(previous, channels, stride=1 if channels == previous else 2))
            previous = channels
    body = nn.Sequential(*layers, PixelMean())
    head = nn.Linear(previous, num_classes)
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    nn.init.kaiming_normal_(head.weight, nonlinearity="linear")
    nn.init.zeros_(head.bias)
    return MainModel(body, head)


resnet8, resnet20, resnet32, resnet44, resnet56 = (partial(resnet, depth) for depth in (8, 20, 32, 44, 56))
