"""Arrays from a notebook: understood the same way every time, or refused with what was found."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ebomlc_dist.data.inputs.array_source import array_source
from ebomlc_dist.data.inputs.arrays import as_images, as_indices, as_labels
from ebomlc_dist.errors import InputError

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
EXPECTED = COLOURS.transpose(0, 3, 1, 2)
GREY = COLOURS[..., 0]


class Column:
    """What a data frame's column shows of itself."""

    def __init__(self, values: Any) -> None:
        self._values = values

    def to_numpy(self) -> np.ndarray:
        return self._values


def objects(images: np.ndarray) -> np.ndarray:
    """An array of objects, as a column of images is one."""
    found = np.empty(len(images), dtype=object)
    found[:] = list(images)
    return found


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(COLOURS, id="channels last"),
        pytest.param(EXPECTED, id="channels first"),
        pytest.param(COLOURS[::-1][::-1].copy()[::-1][::-1], id="reversed twice"),
        pytest.param(np.asfortranarray(COLOURS), id="another order in memory"),
        pytest.param(COLOURS.astype(np.int64), id="int64"),
        pytest.param(COLOURS / 255, id="float64"),
        pytest.param((COLOURS / 255).astype(np.float32), id="float32"),
        pytest.param(torch.from_numpy(COLOURS), id="tensor"),
        pytest.param((torch.from_numpy(EXPECTED) / 255).requires_grad_(), id="tensor with a gradient"),
        pytest.param(list(COLOURS), id="list of arrays"),
        pytest.param([torch.from_numpy(image) for image in COLOURS], id="list of tensors"),
        pytest.param([Image.fromarray(image) for image in COLOURS], id="list of pictures"),
        pytest.param(Column(objects(COLOURS)), id="column of arrays"),
    ],
)
def test_images_are_the_same_in_every_form(values: Any) -> None:
    found = as_images(values)
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    np.testing.assert_array_equal(found.numpy(), EXPECTED)


def test_reversed_images_stay_reversed() -> None:
    np.testing.assert_array_equal(as_images(COLOURS[::-1]).numpy(), EXPECTED[::-1])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 6, 7), (5, 1, 6, 7)),
        ((5, 6, 7, 1), (5, 1, 6, 7)),
        ((5, 1, 6, 7), (5, 1, 6, 7)),
        ((6, 7), (1, 1, 6, 7)),
        ((6, 7, 3), (1, 3, 6, 7)),
        ((6, 7, 1), (1, 1, 6, 7)),
        ((1, 6, 7), (1, 1, 6, 7)),
        ((5, 8, 8, 4), (5, 4, 8, 8)),
        ((5, 13, 8, 8), (5, 13, 8, 8)),
        ((0, 6, 7, 3), (0, 3, 6, 7)),
    ],
)
def test_sides_are_told_apart(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    assert as_images(np.zeros(shape, np.uint8)).shape == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((5, 3, 6, 3), np.uint8), "which side holds the channels"),
        (np.zeros((5, 1, 6, 1), np.uint8), "which side holds the channels"),
        (np.zeros((5, 6, 7, 4), np.uint8), "which side holds the channels"),
        (np.zeros((5, 4, 4, 4), np.uint8), "which side holds the channels"),
        (np.zeros((2, 6, 3), np.uint8), r"images are \(2, 6, 3\) uint8"),
        (np.zeros(5, np.uint8), r"images are \(5,\) uint8"),
        (np.zeros((5, 0, 7), np.uint8), "no pixels"),
        (COLOURS * 1.0, "float64 from 0 to 255; floats are 0…1"),
        (COLOURS / 127.5 - 1, "from -1 to 1; floats are 0…1"),
        (np.where(COLOURS == 0, np.nan, 0.5), "values that are not numbers"),
        (COLOURS.astype(np.uint16) * 257, "uint16 from 0 to 65535; integers are grey values 0…255"),
        (COLOURS.astype(np.int16) - 1, "int16 from -1"),
        ([COLOURS[0], COLOURS[0][:, :5]], r"images\[0\] is \(6, 7, 3\), images\[1\] is \(6, 5, 3\)"),
        (["a.png", "b.png"], "images are"),
        ([None, None, None], "NoneType, no image"),
        (7, r"images are \(\)"),
    ],
)
def test_images_that_would_need_a_guess_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_images(values)


