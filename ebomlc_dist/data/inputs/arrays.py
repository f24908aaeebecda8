"""Images, labels and indices as a notebook has them, as tensors that are told apart without a guess, or refused.

Arrays are NumPy's, tensors on any device, lists, or columns of a data frame (anything that NumPy can read). Whole
numbers are grey values 0…255, floats are 0…1. An array of another range is refused with what it holds, since a guess
that is right for one batch would be wrong for the next.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ebomlc_dist.errors import InputError

Values = ArrayLike | Tensor
_CHANNELS = (1, 3)
_BLOCK = 1024
_SHAPES = "(N, H, W), (N, H, W, C) or (N, C, H, W)"


def as_images(values: Values, what: str = "images") -> Tensor:
    """Return images as (N, C, H, W) uint8, contiguous. N may be 0, and 1 where a single image is given.

    Args:
        values: (N, H, W), (N, H, W, C), (N, C, H, W), or one image (H, W), (H, W, C), (1, H, W); a list of such images.
            Integers 0…255, or floats and booleans 0…1. Channels are told by their number, 1 or 3; another number C is
            taken where the other two sides are equal and C is not.
        what: what to call them in a message.

    Raises:
        InputError: another range, another number of sides, or channels that stand in no place for certain.
    """
    array = as_array(values, what)
    if array.dtype == object:
        array = _stacked(array, what)
    array = _batched(array, what)
    shape, axis = array.shape, 1 if array.ndim == 3 else _channel_axis(array.shape, what)
    if 0 in shape[1:]:
        raise InputError(f"{what} are {shape}: there are no pixels in them; give {_SHAPES}")
    grey = _grey_values(array, what)
    grey = grey[:, None] if array.ndim == 3 else np.moveaxis(grey, axis, 1)
    # Reversed views have negative strides, which torch does not take.
    return torch.from_numpy(np.ascontiguousarray(grey))


def as_labels(values: Values, what: str = "labels") -> NDArray[np.int64] | NDArray[np.str_]:
    """Return labels as (N,) int64 or, where they are names, (N,) text.

    Args:
        values: (N,) or (N, 1): whole numbers, also as floats or booleans, or texts.
        what: what to call them in a message.

    Raises:
        InputError: fractions, missing values, one-hot rows, or more than one label an image.
    """
    array = as_array(values, what)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = f"; take `{what}.argmax(axis=1)` of one-hot rows or probabilities" if array.ndim == 2 else ""
        raise InputError(f"{what} are {array.shape}; give one label an image, (N,) or (N, 1){hint}")
    if array.dtype == object:
        array = _plain_items(array, what)
    if array.dtype.kind == "U":
        return array
    return _whole(array, what, f"{what} are whole numbers 0…K−1, or names")


def as_indices(values: Values, size: int, what: str = "trusted") -> NDArray[np.int64]:
    """Return indices below ``size``, int64, ascending, each once.

    Args:
        values: (Nc,) indices in any order, or a mask (size,) of booleans.
        size: number of images.
        what: what to call them in a message.

    Raises:
        InputError: fractions, an index outside, or a mask of another length.
    """
    array = as_array(values, what)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InputError(f"{what} is {array.shape}; give indices (Nc,), or a mask ({size},) of booleans")
    if array.dtype == object:
        array = _plain_items(array, what)
    if array.dtype == bool:
        if len(array) != size:
            raise InputError(f"{what} is a mask of {len(array)} booleans for {size} images; give one for each image")
        return np.flatnonzero(array)
    if not len(array):
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind == "U":
        raise InputError(f"{what} holds texts, such as {array[0]!r}; give indices into the images, or a mask")
    found = np.unique(_whole(array, what, f"{what} holds indices into the images"))
    outside = found[(found < 0) | (found >= size)]
    if len(outside):
        raise InputError(f"{what} holds {outside[0]}, which is no index of {size} images: 0…{size - 1}")
    return found


def as_array(values: Any, what: str) -> NDArray[Any]:
    """Return what NumPy reads in ``values``; a tensor is detached and brought to the CPU."""
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if isinstance(values, list | tuple) and any(isinstance(item, Tensor) for item in values):
        values = [item.detach().cpu().numpy() if isinstance(item, Tensor) else item for item in values]
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    try:
        return np.asarray(values)
    except ValueError:
        # Items of different shapes, which the caller looks at one by one.
        return _objects(values, what)


def _objects(values: Any, what: str) -> NDArray[Any]:
    try:
        items = list(values)
    except TypeError:
        raise InputError(f"{what} cannot be read as an array: {type(values).__name__}") from None
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        array[place] = item
    return array


def _stacked(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Return images that lie in an array of objects, such as a data frame's column, or a list of images of several
    sizes.
    """
    images = [np.asarray(item) for item in array.reshape(-1)]
    for place, image in enumerate(images):
        if image.dtype == object or image.ndim not in (2, 3):
            raise InputError(f"{what}[{place}] is {type(array.reshape(-1)[place]).__name__}, no image; give {_SHAPES}")
        if image.shape != images[0].shape:
            raise InputError(
                f"{what} differ in shape: {what}[0] is {images[0].shape}, {what}[{place}] is {image.shape}; bring all "
                "to one size first"
            )
    return np.stack(images) if images else np.zeros((0, 1, 1), dtype=np.uint8)


