"""The tables: exact for programs, harmless for spreadsheets, and read back by those they are for."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ebomlc_dist.audit import files
from ebomlc_dist.audit.files import write_corrected, write_csv, write_labels, write_matrix, write_probabilities
from ebomlc_dist.audit.findings import Findings
from ebomlc_dist.audit.summary import summarise
from ebomlc_dist.data.inputs.class_names import Classes
from ebomlc_dist.data.inputs.label_files import read_table
from ebomlc_dist.data.inputs.listing import list_csv
from ebomlc_dist.data.noise import transition_matrix
from tests.audit.support import HOSTILE, findings_of, make_world, uniform
from tests.data.support import write_image

CLEANLAB = {"given_label", "predicted_label", "is_label_issue", "label_score"}
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@pytest.fixture
def found(tmp_path: Path):
    world = make_world(uniform(10, 0.3), num_images=300, strength=3.0)
    with findings_of(world, tmp_path, class_names=HOSTILE) as findings:
        yield findings


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_labels_csv_says_everything_of_every_image(found: Findings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("ebomlc_dist.audit.findings.BLOCK", 70)
    write_labels(found, tmp_path)
    rows = rows_of(tmp_path / "labels.csv")
    assert set(rows[0]) >= CLEANLAB | {"path", "suspicion", "rank", "in_sample", "estimated_precision", "top3_label"}
    assert [int(row["rank"]) for row in rows] == list(range(1, 301))
    assert sorted(int(row["row"]) for row in rows) == list(range(300))
    for row in rows:
        at = int(row["row"])
        assert row["path"] == found.subject.ids[at]
        assert row["given_label"] == HOSTILE[found.table.given[at]] == HOSTILE[int(row["given_index"])]
        assert row["true_label"] == HOSTILE[found.subject.true[at]]
        assert float(row["suspicion"]) == pytest.approx(found.suspicion[at], abs=1e-6)
        assert float(row["label_score"]) == pytest.approx(1 - found.suspicion[at], abs=1e-6)
        assert row["in_sample"] == "True"
    issues = [row["is_label_issue"] == "True" for row in rows]
    assert issues == [True] * found.num_flagged + [False] * (300 - found.num_flagged)
    assert 0 < found.num_flagged < 300


def test_parquet_holds_the_same(found: Findings, tmp_path: Path, monkeypatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr("ebomlc_dist.audit.findings.BLOCK", 70)
    write_labels(found, tmp_path)
    table = parquet.read_table(tmp_path / "labels.parquet").to_pydict()
    rows = rows_of(tmp_path / "labels.csv")
    assert list(table) == list(rows[0])
    for name, values in table.items():
        assert [str(value) for value in values] == [row[name] for row in rows]


def test_without_pyarrow_there_are_the_csv_files(found: Findings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    assert {path.name for path in write_labels(found, tmp_path)} == {"labels.csv", "labels_for_spreadsheet.csv"}


def test_no_cell_of_the_spreadsheet_is_a_formula(found: Findings, tmp_path: Path) -> None:
    write_labels(found, tmp_path)
    cells = [cell for row in rows_of(tmp_path / "labels_for_spreadsheet.csv") for cell in row.values()]
    assert not any(cell.startswith(FORMULA) for cell in cells)
    assert "'=1+1" in cells
    # The exact file keeps what the other guards.
    assert "=1+1" in [row["given_label"] for row in rows_of(tmp_path / "labels.csv")]


@given(rows=st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), min_size=1))
def test_any_text_survives(rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    write_csv(path, [["first", "second"], *rows])
    assert read_table(path).rows == rows


def test_corrected_csv_is_what_noisy_csv_reads(tmp_path: Path) -> None:
    """Names with blanks, commas, quotes and line ends included."""
    names = [" leading", "comma, here", 'quo"te', "new\nline", "=formula"]
    world = make_world(uniform(5, 0.4), num_images=60, strength=4.0)
    ids = [f" images/{number} a,b.png" if number == 3 else f"images/{number}.png" for number in range(60)]
    for name in ids:
        write_image(tmp_path / name)
    with findings_of(world, tmp_path, class_names=names, ids=ids, confidence=0.6) as found:
        write_corrected(found, tmp_path / "corrected.csv")
        listing = list_csv(tmp_path.resolve(), read_table(tmp_path / "corrected.csv"), Classes(names))
        assert listing.names == ids
        assert listing.labels == found.final_labels().tolist()
        changed = found.final_labels() != found.table.given
        assert 0 < changed.sum() < 60
        assert (found.proposed_probability[changed] >= 0.6).all()


def test_the_matrix_is_what_matrix_noise_reads(found: Findings, tmp_path: Path) -> None:
    # Folders 0 … 9 and 10, say: in label order 10 stands behind 1.
    names = sorted(str(label) for label in (0, 1, 2, 3, 4, 5, 6, 7, 8, 10))
    write_matrix(tmp_path / "matrix.csv", found.noise.transition, names)
    np.testing.assert_allclose(
        transition_matrix(tmp_path / "matrix.csv", names).numpy(),
        found.noise.transition,
    )


def test_probabilities_are_read_by_numpy_and_cleanlab(found: Findings, tmp_path: Path, monkeypatch) -> None:
    write_probabilities(found.table, HOSTILE, True, tmp_path / "pred_probs.npz")
    with np.load(tmp_path / "pred_probs.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["pred_probs"], found.table.probabilities)
        np.testing.assert_array_equal(stored["labels"], found.table.given)
        assert stored["class_names"].tolist() == HOSTILE
        assert bool(stored["in_sample"]) is True
        filter_module = pytest.importorskip("cleanlab.filter", reason="cleanlab is not installed")
        issues = filter_module.find_label_issues(stored["labels"], stored["pred_probs"], n_jobs=1)
    wrong = found.table.given != found.subject.true
    assert wrong[issues].mean() > 0.8 > wrong.mean()


def test_the_summary_is_plain_json(found: Findings, tmp_path: Path) -> None:
    summary = summarise(found, tmp_path)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    low, value, high = (summary["noise_rate"][name] for name in ("low", "value", "high"))
    assert low <= value <= high
    assert summary["truth"]["noise_rate"] == pytest.approx(100 * (found.table.given != found.subject.true).mean())
    assert summary["truth"]["auroc"] > 0.9
    names: list[Any] = [row["class"] for row in summary["by_class"]]
    assert names == HOSTILE
