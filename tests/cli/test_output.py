"""What `ebomlc train` prints of runs that ended."""

from pathlib import Path

import pytest

from ebomlc_dist.cli.output import print_results


def test_the_score_at_the_best_validation_accuracy_has_a_column_where_a_run_has_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain = {"method": "ce", "run": "a", "accuracy_last": 80.0, "accuracy_at_best_validation": None}
    held_out = {"method": "ebomlc", "run": "b", "accuracy_last": 82.0, "accuracy_at_best_validation": 81.5}
    print_results([plain], Path(), hints=False)
    assert "validation" not in capsys.readouterr().out
    print_results([plain, held_out], Path(), hints=False)
    heading, first, second, *_ = capsys.readouterr().out.splitlines()
    assert heading.split("  ")[1:3] == ["test accuracy %", "at best validation %"]
    assert first.split()[:3] == ["ce", "80.00", "–"]
    assert second.split()[:3] == ["ebomlc", "82.00", "81.50"]
