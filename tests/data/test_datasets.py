"""The registry of data sets, and what each of them delivers. A data set without a row here fails collection."""

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig
from ebomlc_dist.data.dataset import Source, channel_statistics
from ebomlc_dist.data.datasets import DATASETS, cifar, load_source
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.errors import InputError
from tests.data.support import write_image, write_tree


def cifar_folder(data_dir: Path, name: str) -> DataConfig:
    if not (data_dir / name).is_dir():
        pytest.skip(f"EBOMLC_DATA_DIR has no {name}")
    return DataConfig(data_dir=data_dir, download=False)


def digits(tmp_path: Path, request: pytest.FixtureRequest) -> DataConfig:
    return DataConfig(dataset="digits")


def cifar10(tmp_path: Path, request: pytest.FixtureRequest) -> DataConfig:
    config = cifar_folder(request.getfixturevalue("data_dir"), CIFAR10.base_folder)
    return config.model_copy(update={"dataset": "cifar10"})


def cifar100(tmp_path: Path, request: pytest.FixtureRequest) -> DataConfig:
    """As a tree of single images: 100 classes of one or two images."""
    for part, number in (("train", 2), ("test", 1)):
        for label in range(100):
            for index in range(number):
                write_image(tmp_path / "cifar100" / part / f"c{label:02}" / f"{index}.jpg", (32, 32), seed=label)
    return DataConfig(dataset="cifar100", data_dir=tmp_path)


def folder(tmp_path: Path, request: pytest.FixtureRequest) -> DataConfig:
    return write_tree(tmp_path)


def features(tmp_path: Path, request: pytest.FixtureRequest) -> DataConfig:
    draws = np.random.default_rng(0)
    np.savez(tmp_path / "x.npz", features=draws.normal(size=(12, 5)), labels=np.arange(12) % 3)
    (tmp_path / "test.csv").write_text("id\n3\n7\n8\n")
    return DataConfig(dataset="features", features=tmp_path / "x.npz", test_csv=tmp_path / "test.csv", augment="none")


ROWS: dict[str, tuple[Callable[[Path, pytest.FixtureRequest], DataConfig], tuple[int, ...], tuple[int, ...]]] = {
    "digits": (digits, (1442, 1, 8, 8), (355, 1, 8, 8)),
    "cifar10": (cifar10, (50_000, 3, 32, 32), (10_000, 3, 32, 32)),
    "cifar100": (cifar100, (200, 3, 32, 32), (100, 3, 32, 32)),
    "features": (features, (9, 5), (3, 5)),
    "folder": (folder, (12, 3, 8, 8), (6, 3, 8, 8)),
}
assert set(ROWS) == set(DATASETS), "every data set has a row here"


