"""From arrays of images and labels to the `Source` of a run; what does not fit together is refused before training."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.data.dataset import Source, are_features, described
from ebomlc_dist.data.inputs.arrays import Values, as_array, as_images, as_indices, as_labels
from ebomlc_dist.data.inputs.feature_rows import FeatureRows, check_array, checked_digest
from ebomlc_dist.data.inputs.safe_paths import listed
from ebomlc_dist.errors import InputError

Labels = NDArray[np.int64] | NDArray[np.str_]


def array_source(
    images: Values,
    labels: Values,
    trusted: Values | None = None,
    *,
    test: tuple[Values, Values] | None = None,
    class_names: Sequence[str] | None = None,
    standardise: bool = True,
) -> Source:
    """Return arrays as a `Source`, images in their own size.

    Args:
        images: see `as_images`; or features, (N, D) numbers.
        labels: (N,) whole numbers 0…K−1, or names; see `as_labels`.
        trusted: indices or a mask, see `as_indices`; none, or none in it, for no trusted images.
        test: images and true labels.
        class_names: K names. By default the names that ``labels`` hold, sorted, whole numbers by value; or the numbers.
        standardise: see `Source`.

    Raises:
        InputError: arrays that do not fit together, a class without a training image, or a label out of range.
    """
    train_images, train_labels = _as_inputs(images, "images"), as_labels(labels)
    _check_lengths(len(train_images), len(train_labels), "")
    if not len(train_labels):
        raise InputError("images are empty; give one at least for each class")
    names = class_names_of(train_labels, class_names)
    numbers = numbers_of(train_labels, names, "labels", named=class_names is not None)
    _check_used(numbers, names, "training", "labels")
    chosen = None if trusted is None else as_indices(trusted, len(train_images))
    none = np.zeros(0, dtype=np.int64)
    test_images: Tensor | FeatureRows = _chosen(train_images, none)
    test_numbers = numbers[:0]
    if test is not None:
        if not isinstance(test, tuple | list) or len(test) != 2:
            raise InputError("test is a pair: `test=(images, labels)`")
        test_images, test_labels = _as_inputs(test[0], "test images"), as_labels(test[1], "test labels")
        _check_lengths(len(test_images), len(test_labels), "test ")
        if len(test_images.shape) != len(train_images.shape) or (
            are_features(train_images) and test_images.shape[1] != train_images.shape[1]
        ):
            raise InputError(f"test holds {described(test_images)} and the others are {described(train_images)}")
        if test_images.shape[1] != train_images.shape[1]:
            raise InputError(
                f"test images have {test_images.shape[1]} channel(s) and the others {train_images.shape[1]}; bring "
                "both to the same"
            )
        test_numbers = numbers_of(test_labels, names, "test labels", named=True)
    return Source(
        images=train_images,
        labels=torch.from_numpy(numbers),
        ids=[f"train/{i}" for i in range(len(train_images))],
        test_images=test_images,
        test_labels=torch.from_numpy(test_numbers),
        class_names=names,
        trusted=torch.from_numpy(chosen) if chosen is not None and len(chosen) else None,
        labels_are_true=False,
        image_digests=(
            (checked_digest(train_images, "features"), checked_digest(test_images, "test features"))
            if isinstance(train_images, FeatureRows) and isinstance(test_images, FeatureRows)
            else None
        ),
        standardise=standardise,
    )


def _as_inputs(values: Values, what: str) -> Tensor | FeatureRows:
    """Return images as `as_images` does, an array of two axes as features: N images of one pixel row are none."""
    array = as_array(values, what)
    if array.ndim == 2 and array.dtype != object:
        return FeatureRows((check_array(array, what.replace("images", "features")),))
    return as_images(values, what)


def _chosen(inputs: Tensor | FeatureRows, rows: NDArray[np.int64]) -> Tensor | FeatureRows:
    return inputs.take(rows) if isinstance(inputs, FeatureRows) else inputs[torch.from_numpy(rows)]


def check_trusted(source: Source) -> None:
    """Raise `InputError` where a class has no trusted image, or none beside its trusted ones, in words of Python."""
    assert source.trusted is not None
    labels, names = source.labels.numpy(), source.class_names
    _check_used(labels[source.trusted.numpy()], names, "trusted", "trusted")
    _check_used(np.delete(labels, source.trusted.numpy()), names, "noisy", "trusted")


def class_names_of(labels: Labels, given: Sequence[str] | None = None) -> list[str]:
    """Return K names: ``given``, or those in ``labels`` (N,). Raises `InputError` for numbers that are no classes."""
    if given is not None:
        names = [str(name) for name in given]
        if len(set(names)) < len(names):
            raise InputError("class_names holds a name twice; give K different names")
        return names
    if labels.dtype.kind == "U":
        names = [str(name) for name in np.unique(labels)]
        return sorted(names, key=int) if all(_is_whole(name) for name in names) else names
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise InputError(f"labels[{labels.argmin()}] is {low}; {_RULE}")
    # Every class needs an image: no list of a stray label's many names is made.
    if high >= len(labels):
        raise InputError(f"labels[{labels.argmax()}] is {high}, which asks for {high + 1} classes; {_RULE}")
    return [str(number) for number in range(high + 1)]


_RULE = "labels are whole numbers 0…K−1, or names; take `numpy.unique(labels, return_inverse=True)[1]` of other numbers"


def numbers_of(labels: Labels, names: list[str], what: str, *, named: bool) -> NDArray[np.int64]:
    """(N,) int64 below K. ``named``: the names are given, so that labels have to be among them."""
    if labels.dtype.kind == "U":
        number = {name: place for place, name in enumerate(names)}
        unknown = sorted(set(labels.tolist()) - number.keys())
        if unknown:
            raise InputError(
                f"{what} hold {len(unknown)} name(s) that are no class: {listed([repr(name) for name in unknown], 5)}; "
                f"classes are {listed([repr(name) for name in names], 20)}"
            )
        return np.array([number[name] for name in labels.tolist()], dtype=np.int64)
    numbers = labels.astype(np.int64)
    outside = np.flatnonzero((numbers < 0) | (numbers >= len(names)))
    if len(outside):
        source = "names" if named else "classes"
        raise InputError(
            f"{what}[{outside[0]}] is {numbers[outside[0]]}, and there are {len(names)} {source}: "
            f"give {what} 0…{len(names) - 1}"
        )
    return numbers


def _check_used(numbers: NDArray[np.int64], names: list[str], word: str, what: str) -> None:
    used = np.bincount(numbers, minlength=len(names))
    empty = [repr(names[label]) for label in np.flatnonzero(used == 0)]
    if empty:
        remedy = {
            "training": f"leave it out of the classes, or add images; {_RULE}",
            "trusted": "add indices of images of that class to `trusted=`",
            "noisy": "all images of a class are trusted; leave one at least out of `trusted=`",
        }[word]
        raise InputError(
            f"{len(empty)} of {len(names)} classes have no {word} image: {listed(empty, 20)} ({what}); {remedy}"
        )


def _check_lengths(images: int, labels: int, which: str) -> None:
    if images != labels:
        raise InputError(f"{images} {which}images and {labels} {which}labels; there must be one label an image")


def _is_whole(name: str) -> bool:
    return name.isascii() and name.lstrip("-").isdigit()
