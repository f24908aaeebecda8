"""What is carried to a machine without a network: CIFAR-10 in a small folder, and wheels that it lacks.

The images lie in sheets of JPEG without chroma subsampling, 25 × 40 images each. A side of 32 pixels is four blocks of
JPEG, so that no image sees its neighbours. They are close to the official ones and not the same: an accuracy on them
is no accuracy on CIFAR-10.
"""

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.data.datasets.cifar import load_cifar10
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.durable import make_folder, write_bytes
from ebomlc_dist.files.safe_json import read_json

IMAGES = "tools.gpu_check.carried:cifar10"
MOST_BYTES = 40 * 10**6
WHEELS = ("pydantic", "pytest", "hypothesis")
_QUALITIES = range(92, 20, -4)
_ROWS, _COLUMNS, _SIDE = 25, 40, 32
_INDEX = "cifar10-sheets.json"


def write_images(data_dir: Path, folder: Path, most_bytes: int = MOST_BYTES) -> int:
    """Write all of CIFAR-10 into ``folder``, in the best quality that fits. Returns its bytes.

    Raises:
        InputError: CIFAR-10 is not in ``data_dir``, or the folder holds something else.
    """
    if folder.exists() and any(folder.iterdir()) and not is_carried(folder):
        raise InputError(f"{folder} holds other files; give a new folder")
    source = load_cifar10(DataConfig(dataset="cifar10", data_dir=data_dir, download=False))
    for quality in _QUALITIES:
        sheets = {
            f"{part}-{place:02}.jpg": sheet
            for part, images in (("train", source.images), ("test", source.test_images))
            for place, sheet in enumerate(_sheets(images[torch.arange(len(images))], quality))
        }
        index = {
            "class_names": source.class_names,
            "train": source.labels.tolist(),
            "test": source.test_labels.tolist(),
        }
        files = sheets | {_INDEX: json.dumps(index).encode()}
        size = sum(map(len, files.values()))
        if size <= most_bytes:
            break
    else:
        raise InputError(f"the images do not fit into {most_bytes} bytes")
    make_folder(folder)
    for name, content in files.items():
        write_bytes(folder / name, content, durable=False)
    return size


def is_carried(folder: Path) -> bool:
    """Whether `write_images` wrote the folder."""
    return (folder / _INDEX).is_file()


def cifar10(config: DataConfig) -> Source:
    """The data set of such a folder, for ``--dataset`` and ``--data-dir``."""
    index = read_json(config.data_dir / _INDEX, 4 * 2**20)
    labels = {part: torch.tensor(index[part], dtype=torch.int64) for part in ("train", "test")}
    images = {part: _read(config.data_dir, part, len(labels[part])) for part in labels}
    return Source(
        images["train"],
        labels["train"],
        [f"train/{place}" for place in range(len(labels["train"]))],
        images["test"],
        labels["test"],
        class_names=list(index["class_names"]),
    )


def _sheets(images: Tensor, quality: int) -> Iterator[bytes]:
    """(N, 3, 32, 32) uint8 as sheets; the last one is filled up with black."""
    for block in images.split(_ROWS * _COLUMNS):
        tiles = np.zeros((_ROWS * _COLUMNS, 3, _SIDE, _SIDE), dtype=np.uint8)
        tiles[: len(block)] = block.numpy()
        grid = tiles.reshape(_ROWS, _COLUMNS, 3, _SIDE, _SIDE).transpose(0, 3, 1, 4, 2)
        file = io.BytesIO()
        sheet = Image.fromarray(grid.reshape(_ROWS * _SIDE, _COLUMNS * _SIDE, 3))
        sheet.save(file, "JPEG", quality=quality, subsampling=0, optimize=True)
        yield file.getvalue()


def _read(folder: Path, part: str, number: int) -> Tensor:
    """(N, 3, 32, 32) uint8."""
    blocks = []
    for path in sorted(folder.glob(f"{part}-*.jpg")):
        with Image.open(path, formats=["JPEG"]) as sheet:
            grid = np.asarray(sheet).reshape(_ROWS, _SIDE, _COLUMNS, _SIDE, 3)
        blocks.append(grid.transpose(0, 2, 4, 1, 3).reshape(-1, 3, _SIDE, _SIDE))
    if sum(map(len, blocks)) < number:
        raise InputError(f"{folder} has fewer images than labels; make it again (python -m tools.gpu_check data)")
    return torch.from_numpy(np.concatenate(blocks)[:number].copy())


def fetch_wheels(folder: Path, python: str) -> list[str]:
    """Install what a machine for training may lack, for another Python on Linux x86-64 into ``folder``, for PYTHONPATH.

    Raises:
        InputError: pip finds no such wheels, or no network.
    """
    words = ["--quiet", "--upgrade", "--target", str(folder), "--only-binary", ":all:", "--python-version", python]
    words += ["--implementation", "cp", "--platform", "manylinux2014_x86_64", *WHEELS]
    ended = subprocess.run(
        [sys.executable, "-m", "pip", "install", *words], capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise InputError(f"pip: {(ended.stderr.strip() or 'no message').splitlines()[-1]}")
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".dist-info"))
