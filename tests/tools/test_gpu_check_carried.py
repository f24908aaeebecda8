"""What the GPU check is carried with: images in a small folder, and a line where packages are missing."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.errors import InputError
from tools.gpu_check import carried


def some_images(number: int) -> Source:
    generator = torch.Generator().manual_seed(0)
    # Smooth, as photographs are.
    small = torch.randint(256, (number, 3, 4, 4), generator=generator, dtype=torch.uint8)
    images = small.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
    labels = torch.arange(number) % 10
    names = [f"class {label}" for label in range(10)]
    return Source(images, labels, [], images[:1001], labels[:1001], class_names=names)


def test_carried_images_are_those_that_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = some_images(2500)
    monkeypatch.setattr(carried, "load_cifar10", lambda config: source)
    size = carried.write_images(tmp_path, tmp_path / "carried")
    assert size == sum(path.stat().st_size for path in (tmp_path / "carried").iterdir())
    found = carried.cifar10(DataConfig(data_dir=tmp_path / "carried"))
    assert found.class_names == source.class_names
    assert torch.equal(found.labels, source.labels)
    assert torch.equal(found.test_labels, source.test_labels)
    assert len(set(found.ids)) == len(found.images) == 2500
    for images, expected in ((found.images, source.images), (found.test_images, source.test_images)):
        assert isinstance(images, torch.Tensor)
        # Of each image alone, so that one in another's place would show.
        apart = (images.float() - expected[torch.arange(len(expected))].float()).square().mean(dim=(1, 2, 3)).sqrt()
        assert apart.max() < 16
        assert images.dtype == torch.uint8
    smaller = carried.write_images(tmp_path, tmp_path / "carried", most_bytes=size - 1)
    assert smaller < size
    with pytest.raises(InputError, match="do not fit into 1000 bytes"):
        carried.write_images(tmp_path, tmp_path / "carried", most_bytes=1000)
    with pytest.raises(InputError, match="holds other files"):
        carried.write_images(tmp_path, tmp_path)
    (tmp_path / "carried" / "train-00.jpg").unlink()
    with pytest.raises(InputError, match="fewer images than labels"):
        carried.cifar10(DataConfig(data_dir=tmp_path / "carried"))


@pytest.mark.slow
def test_all_of_cifar10_is_carried_in_40_megabytes(tmp_path: Path, data_dir: Path) -> None:
    assert carried.write_images(data_dir, tmp_path / "carried") <= carried.MOST_BYTES == 40_000_000
    found = carried.cifar10(DataConfig(data_dir=tmp_path / "carried"))
    assert (len(found.images), len(found.test_images)) == (50_000, 10_000)
    assert np.bincount(found.labels.numpy()).tolist() == [5000] * 10


def test_without_pydantic_one_line_says_what_to_carry(tmp_path: Path) -> None:
    # As far as Python can tell, there is none.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pydantic'] = None\n")
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "tools.gpu_check", "run", "-o", "x.json"]
    variables = os.environ | {"PYTHONPATH": str(tmp_path)}
    ended = subprocess.run(words, cwd=root, env=variables, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "pydantic is not installed here" in ended.stderr
    assert "python -m tools.gpu_check wheels DIR" in ended.stderr
