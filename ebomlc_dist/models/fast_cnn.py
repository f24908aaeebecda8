"""A wide, shallow network for small images, quick to train on CPUs and GPUs.

After Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU": a 2×2 convolution whose filters whiten the patches
of the training images and stay fixed, then three stages of two 3×3 convolutions, the first followed by max-pooling,
then the maximum over what is left of the map, and a linear layer.

    x ← act(W₀ * x + b₀),  rows of W₀: ±v_i / √(λ_i + ε) for the eigenvectors v_i of the covariance of 2×2 patches
    x ← act(N(W₂ * act(N(pool(W₁ * x)))))                                     a stage
    features = max(x) / 9,  logits = A·features + b

N is batch normalisation without a scale of its own. The first channels of each 3×3 convolution start as the identity.
Dividing the features keeps the first logits small.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from ebomlc_dist.errors import InputError
from ebomlc_dist.models.main_model import MainModel

WIDTHS = (64, 128, 256)
"""Channels of the three stages. The paper's are 64, 256, 256, for twice the work."""
FEATURE_SCALE = 1 / 9
LEAST_VARIANCE = 5e-4
"""ε, as in that paper: what little the images vary in is not blown up."""


class Whitening(nn.Module):
    """A fixed 2×2 convolution with a bias that learns; its filters are set by `fit`, and are random before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        number = 2 * 4 * channels
        self.weight = nn.Parameter(torch.randn(number, channels, 2, 2) / 2, requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(number))

    def fit(self, images: Tensor) -> None:
        """Set the filters from (n, C, H, W) images, normalised as in training."""
        patches = images.unfold(2, 2, 1).unfold(3, 2, 1).movedim(1, 3).flatten(3).flatten(0, 2).double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        # Which of ±v an eigenvector is, is the library's choice.
        vectors = vectors * vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
        filters = (vectors / (values + LEAST_VARIANCE).sqrt()).T.flip(0).view(-1, *self.weight.shape[1:])
        with torch.no_grad():
            self.weight.copy_(torch.cat([filters, -filters]).to(self.weight.dtype))

    def forward(self, images: Tensor) -> Tensor:
        """(n, C, H, W) → (n, 8C, H − 1, W − 1)."""
        return functional.conv2d(images, self.weight, self.bias)


class Stage(nn.Module):
    """Two 3×3 convolutions; the map's sides are halved after the first."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv1 = _convolution(in_channels, channels)
        self.norm1 = _norm(channels)
        self.conv2 = _convolution(channels, channels)
        self.norm2 = _norm(channels)

    def forward(self, images: Tensor) -> Tensor:
        """(n, C, H, W) → (n, C', H/2, W/2), rounded down."""
        halved = functional.gelu(self.norm1(functional.max_pool2d(self.conv1(images), 2)))
        return functional.gelu(self.norm2(self.conv2(halved)))


class FastBody(nn.Module):
    """Images to features: whitening, the stages, the maximum over the map."""

    def __init__(self, in_channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.whitening = Whitening(in_channels)
        before = (len(self.whitening.bias), *widths)
        self.stages = nn.Sequential(*(Stage(a, b) for a, b in zip(before, widths, strict=False)))

    def forward(self, images: Tensor) -> Tensor:
        """(n, C, H, W) → (n, D)."""
        maps = self.stages(functional.gelu(self.whitening(images)))
        return maps.amax(dim=(2, 3)) * FEATURE_SCALE


class FastCnn(MainModel):
    """The network of this module as a main model."""

    def fit_to(self, images: Callable[[], Tensor]) -> None:
        self.body.whitening.fit(images())  # type: ignore[union-attr, operator]


def fast_cnn(num_classes: int, in_channels: int, widths: tuple[int, ...] | None = None) -> MainModel:
    """Return the network for (n, C, H, W) images with sides of 9 and more.

    Args:
        num_classes: K.
        in_channels: C.
        widths: channels of each stage, `WIDTHS` unless given; the last one is the width of the features. A stage
            halves the sides, so that more than three need larger images.

    Raises:
        InputError: a width that is too small.
    """
    widths = WIDTHS if widths is None else widths
    if not widths or min(widths) < 1:
        raise InputError(f"model.widths={widths} is no list of channels; give one number for each stage, as 64,128,256")
    body = FastBody(in_channels, widths)
    head = nn.Linear(widths[-1], num_classes)
    nn.init.zeros_(head.bias)
    return FastCnn(body, head)


def _convolution(in_channels: int, channels: int) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    # The identity on as many channels as there are, the usual start on the others.
    nn.init.dirac_(convolution.weight[: min(in_channels, channels)])
    return convolution


def _norm(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels)
    norm.weight.requires_grad_(False)
    return norm