def _batched(array: NDArray[Any], what: str) -> NDArray[Any]:
    """(N, H, W) or (N, ·, ·, ·): a single image becomes a batch of one."""
    if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in _CHANNELS and array.shape[0] > 3):
        return array[None]
    if array.ndim not in (3, 4) or (array.ndim == 3 and array.shape[2] in _CHANNELS):
        raise InputError(f"{what} are {array.shape} {array.dtype}; give {_SHAPES}")
    return array


def _channel_axis(shape: tuple[int, ...], what: str) -> int:
    """Return which side of (N, ·, ·, ·) holds the channels: 1 or 3."""
    axes = [axis for axis in (1, 3) if shape[axis] in _CHANNELS]
    if not axes:
        # Of other numbers of channels the square picture tells.
        axes = [axis for axis, other in ((1, 3), (3, 1)) if shape[2] == shape[other] != shape[axis]]
    if len(axes) != 1:
        raise InputError(
            f"{what} are {shape}: it cannot be told which side holds the channels; give {_SHAPES} with C 1 or 3, and H "
            "and W above 3"
        )
    return axes[0]


def _grey_values(array: NDArray[Any], what: str) -> NDArray[np.uint8]:
    kind = array.dtype.kind
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8, copy=False)
    if kind not in "biuf":
        raise InputError(f"{what} are {array.dtype}; give integers 0…255 or floats 0…1")
    low, high = array.min(), array.max()
    if kind in "iu":
        if low < 0 or high > 255:
            raise InputError(
                f"{what} are {array.dtype} from {low} to {high}; integers are grey values 0…255, so scale these first, "
                "by one and the same factor for all images"
            )
        return array.astype(np.uint8)
    if not (low >= 0 and high <= 1):
        missing = " with values that are not numbers" if np.isnan(array).any() else ""
        raise InputError(
            f"{what} are {array.dtype} from {np.nanmin(array):.4g} to {np.nanmax(array):.4g}{missing}; floats are 0…1. "
            f"Take `{what}.astype('uint8')` of whole numbers 0…255, scale others to 0…1, do not normalise"
        )
    found = np.empty(array.shape, dtype=np.uint8)
    # In blocks: no whole copy in floats.
    for begin in range(0, len(array), _BLOCK):
        block = array[begin : begin + _BLOCK].astype(np.float32)
        found[begin : begin + _BLOCK] = np.round(block * 255)
    return found


def _plain_items(array: NDArray[Any], what: str) -> NDArray[Any]:
    """(N,) objects as texts or numbers, whichever all of them are."""
    for place, item in enumerate(array):
        if item is None or (isinstance(item, float) and np.isnan(item)) or str(item) == "<NA>":
            raise InputError(f"{what}[{place}] is missing ({item}); give every image its label, or leave the image out")
    items = [item.item() if isinstance(item, np.generic | Tensor) else item for item in array]
    if len({isinstance(item, str) for item in items}) > 1:
        raise InputError(f"{what} mix texts and numbers; give texts alone or numbers alone")
    found = np.array(items)
    if found.ndim != 1 or found.dtype.kind not in "biufU":
        kinds = sorted({type(item).__name__ for item in items})
        raise InputError(f"{what} are {', '.join(kinds)}; give whole numbers or texts")
    return found


def _whole(array: NDArray[Any], what: str, rule: str) -> NDArray[np.int64]:
    if array.dtype.kind not in "biuf":
        raise InputError(f"{what} are {array.dtype}; {rule}")
    if array.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(array) | (array != np.round(array)))
        if len(bad):
            raise InputError(f"{what}[{bad[0]}] is {array[bad[0]]:g}; {rule} ({len(bad)} of {len(array)} are not)")
    if len(array) and not (int(array.min()) >= -(2**63) and int(array.max()) < 2**63):
        raise InputError(f"{what} holds {array.max()}; {rule}")
    return array.astype(np.int64)
