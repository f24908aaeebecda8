"""The registry of data sets. A data set of ours is one module, one row here and one row in ``tests/data``.

Data sets from outside have no row: `ebomlc_dist.plugins` says how they are named.

The table itself imports no torch, so that ``ebomlc list`` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ebomlc_dist import plugins

if TYPE_CHECKING:
    from ebomlc_dist.config import DataConfig
    from ebomlc_dist.data.dataset import Source

Progress = Callable[[int, int], None]
"""Told ``(done, total)`` while images are read."""


@dataclass(frozen=True)
class DatasetInfo:
    """One line of the registry. ``num_classes`` is None where the user's own data decide."""

    target: str
    summary: str
    num_classes: int | None


DATASETS = {
    "digits": DatasetInfo("digits:load", "1,797 handwritten digits of 8×8 pixels, bundled with scikit-learn", 10),
    "cifar10": DatasetInfo("cifar:load_cifar10", "60,000 colour images of 32×32 pixels, downloaded where allowed", 10),
    "cifar100": DatasetInfo("cifar:load_cifar100", "60,000 colour images of 32×32 pixels in 100 classes", 100),
    "features": DatasetInfo("features:load", "your own features: --features X.npy --labels y.csv", None),
    "folder": DatasetInfo("folder:load", "your own images: DIR/{train,clean,test}/<class>/* or CSVs path,label", None),
}


def num_classes_of(name: str) -> int | None:
    """K of a data set, as far as it is known before it is read. A function from outside may say it as ``num_classes``.

    Raises:
        InputError: the name stands for no data set.
    """
    check_dataset(name)
    if name in DATASETS:
        return DATASETS[name].num_classes
    return getattr(import_module(f"{__name__}.outside_dataset").outside_loader(name), "num_classes", None)


def check_dataset(name: str) -> None:
    """Raise `InputError` for a name that stands for nothing. Nothing is imported."""
    if name not in DATASETS and not plugins.is_outside("datasets", name):
        raise plugins.unknown("datasets", name, DATASETS)


def load_source(config: DataConfig, *, progress: Progress | None = None, model: str | None = None) -> Source:
    """Read the data set that ``config.dataset`` names, resized to ``config.image_size`` where that is given.

    Args:
        config: which data set, where it lies and how it is read.
        progress: called with (images read, images in all) while single image files are read.
        model: the main model's name, which ``image_size`` ``auto`` follows.

    Raises:
        InputError: an unknown name, or data that are missing, corrupt or do not fit together.
    """
    check_dataset(config.dataset)
    if config.dataset not in DATASETS:
        return import_module(f"{__name__}.outside_dataset").load_outside(config, progress, model)
    module, attribute = DATASETS[config.dataset].target.split(":")
    source: Source = getattr(import_module(f"{__name__}.{module}"), attribute)(config, progress, model)
    return source
