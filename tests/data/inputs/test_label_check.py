"""Labels that would train and mean nothing are refused, or told."""

from pathlib import Path

import pytest

from ebomlc_dist.data.inputs.label_check import check_labels
from ebomlc_dist.errors import InputError

PLACE = Path("labels.csv")


def test_measurements_are_no_classes() -> None:
    values = [f"{number / 7:.6f}" for number in range(1, 161)]
    with pytest.raises(InputError, match=r"labels.csv has 160 different numbers .* measurements are no classes"):
        check_labels(values, [1] * 160, PLACE)
    with pytest.raises(InputError, match="measurements"):
        check_labels(values, [30] * 160, PLACE)


@pytest.mark.parametrize(
    "names", [["0.5", "1.0", "2.5"], ["0.0", "1.0", "2.0"], ["0", "1", "2"], ["nan", "inf", "0.5"]]
)
def test_a_few_levels_and_whole_numbers_are_classes(names: list[str]) -> None:
    check_labels(names, [30] * 3, PLACE)


@pytest.mark.parametrize("names", [["bed", "bus", "bus;bed"], ["bed|cup", "bus|bed"], ["bus", "bus; bed"]])
def test_several_labels_in_one(names: list[str]) -> None:
    with pytest.raises(InputError, match="join several"):
        check_labels(names, [30] * len(names), PLACE)


@pytest.mark.parametrize("names", [["a;b", "c"], ["maillot", "maillot, tank suit"], ["c;", "d"]])
def test_separators_in_the_name_of_one_class(names: list[str]) -> None:
    assert check_labels(names, [30] * len(names), PLACE) == []


def test_slips_are_told_by_name() -> None:
    names = ["Ant", "ant", "nan", "polar bear", "polar_bear", "whale", "whael"]
    lines = "\n".join(check_labels(names, [9, 9, 9, 9, 9, 9, 1], PLACE))
    assert "2 classes have names that differ in case or blanks alone: 'Ant' and 'ant'; 'polar bear' and" in lines
    assert "a class is named like a missing value: 'nan'" in lines
    assert "1 classes have one training image: 'whael' (did you mean 'whale'?)" in lines
    assert check_labels(["ant", "bee"], [2, 2], PLACE) == []
