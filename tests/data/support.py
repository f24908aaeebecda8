"""Small sources, image files and CSV files for the tests of the data layer."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import NoisyDataset, Source


def make_source(per_class: int = 40, num_classes: int = 4, **changes: Any) -> Source:
    """Random images of 6×5 pixels, ``per_class`` of each class in turn."""
    generator = torch.Generator().manual_seed(0)
    number = per_class * num_classes
    values: dict[str, Any] = {
        "images": torch.randint(0, 256, (number, 3, 6, 5), dtype=torch.uint8, generator=generator),
        "labels": torch.arange(number) % num_classes,
        "ids": [f"train/{index}" for index in range(number)],
        "test_images": torch.zeros(2, 3, 6, 5, dtype=torch.uint8),
        "test_labels": torch.tensor([0, 1]),
        "class_names": [f"class{label}" for label in range(num_classes)],
    }
    return Source(**(values | changes))


def make_dataset(num_noisy: int = 23, num_clean: int = 9, num_classes: int = 3) -> NoisyDataset:
    """A noisy set whose labels are the images' rows modulo K; every image is told apart by its pixels."""
    number = num_noisy + num_clean
    generator = torch.Generator().manual_seed(1)
    noisy, clean = torch.arange(num_noisy), torch.arange(num_noisy, number)
    return NoisyDataset(
        images=torch.randint(0, 256, (number, 3, 6, 5), dtype=torch.uint8, generator=generator),
        ids=[f"train/{index}" for index in range(number)],
        noisy_index=noisy,
        noisy_labels=noisy % num_classes,
        true_labels=(noisy + 1) % num_classes,
        clean_index=clean,
        clean_labels=clean % num_classes,
        test_images=torch.zeros(0, 3, 6, 5, dtype=torch.uint8),
        test_labels=torch.zeros(0, dtype=torch.int64),
        class_names=[str(label) for label in range(num_classes)],
        mean=torch.tensor([0.3, 0.4, 0.5]),
        std=torch.tensor([0.2, 0.25, 0.3]),
        noise_rate_nominal=None,
        noise_rate_realised=1.0,
        fingerprint="0" * 64,
    )


def write_image(path: Path, size: tuple[int, int] = (8, 8), *, seed: int = 0, grey: bool = False) -> Path:
    """Write random pixels, ``size`` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = size[::-1] if grey else (*size[::-1], 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def write_tree(root: Path, parts: Iterable[str] = ("train", "clean", "test"), per_class: int = 3) -> DataConfig:
    """``root/<part>/{ant,bee}/<n>.png``, and a configuration that reads it."""
    for number, part in enumerate(parts):
        for label, name in enumerate(("ant", "bee")):
            for index in range(per_class):
                write_image(root / part / name / f"{index}.png", seed=100 * number + 10 * label + index)
    return DataConfig(dataset="folder", data_dir=root)


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
