"""The registry of data sets. A data set is one module, one row here and one row in ``tests/data``.

The table itself imports no torch, so that ``ebomlc list`` answers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from ebomlc_dist.errors import InputError, nearest

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
    "folder": DatasetInfo("folder:load", "your own images: DIR/{train,clean,test}/<class>/* or CSVs path,label", None),
}


def load_source(config: DataConfig, *, progress: Progress | None = None, model: str | None = None) -> Source:
    """Read the data set that ``config.dataset`` names, resized to ``config.image_size`` where that is given.

    Args:
        config: which data set, where it lies and how it is read.
        progress: called with (images read, images in all) while single image files are read.
        model: the main model's name, which ``image_size`` ``auto`` follows.

    Raises:
        InputError: an unknown name, or data that are missing, corrupt or do not fit together.
    """
    if config.dataset not in DATASETS:
        known = ", ".join(DATASETS)
        raise InputError(f"unknown dataset '{config.dataset}'{nearest(config.dataset, list(DATASETS))}; known: {known}")
    module, attribute = DATASETS[config.dataset].target.split(":")
    source: Source = getattr(import_module(f"{__name__}.{module}"), attribute)(config, progress, model)
    return source
