"""What `ebomlc train` prints of runs that ended."""

from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.cli.output import print_results

CE = {"method": "ce", "run": "a", "accuracy_last": 80.0, "dataset": "digits", "seed": 0}
EBOMLC = {"method": "ebomlc", "run": "b", "accuracy_last": 82.0, "dataset": "digits", "seed": 0}
SHARES = {
    "wrong_labels_corrected": 94.13,
    "right_labels_kept": 98.87,
    "prediction_wrong_labels_corrected": 96.51,
    "prediction_right_labels_kept": 98.49,
}


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    def print_and_read(*summaries: dict[str, Any]) -> list[str]:
        print_results(summaries, Path(), hints=False)
        return capsys.readouterr().out.splitlines()

    return print_and_read


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_score_at_the_best_validation_accuracy_has_a_column_where_a_run_has_it(printed: Any) -> None:
    plain = CE | {"accuracy_at_best_validation": None}
    assert not any("validation" in line for line in printed(plain))
    _, _, heading, first, second, *_ = printed(plain, EBOMLC | {"accuracy_at_best_validation": 81.5})
    assert cells(heading) == ["method", "test acc. %", "at best validation %"]
    assert cells(first) == ["ce", "80.00", "–"]
    assert cells(second) == ["ebomlc", "82.00", "81.50"]


def test_at_most_five_columns_and_none_is_empty(printed: Any) -> None:
    _, _, heading, *_ = printed(CE, EBOMLC)
    assert cells(heading) == ["method", "test acc. %"]
    _, _, heading, first, second, *_ = printed(CE, EBOMLC | SHARES | {"accuracy_at_best_validation": 81.5})
    assert len(cells(heading)) == 5
    assert cells(heading)[3:] == ["labels fixed / kept %", "fixed / kept by classifier %"]
    assert cells(first) == ["ce", "80.00", "–", "–", "–"]
    assert cells(second) == ["ebomlc", "82.00", "81.50", "94.13 / 98.87", "96.51 / 98.49"]


def test_the_first_line_is_the_conclusion(printed: Any) -> None:
    assert printed(CE)[0] == "ce reaches 80.00 % test accuracy in its last epoch."
    assert printed(CE, EBOMLC)[0] == "ebomlc has the highest test accuracy in the last epoch: 82.00 %."
    tied = printed(CE | {"accuracy_last": 82.0}, EBOMLC)[0]
    assert tied == "ce and ebomlc have the highest test accuracy in the last epoch: 82.00 %."


@pytest.mark.parametrize("apart", [{"seed": 1}, {"dataset": "folder"}, {"accuracy_last": None}])
def test_runs_that_do_not_compare_have_no_winner(printed: Any, apart: dict[str, Any]) -> None:
    assert printed(CE, EBOMLC | apart)[0] == "2 runs are trained."


def test_without_test_images_there_is_no_score_and_no_table(printed: Any) -> None:
    lines = printed(CE | {"accuracy_last": None})
    assert lines == ["1 run is trained; there are no test images to score.", "", "run: a"]
