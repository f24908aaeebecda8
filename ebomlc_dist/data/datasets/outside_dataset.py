"""Data sets from outside: a function that reads everything, and what its images and labels are held to."""

import inspect
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ebomlc_dist import plugins
from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import InputSet, Source, are_features
from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.inputs.image_side import AUTO, side_for
from ebomlc_dist.data.inputs.read import resize_square
from ebomlc_dist.errors import InputError

_OPTIONAL = ("progress", "model")


def outside_loader(name: str) -> Callable[..., Source]:
    """Return the function that a name from outside stands for. Raises `InputError` where it is none."""
    found = plugins.load("datasets", name)
    if not inspect.isfunction(found):
        raise plugins.wrong_kind("datasets", name, "is no function of (config) that returns a Source")
    return found


def load_outside(config: DataConfig, progress: Progress | None, model: str | None) -> Source:
    """Read a data set from outside. Tensors that it gives are brought to ``config.image_size``.

    The function is called with the configuration, and by name with ``progress`` and ``model`` where it takes them.

    Raises:
        InputError: it fails, or what it gives is no `Source`, or none that can be trained on.
    """
    name = config.dataset
    function = outside_loader(name)
    taken = inspect.signature(function).parameters
    given = {key: value for key, value in zip(_OPTIONAL, (progress, model), strict=True) if key in taken}
    try:
        source = function(config, **given)
    except InputError:
        raise
    except Exception as error:
        raise plugins.wrong_kind("datasets", name, f"fails: {plugins.failure(error)}") from error
    if not isinstance(source, Source):
        raise plugins.wrong_kind(
            "datasets", name, f"gives a {type(source).__name__}; return an ebomlc_dist.data.dataset.Source"
        )
    if fault := _fault(source):
        raise plugins.wrong_kind("datasets", name, f"gives {fault}")
    return _sized(source, config, model)


def _fault(source: Source) -> str:
    """Return what is wrong with a source, in words that follow "gives"; nothing for a good one."""
    for what, images, labels in (
        ("images", source.images, source.labels),
        ("test_images", source.test_images, source.test_labels),
    ):
        shape, dtype = tuple(images.shape), images.dtype if isinstance(images, Tensor) else torch.uint8
        if len(shape) == 2 and isinstance(images, Tensor):
            if not dtype.is_floating_point or not bool(images.isfinite().all()):
                return f"{what} of {shape} and {dtype}; features are (N, D) finite floats"
        elif not are_features(images) and (len(shape) != 4 or dtype != torch.uint8 or shape[1] not in (1, 3)):
            return f"{what} of {shape} and {dtype}; they are (N, 1 or 3, H, W) uint8, or features (N, D)"
        if labels.shape != (len(images),) or labels.dtype != torch.int64:
            return f"labels of {tuple(labels.shape)} and {labels.dtype} for {len(images)} {what}; they are (N,) int64"
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(source.class_names):
            return f"labels beyond 0…{len(source.class_names) - 1} for {what}, the numbers of its class_names"
    if not len(source.images):
        return "no images"
    if len(source.test_images.shape) != len(source.images.shape):
        return "test_images of another kind than images"
    if len(source.test_images) and source.test_images.shape[1] != source.images.shape[1]:
        return f"test_images with another number of {_counted(source)} than images"
    if len(source.ids) != len(source.images) or len(set(source.ids)) != len(source.ids):
        return f"{len(set(source.ids))} different ids for {len(source.images)} images; give each its own"
    if len(set(source.class_names)) != len(source.class_names):
        return "class_names of which some are alike"
    trusted = source.trusted
    if trusted is not None and len(trusted) and not 0 <= int(trusted.min()) <= int(trusted.max()) < len(source.images):
        return "trusted indices that are beyond its images"
    return ""


def _counted(source: Source) -> str:
    return "features" if are_features(source.images) else "channels"


def _sized(source: Source, config: DataConfig, model: str | None) -> Source:
    """Return the source with images of the side that the configuration asks for; files and features say their own."""
    if are_features(source.images):
        return source
    side = config.given_side
    if config.image_size == AUTO and model is not None:
        side = side_for(min(source.images.shape[2:]), model)

    def sized(images: InputSet) -> InputSet:
        return resize_square(images, side) if side is not None and isinstance(images, Tensor) else images

    return replace(source, images=sized(source.images), test_images=sized(source.test_images))
