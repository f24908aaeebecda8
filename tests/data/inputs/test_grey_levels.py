"""Images of 16 bits: their levels follow what the training images use, wherever they are shown or trained on."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.inputs.decode import read_thumbnail
from ebomlc_dist.data.inputs.grey_levels import FULL, Levels, levels_of
from ebomlc_dist.errors import InputError


@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [
        (0, 65535, FULL),
        (9, 40000, FULL),
        (0, 4095, Levels(0, 4)),
        (100, 3000, Levels(0, 4)),
        (0, 1023, Levels(0, 2)),
        (0, 255, Levels(0, 0)),
        (32768, 33767, Levels(32768, 2)),
        (7, 7, Levels(7, 0)),
    ],
)
def test_levels_of_a_range(low: int, high: int, levels: Levels) -> None:
    assert levels_of([(low, high), (high, high)]) == levels
    shown = levels.apply(np.array([low, high]))
    assert shown[1] >= 127 or high - low < 128
    assert levels.apply(np.array([0, 65535])).tolist() == [0, 255]


def test_upper_byte_is_the_rule_for_full_range() -> None:
    values = np.arange(65536)
    assert np.array_equal(FULL.apply(values), values >> 8)


def deep_tree(root: Path, top: int, part: str = "train") -> DataConfig:
    random = np.random.default_rng(top)
    for name in ("a", "b"):
        for index in range(3):
            pixels = random.integers(0, top + 1, (8, 8)).astype(np.uint16)
            pixels[0, 0] = top
            (root / part / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / part / name / f"{index}.png")
    return DataConfig(dataset="folder", data_dir=root)


def test_12_bits_in_16_keep_their_levels(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = deep_tree(tmp_path, 4095)
    (tmp_path / "test" / "a").mkdir(parents=True)
    Image.fromarray(np.full((8, 8), 60_000, dtype=np.uint16)).save(tmp_path / "test" / "a" / "0.png")
    source = load_source(config)
    with Image.open(tmp_path / source.ids[2]) as image:
        assert np.array_equal(source.images[2][0], np.asarray(image) >> 4)
    assert source.levels == Levels(0, 4)
    assert (source.test_images == 255).all()
    assert "grey images of 16 bits use 0…4095" in caplog.text
    assert "1 images have values above 4095, the range of the training images" in caplog.text


def test_files_decoded_when_asked_for_have_the_same_levels(tmp_path: Path) -> None:
    config = deep_tree(tmp_path, 1000)
    held, lazy = (load_source(config.model_copy(update={"loader": kind})) for kind in ("resident", "dataloader"))
    assert torch.equal(held.images[torch.arange(6)], lazy.images[torch.arange(6)])
    assert held.image_digests == lazy.image_digests
    assert int(held.images[torch.arange(6)].max()) == 250


def test_levels_are_part_of_what_a_set_is_known_by(tmp_path: Path) -> None:
    config = deep_tree(tmp_path, 4095)
    before = load_source(config)
    assert before.image_digests is not None
    deep_tree(tmp_path, 65535, "clean")
    after = load_source(config)
    assert after.image_digests is not None
    assert after.levels == FULL
    assert before.image_digests[1] != after.image_digests[1]  # of the test images, of which there are none


def test_a_thumbnail_shows_what_the_model_sees(tmp_path: Path) -> None:
    gradient = np.linspace(0, 4095, 32 * 32).reshape(32, 32).astype(np.uint16)
    Image.fromarray(gradient).save(tmp_path / "g.png")
    shown = read_thumbnail(tmp_path, "g.png", side=32, max_pixels=10_000, levels=Levels(0, 4))
    assert np.array_equal(np.asarray(shown), gradient >> 4)


def deep_colour(path: Path, top: int) -> None:
    """A PNG of 16 bits a channel, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = np.random.default_rng(top).integers(0, top + 1, (8, 8, 3)).astype(">u2")
    pixels[0, 0] = top
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content + chunk(b"IEND", b""))


def test_colour_images_of_16_bits_that_use_fewer_are_refused(tmp_path: Path) -> None:
    config = DataConfig(dataset="folder", data_dir=tmp_path)
    for name in ("a", "b"):
        deep_colour(tmp_path / "train" / name / "0.png", 65535)
        deep_colour(tmp_path / "train" / name / "1.png", 4094)
    assert load_source(config).images.shape == (4, 3, 8, 8)
    for name in ("a", "b"):
        (tmp_path / "train" / name / "0.png").unlink()
    with pytest.raises(InputError, match=r"2 images have 16 bits a channel and use 16 of 256 levels"):
        load_source(config)


def test_grey_maps_of_16_bits(tmp_path: Path) -> None:
    """PGM files of 16 bits are opened as 32-bit integers; those that exceed 16 bits are refused."""
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        values = np.arange(64, dtype=np.int32).reshape(8, 8) * 1000
        Image.fromarray(values).save(tmp_path / "train" / name / "0.pgm")
    config = DataConfig(dataset="folder", data_dir=tmp_path)
    assert np.array_equal(load_source(config).images[0][0], values >> 8)
    Image.fromarray(values * 1000).save(tmp_path / "train" / "a" / "1.tif")
    with pytest.raises(InputError, match="has values from 0 to 63000000"):
        load_source(config)
