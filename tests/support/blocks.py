"""A main model of residual blocks, for the small problem of `ebomlc_dist.testing`."""

from torch import Tensor, nn

from ebomlc_dist.testing.problem import NUM_CLASSES, SmallNet


class BlockNet(nn.Module):
    """A convolution, two residual blocks and a linear layer."""

    feature_dim = SmallNet.feature_dim

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3)
        self.layers = nn.Sequential(ResidualBlock(batch_norm), ResidualBlock(batch_norm))
        self.head = nn.Linear(6, NUM_CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers(self.stem(images)).mean(dim=(2, 3))
        return self.head(features), features


class ResidualBlock(nn.Module):
    """x + tanh(norm(conv(x)))."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(6) if batch_norm else nn.GroupNorm(2, 6)
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), norm, nn.Tanh())

    def forward(self, images: Tensor) -> Tensor:
        return images + self.body(images)
