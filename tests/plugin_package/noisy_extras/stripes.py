"""Stripes: a made-up set of two classes."""

import torch

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import Source


def stripes(config: DataConfig) -> Source:
    """Made-up images of 8×8 pixels with upright or level stripes."""
    upright = torch.tensor([0, 255] * 4, dtype=torch.uint8).expand(1, 8, 8)
    pictures = torch.stack([upright, upright.mT])
    labels, test_labels = torch.arange(400) % 2, torch.arange(100) % 2
    return Source(
        images=pictures[labels],
        labels=labels,
        ids=[f"train/{index}" for index in range(400)],
        test_images=pictures[test_labels],
        test_labels=test_labels,
        class_names=["upright", "level"],
    )


stripes.num_classes = 2