@pytest.mark.parametrize(
    "values",
    [
        [0, 2, 1],
        np.array([[0], [2], [1]]),
        np.array([0.0, 2.0, 1.0]),
        np.array([5, 1, 4, 2, 3, 0])[[5, 3, 1]],
        np.array([1, 2, 0], dtype=np.uint8)[::-1],
        torch.tensor([0, 2, 1]),
        Column(np.array([0, 2, 1])),
        Column(np.array([0, 2, 1], dtype=object)),
    ],
)
def test_numbers_are_labels_in_every_form(values: Any) -> None:
    found = as_labels(values)
    assert found.dtype == np.int64
    assert found.tolist() == [0, 2, 1]


@pytest.mark.parametrize("values", [["b", "a"], np.array(["b", "a"]), Column(np.array(["b", "a"], dtype=object))])
def test_names_are_labels_in_every_form(values: Any) -> None:
    assert as_labels(values).tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.eye(3), r"labels are \(3, 3\); give one label an image.*argmax"),
        ([0.5, 1.0], r"labels\[0\] is 0.5; .*1 of 2 are not"),
        ([0.0, float("nan")], r"labels\[1\] is nan"),
        (["a", None], r"labels\[1\] is missing \(None\)"),
        (Column(np.array(["a", float("nan")], dtype=object)), r"labels\[1\] is missing \(nan\)"),
        (Column(np.array(["a", 1], dtype=object)), "mix texts and numbers"),
        (np.array([0, 1], dtype=complex), "complex128"),
    ],
)
def test_labels_that_are_none_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_labels(values)


@pytest.mark.parametrize(
    "values",
    [[4, 1, 1, 4], [i in (1, 4) for i in range(6)], np.array([4, 1])[::-1], torch.tensor([1, 4])],
)
def test_indices_come_in_order_and_once(values: Any) -> None:
    assert as_indices(values, 6).tolist() == [1, 4]


def test_no_indices_are_none() -> None:
    assert as_indices([], 6).tolist() == []
    assert as_indices(np.zeros(6, dtype=bool), 6).tolist() == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([6], r"trusted holds 6, which is no index of 6 images: 0…5"),
        ([-1], "trusted holds -1"),
        ([True, False], "a mask of 2 booleans for 6 images"),
        (["a"], "trusted holds texts"),
        ([0.5], r"trusted\[0\] is 0.5"),
        ([[0, 1]], r"trusted is \(1, 2\)"),
    ],
)
def test_indices_that_are_none_are_refused(values: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_indices(values, 6)


IMAGES = np.zeros((6, 8, 8), np.uint8)


def test_names_become_classes_in_their_order() -> None:
    source = array_source(IMAGES, ["b", "a", "b", "c", "a", "c"], test=(IMAGES[:2], ["c", "a"]))
    assert source.class_names == ["a", "b", "c"]
    assert source.labels.tolist() == [1, 0, 1, 2, 0, 2]
    assert source.test_labels.tolist() == [2, 0]


def test_names_that_are_whole_numbers_stand_in_their_value() -> None:
    source = array_source(IMAGES, ["10", "9", "2", "10", "9", "2"])
    assert source.class_names == ["2", "9", "10"]
    assert source.labels.tolist() == [2, 1, 0, 2, 1, 0]


def test_given_names_decide_the_order() -> None:
    source = array_source(IMAGES, ["b", "a"] * 3, class_names=["b", "a"])
    assert source.labels.tolist() == [0, 1] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 1]}, "6 images and 2 labels"),
        ({"labels": [0, 1, 0, 1, 0, 10**9]}, r"labels\[5\] is 1000000000, which asks for 1000000001 classes"),
        ({"labels": [1, 2] * 3}, "1 of 3 classes have no training image: '0'.*numpy.unique"),
        ({"labels": [0, -1] * 3}, r"labels\[1\] is -1"),
        ({"labels": ["a", "b"] * 3, "class_names": ["a"]}, "1 name.s. that are no class: 'b'"),
        ({"labels": [0, 1] * 3, "class_names": ["a"]}, r"labels\[1\] is 1, and there are 1 names"),
        ({"class_names": ["a", "a"]}, "class_names holds a name twice"),
        ({"test": (IMAGES, [0, 1])}, "6 test images and 2 test labels"),
        ({"test": (np.zeros((2, 8, 8, 3), np.uint8), [0, 1])}, "test images have 3 channel.s. and the others 1"),
        ({"test": (IMAGES[:2], [0, 2])}, r"test labels\[1\] is 2"),
        ({"test": (IMAGES[:2], ["0", "x"])}, "test labels hold 1 name.s. that are no class: 'x'"),
        ({"test": IMAGES}, "test is a pair"),
        ({"images": IMAGES[:0], "labels": []}, "images are empty"),
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        array_source(**{"images": IMAGES, "labels": [0, 1] * 3, **change})