@pytest.mark.parametrize("name", DATASETS)
def test_contract(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    make, train_shape, test_shape = ROWS[name]
    source = load_source(make(tmp_path, request))
    assert tuple(source.images.shape) == train_shape
    assert tuple(source.test_images.shape) == test_shape
    some = torch.arange(2)
    assert source.images[some].dtype == source.test_images[some].dtype
    assert source.images[some].dtype == (torch.float32 if name == "features" else torch.uint8)
    assert source.labels.dtype == source.test_labels.dtype == torch.int64
    assert len(source.labels) == len(source.ids) == len(set(source.ids)) == len(source.images)
    assert len(source.test_labels) == len(source.test_images)
    assert DATASETS[name].num_classes in (None, len(source.class_names))
    assert source.labels.unique().tolist() == list(range(len(source.class_names)))
    assert source.labels_are_true == (name not in ("folder", "features"))


@pytest.mark.process
def test_table_imports_no_torch() -> None:
    code = "import sys, ebomlc_dist.data.datasets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_unknown_dataset() -> None:
    with pytest.raises(InputError, match=r"unknown dataset 'cifar'.*known: digits, cifar10"):
        load_source(DataConfig(dataset="cifar"))


def test_digits_use_the_whole_range_and_a_stratified_fifth() -> None:
    source = load_source(DataConfig())
    assert (int(source.images.min()), int(source.images.max())) == (0, 255)
    train, test = source.labels.bincount(), source.test_labels.bincount()
    assert bool(((test / (train + test) - 0.2).abs() < 0.01).all())


def test_digits_in_another_size() -> None:
    source = load_source(DataConfig(image_size=16))
    assert source.images.shape[2:] == source.test_images.shape[2:] == (16, 16)


def test_cifar10_equals_torchvision_and_has_the_asked_for_noise(data_dir: Path) -> None:
    config = cifar_folder(data_dir, CIFAR10.base_folder).model_copy(update={"dataset": "cifar10"})
    dataset = load_dataset(config, NoiseConfig(kind="uniform", rate=0.4), SeedConfig())
    reference = CIFAR10(data_dir, train=True, download=False)
    assert torch.equal(dataset.images, torch.from_numpy(reference.data).permute(0, 3, 1, 2))
    assert dataset.class_names == reference.classes
    assert dataset.true_labels is not None
    assert torch.equal(dataset.true_labels, torch.tensor(reference.targets)[dataset.noisy_index])
    assert len(dataset.noisy_index) == 49_000
    assert dataset.clean_labels.bincount().tolist() == [100] * 10
    assert dataset.noise_rate_nominal == 0.4
    assert dataset.noise_rate_realised == pytest.approx(0.4, abs=6 * (0.24 / 49_000) ** 0.5)
    assert dataset.mean.tolist() == pytest.approx([0.4914, 0.4822, 0.4465], abs=1e-4)
    assert dataset.std.tolist() == pytest.approx([0.2470, 0.2435, 0.2616], abs=1e-4)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_missing_cifar_says_which_file_goes_where(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_source(DataConfig(dataset=name, data_dir=tmp_path, download=False))
    text = str(caught.value)
    file = f"{name[:5]}-{name[5:]}-python.tar.gz"
    assert f"put {file} from https://www.cs.toronto.edu/~kriz/{file}" in text
    assert f"into {tmp_path}" in text


def test_failed_download_says_which_file_goes_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*args: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(cifar, "download_url", no_network)
    with pytest.raises(InputError, match=r"cannot be downloaded \(no route to host\); put cifar-10-python.tar.gz"):
        load_source(DataConfig(dataset="cifar10", data_dir=tmp_path))


def test_wrong_archive_is_refused_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"evil")
    with pytest.raises(InputError, match="is not the official archive"):
        load_source(DataConfig(dataset="cifar10", data_dir=tmp_path))


class FakeCifar(CIFAR10):
    """The layout of CIFAR-10 with two small files of the test's own."""

    train_list: list[list[str]]
    test_list: list[list[str]]
    meta: dict[str, str]


def write_fake(root: Path, monkeypatch: pytest.MonkeyPatch, train: object) -> Path:
    """Write files that pass for official ones; returns the training file."""
    folder = root / CIFAR10.base_folder
    folder.mkdir()
    batch = {"data": np.zeros((2, 3072), dtype=np.uint8), "labels": [0, 1]}
    contents = {"train": train, "test": batch, "batches.meta": {"label_names": ["a", "b"]}}
    digests = {}
    for name, content in contents.items():
        # numpy 1 wrote the official files, and named its array builder so.
        data = pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        (folder / name).write_bytes(data)
        digests[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(FakeCifar, "train_list", [["train", digests["train"]]], raising=False)
    monkeypatch.setattr(FakeCifar, "test_list", [["test", digests["test"]]], raising=False)
    meta = {"filename": "batches.meta", "key": "label_names", "md5": digests["batches.meta"]}
    monkeypatch.setattr(FakeCifar, "meta", meta, raising=False)
    monkeypatch.setattr(cifar, "CIFAR10", FakeCifar)
    return folder / "train"


def load_fake(root: Path) -> Source:
    return load_source(DataConfig(dataset="cifar10", data_dir=root, download=False))


def test_official_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    write_fake(tmp_path, monkeypatch, {"data": pixels, "labels": [1, 0]})
    source = load_fake(tmp_path)
    assert torch.equal(source.images, torch.from_numpy(pixels).view(2, 3, 32, 32))
    assert source.labels.tolist() == [1, 0]
    assert source.class_names == ["a", "b"]


def test_changed_or_missing_cifar_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = write_fake(tmp_path, monkeypatch, {"labels": []})
    content = bytearray(train.read_bytes())
    content[-2] ^= 1
    train.write_bytes(content)
    with pytest.raises(InputError, match="train is not the official file: its md5 sum is not"):
        load_fake(tmp_path)
    train.unlink()
    with pytest.raises(InputError, match="train is missing; remove the folder"):
        load_fake(tmp_path)


class Payload:
    """Unpickled without care, this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (str(self.path),)


def test_even_a_right_digest_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_fake(tmp_path, monkeypatch, {"data": Payload(tmp_path / "pwned")})
    with pytest.raises(pickle.UnpicklingError, match="is not allowed in a data file"):
        load_fake(tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_cifar100_tree_needs_its_test_part(tmp_path: Path) -> None:
    write_image(tmp_path / "cifar100" / "train" / "a" / "0.jpg", (32, 32))
    with pytest.raises(InputError, match="no folder test"):
        load_source(DataConfig(dataset="cifar100", data_dir=tmp_path))


def test_channel_statistics() -> None:
    images = torch.randint(0, 256, (5000, 3, 4, 3), dtype=torch.uint8)
    images[:, 1] //= 3
    pixels = images.double() / 255
    mean, std = channel_statistics(images)
    torch.testing.assert_close(mean.double(), pixels.mean(dim=(0, 2, 3)), rtol=0, atol=1e-6)
    torch.testing.assert_close(std.double(), pixels.std(dim=(0, 2, 3), correction=0), rtol=0, atol=1e-6)
    assert channel_statistics(torch.zeros(2, 1, 3, 3, dtype=torch.uint8))[1].item() > 0
