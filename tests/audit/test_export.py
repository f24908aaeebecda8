"""Folders for other tools: what these tools, and we ourselves, ask of them."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torchvision.datasets import ImageFolder

from ebomlc_dist.audit.export import imagefolder
from ebomlc_dist.audit.images import ImageFiles
from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.run_data import load_dataset
from tests.data.support import write_lines, write_tree


def load(config: DataConfig) -> NoisyDataset:
    return load_dataset(config, NoiseConfig(), SeedConfig(), needs_clean=False)


def given_labels(dataset: NoisyDataset) -> Any:
    """Findings that propose nothing."""
    return SimpleNamespace(final_labels=dataset.noisy_labels.numpy)


def counts(dataset: NoisyDataset) -> tuple[list[int], list[int]]:
    return tuple(sorted(labels.tolist()) for labels in (dataset.noisy_labels, dataset.clean_labels))  # type: ignore[return-value]


@pytest.mark.parametrize("parts", [["train"], ["train", "clean"]])
def test_no_class_folder_is_empty(parts: list[str], tmp_path: Path) -> None:
    """Without trusted images, and where a class has lost all of its noisy images to another."""
    config = write_tree(tmp_path / "DIR", parts, per_class=4)
    if "clean" in parts:
        rows = (f"train/{name}/{number}.png,ant" for name in ("ant", "bee") for number in range(4))
        noisy = write_lines(tmp_path / "corrected.csv", "path,label", *rows)
        config = config.model_copy(update={"noisy_csv": noisy})
    dataset, place = load(config), tmp_path / "export"
    imagefolder.write(given_labels(dataset), dataset, ImageFiles(config, dataset), place)
    assert sorted(part.name for part in place.iterdir() if part.is_dir()) == sorted(parts)
    for part in parts:
        assert len(ImageFolder(str(place / part))) == 8
    again = load(DataConfig(dataset="folder", data_dir=place))
    assert again.class_names == dataset.class_names == ["ant", "bee"]
    assert counts(again) == counts(dataset)
