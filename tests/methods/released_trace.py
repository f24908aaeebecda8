"""What the stored trace of the released code and our recipe start from: numbers by formula, in float64.

`released_trace.json` holds figures that EBOMLC's released code gave on these numbers; its ``provenance`` says which
commit, with which settings. The formulas rest on numpy's PCG64 alone, whose raw output never changes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

TRACE: dict[str, Any] = json.loads(Path(__file__).with_name("released_trace.json").read_text())
NUM_CLASSES, BATCH = 10, 8
# The constants of the released loader, in units of a byte.
MEAN = torch.tensor([125.3, 123.0, 113.9], dtype=torch.float64) / 255
STD = torch.tensor([63.0, 62.1, 66.7], dtype=torch.float64) / 255


def uniform(seed: int, *shape: int) -> Tensor:
    """Float64 in 0…1."""
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return torch.from_numpy((bits >> np.uint64(11)).astype(np.float64) * 2.0**-53).view(*shape)


def initialise(module: nn.Module, first: int) -> None:
    """Every parameter by its place: He's uniform bound for weights, ±0.1 for others, around 1 for weights of norms."""
    with torch.no_grad():
        for place, parameter in enumerate(module.parameters()):
            values = 2 * uniform(first + place, *parameter.shape) - 1
            parameter.copy_(values * ((6 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1))
        for part in module.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.weight.add_(1.0)


def samples(step: int, which: int) -> tuple[Tensor, Tensor]:
    """Normalised images (8, 3, 32, 32) and labels (8,): noisy ones (0) or trusted ones (1)."""
    pixels = (uniform(10_000 + 10 * step + which, BATCH, 3, 32, 32) * 256).floor()
    labels = (uniform(20_000 + 10 * step + which, BATCH) * NUM_CLASSES).floor().long()
    return (pixels / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1), labels


class Masks:
    """In the place of ``functional.dropout``: masks that depend on how many were drawn before."""

    def __init__(self) -> None:
        self.drawn = 0

    def __call__(self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        assert training
        mask = uniform(30_000 + self.drawn, *values.shape) >= p
        self.drawn += 1
        return values * mask / (1 - p)


def projections(vector: Tensor) -> list[float]:
    """The norm, and products with two fixed directions."""
    flat = vector.detach().double().flatten()
    first, second = (2 * uniform(seed, len(flat)) - 1 for seed in (7, 8))
    return [float(flat.norm()), float(flat @ first), float(flat @ second)]
