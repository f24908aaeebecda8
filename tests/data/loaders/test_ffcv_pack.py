"""Packed images: whole or not there, opened only by their digest, swapped in one piece."""

import errno
import json
from pathlib import Path

import pytest
import torch

from ebomlc_dist.cli import run
from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig, TrainConfig
from ebomlc_dist.data.dataset import digest_of
from ebomlc_dist.data.loaders.auto_select import choose_loader
from ebomlc_dist.data.loaders.ffcv_extra import has_ffcv
from ebomlc_dist.data.loaders.ffcv_pack import Pack, checked_file, read_pack
from ebomlc_dist.data.loaders.paired import build_loader
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.errors import InputError
from ebomlc_dist.files import operations
from ebomlc_dist.methods.contract import Streams
from tests.data.support import make_dataset, write_tree

pytestmark = pytest.mark.skipif(not has_ffcv(), reason="ffcv is not installed (the extra `ffcv`)")


def pack(folder: Path, images: torch.Tensor | None = None) -> Pack:
    from ebomlc_dist.data.loaders.ffcv_writer import write_pack

    dataset = make_dataset()
    assert isinstance(dataset.images, torch.Tensor)
    images = dataset.images if images is None else images
    return write_pack(folder, images, digest_of(images, None))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_packed_file_is_opened_by_its_digest(tmp_path: Path) -> None:
    written = pack(tmp_path)
    assert read_pack(tmp_path) == written
    assert names(tmp_path) == sorted([written.file, "pack.json"])
    assert checked_file(tmp_path, written).stat().st_size == written.size


@pytest.mark.parametrize("place", [0, 1100, -1])
def test_a_flipped_byte_is_refused_before_ffcv_sees_it(tmp_path: Path, place: int) -> None:
    written = pack(tmp_path)
    content = bytearray((tmp_path / written.file).read_bytes())
    content[place] ^= 1
    (tmp_path / written.file).write_bytes(content)
    data = DataConfig(loader="ffcv", pack_dir=tmp_path)
    with pytest.raises(InputError, match="is not the file that was packed: its sha256 differs"):
        build_loader(make_dataset(), Streams(), data, TrainConfig(), SeedConfig(), rank=0, world_size=1, device="cpu")


@pytest.mark.parametrize("change", [{"file": "../x.beton"}, {"sha256": "0"}, {"more": 1}, {"frame": [3, 0, 5]}])
def test_a_damaged_manifest_is_refused(tmp_path: Path, change: dict) -> None:
    written = pack(tmp_path)
    (tmp_path / "pack.json").write_text(json.dumps(written.model_dump() | change))
    with pytest.raises(InputError, match=r"is no pack\.json of this program"):
        read_pack(tmp_path)


def test_other_images_are_refused_when_asked_for_and_passed_over_by_auto(tmp_path: Path) -> None:
    images = make_dataset().images
    assert isinstance(images, torch.Tensor)
    pack(tmp_path, images.flip(0))
    data = DataConfig(loader="ffcv", pack_dir=tmp_path)
    with pytest.raises(InputError, match="was packed from other images, in another order or in another size"):
        choose_loader(make_dataset(), data, "cpu")
    pack(tmp_path)
    assert choose_loader(make_dataset(), data, "cpu").name == "ffcv"


def test_what_was_packed_before_stays_until_the_swap(tmp_path: Path) -> None:
    before = pack(tmp_path)

    class Full(operations.Operations):
        def rename(self, source: Path, target: Path) -> None:
            if target.name == "pack.json":
                raise OSError(errno.ENOSPC, "full")
            super().rename(source, target)

    images = make_dataset().images
    assert isinstance(images, torch.Tensor)
    with operations.using(Full()), pytest.raises(InputError, match="no space left"):
        pack(tmp_path, images ^ 1)
    assert read_pack(tmp_path) == before
    checked_file(tmp_path, before)
    after = pack(tmp_path, images ^ 1)
    assert names(tmp_path) == sorted([after.file, "pack.json"])


def test_ebomlc_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tree(tmp_path)
    words = ["pack", "folder", "--data-dir", str(tmp_path), "--image-size", "10", "-q"]
    assert run(words) == 0
    assert "12 images, " in capsys.readouterr().out
    assert run(words) == 0
    assert "12 images are packed already" in capsys.readouterr().out
    data = DataConfig(dataset="folder", data_dir=tmp_path, image_size=10, loader="ffcv")
    choice = choose_loader(load_dataset(data, NoiseConfig(), SeedConfig()), data, "cpu")
    assert (choice.name, choice.reason) == ("ffcv", "asked for")


def test_unreadable_images_are_all_named_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tree(tmp_path)
    for name in ("ant/0.png", "bee/1.png"):
        path = tmp_path / "train" / name
        path.write_bytes(path.read_bytes()[:60])
    assert run(["pack", "folder", "--data-dir", str(tmp_path), "--image-size", "10"]) == 2
    line = capsys.readouterr().err
    assert "2 of 12 images cannot be read" in line
    assert "train/ant/0.png" in line
    assert "train/bee/1.png" in line
    assert names(tmp_path / "packed-folder") == []
