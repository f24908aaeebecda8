"""CIFAR-10 and CIFAR-100, from their official Python files; torchvision knows where they are and their md5 sums.

The official files are pickles. Each is read once, compared with torchvision's md5 sum, and only then given to an
unpickler that knows numpy's three array builders and nothing else. CIFAR-100 is also read from a tree of single images,
``DIR/cifar100/{train,test}/<class>/*``, for those who have only that.
"""

import hashlib
import io
import pickle
import socket
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import check_integrity, download_url, extract_archive

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.datasets.folder import read_parts
from ebomlc_dist.data.inputs.class_names import Classes
from ebomlc_dist.data.inputs.listing import Listing, list_tree
from ebomlc_dist.data.inputs.read import probe_images, resize_square
from ebomlc_dist.data.inputs.same_picture import Parts
from ebomlc_dist.data.inputs.tree import is_folder, subfolders
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.reading import read_bytes

_MAX_BYTES = 512 * 1024 * 1024
_NETWORK_TIMEOUT_S = 30.0


def load_cifar10(config: DataConfig, progress: Progress | None = None, model: str | None = None) -> Source:
    """CIFAR-10: 50,000 training and 10,000 test images. Raises `InputError` where its files are missing or corrupt."""
    return _load_official("cifar10", CIFAR10, "labels", config)


def load_cifar100(config: DataConfig, progress: Progress | None = None, model: str | None = None) -> Source:
    """CIFAR-100 with its fine labels, from the official files, or else from a tree of single images."""
    root = (config.data_dir / "cifar100").resolve()
    if not (config.data_dir / CIFAR100.base_folder).is_dir() and (root / "train").is_dir():
        return _load_tree(root, config, progress)
    return _load_official("cifar100", CIFAR100, "fine_labels", config)


def _load_official(name: str, kind: type[CIFAR10], label_key: str, config: DataConfig) -> Source:
    folder = config.data_dir / kind.base_folder
    if not folder.is_dir():
        _obtain(name, kind, config)
    meta = _read_checked(folder / kind.meta["filename"], kind.meta["md5"])
    images, labels = _read_part(folder, kind.train_list, label_key)
    test_images, test_labels = _read_part(folder, kind.test_list, label_key)
    if config.given_side is not None:
        images, test_images = (resize_square(part, config.given_side) for part in (images, test_images))
    ids = [f"train/{index}" for index in range(len(images))]
    return Source(images, labels, ids, test_images, test_labels, class_names=list(meta[kind.meta["key"]]))


def _load_tree(root: Path, config: DataConfig, progress: Progress | None) -> Source:
    if not is_folder(root / "test"):
        raise InputError(f"{root} has a folder train but no folder test; put the test images into {root}/test/<class>/")
    classes = Classes(subfolders(root / "train"))
    train, test = (list_tree(root, root / part, classes) for part in ("train", "test"))
    # The official set has some pictures twice, so that they are not held against each other.
    parts = Parts(train, Listing([], [], root), test, {})
    probe = probe_images(root, parts.names, max_pixels=config.max_pixels)
    source = read_parts(
        parts, probe, classes.names, config.model_copy(update={"image_size": config.given_side}), progress
    )
    return replace(source, labels_are_true=True)


def _read_part(folder: Path, files: list[list[str]], label_key: str) -> tuple[Tensor, Tensor]:
    """(N, 3, 32, 32) uint8 images and (N,) int64 labels of some of the official files, in their order."""
    batches = [_read_checked(folder / file, md5) for file, md5 in files]
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = np.concatenate([np.asarray(batch[label_key], dtype=np.int64) for batch in batches])
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def _read_checked(path: Path, md5: str) -> dict[str, Any]:
    """Return the content of an official file whose md5 sum is right."""
    again = f"remove the folder {path.parent} and fetch it again"
    if not path.exists():
        raise InputError(f"{path} is missing; {again}")
    content = read_bytes(path, _MAX_BYTES)
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise InputError(f"{path} is not the official file: its md5 sum is not {md5}; {again}")
    found: dict[str, Any] = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    return found


class _ArrayUnpickler(pickle.Unpickler):
    """Builds plain containers and numpy arrays; any other name in the file is an error."""

    # numpy's own array builder changed its module between versions; an array knows where it is.
    _known: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file") from None


def _obtain(name: str, kind: type[CIFAR10], config: DataConfig) -> None:
    """Unpack the official archive into ``data_dir``, downloaded where needed; one process does it, the others wait."""
    root, archive = config.data_dir, config.data_dir / kind.filename
    advice = f"put {kind.filename} from {kind.url} (md5 {kind.tgz_md5}) into {root}, or name its folder with --data-dir"
    if not archive.exists() and not config.download:
        raise InputError(f"{name} is not in {root} and may not be downloaded; {advice}")
    if archive.exists() and not check_integrity(str(archive), kind.tgz_md5):
        raise InputError(f"{archive} is not the official archive (md5 sum differs); remove it, then {advice}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{kind.filename}.lock"), _network_timeout():
            if not (root / kind.base_folder).is_dir():
                download_url(kind.url, root, kind.filename, kind.tgz_md5)
                with TemporaryDirectory(dir=root, prefix=".unpack-") as folder:
                    extract_archive(archive, folder)
                    (Path(folder) / kind.base_folder).rename(root / kind.base_folder)
    except (OSError, RuntimeError, tarfile.TarError) as error:
        raise InputError(f"{name} is not in {root} and cannot be downloaded ({error}); {advice}") from None


@contextmanager
def _network_timeout() -> Iterator[None]:
    """torchvision's download waits for ever where packets are dropped."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_NETWORK_TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
