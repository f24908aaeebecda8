"""The comparison with cleanlab: the same figures from the same probabilities, and what trusted images add."""

import json
from pathlib import Path

import pytest

from ebomlc_dist.audit.files import write_labels, write_probabilities
from ebomlc_dist.audit.summary import summarise
from ebomlc_dist.errors import InputError
from tests.audit.support import World, evidence_of, findings_of, flip, make_subject, make_world, uniform
from tools.against_cleanlab import COLUMNS, compare, main

pytest.importorskip("cleanlab", reason="cleanlab is not installed")


def write_audit(world: World, run: Path, kind: str | None = None) -> None:
    from ebomlc_dist.audit.rank_labels import rank_labels

    (run / "audit").mkdir(parents=True)
    with evidence_of(world, run) as evidence:
        found = rank_labels(make_subject(world), evidence, kind)
        write_labels(found, run / "audit")
        write_probabilities(found.table, found.subject.class_names, True, run / "audit" / "pred_probs.npz")
        (run / "audit" / "summary.json").write_text(json.dumps(summarise(found, run)))


def test_confidence_ranks_as_cleanlab_s_self_confidence_does(tmp_path: Path) -> None:
    """Two programs, one definition: a swapped row or a swapped sign would show."""
    write_audit(make_world(uniform(5, 0.3), strength=2.0), tmp_path / "run", "confidence")
    found = compare(tmp_path / "run")
    ours, theirs = found["ours: confidence"], found["cleanlab: self_confidence"]
    assert ours["auroc"] == pytest.approx(theirs["auroc"], abs=1e-4)
    assert ours["average_precision"] == pytest.approx(theirs["average_precision"], abs=1e-3)
    assert theirs["auroc"] > 0.8


def test_trusted_images_help_where_the_model_learnt_the_noise(tmp_path: Path) -> None:
    write_audit(make_world(flip(5, 0.45), strength=3.0, learns_noise=True), tmp_path / "run")
    found = compare(tmp_path / "run")
    assert found["ours: posterior"]["auroc"] > found["cleanlab: self_confidence"]["auroc"] + 0.05


def test_the_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_audit(make_world(uniform(3, 0.3), num_images=200), tmp_path / "run")
    assert main([str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 4
    assert all(line.count("|") == len(COLUMNS) + 3 for line in lines)


def test_a_run_without_an_audit_or_truth_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "ebomlc audit" in capsys.readouterr().err
    (tmp_path / "audit").mkdir()
    with findings_of(make_world(uniform(3, 0.3), num_images=50), tmp_path, true=None) as found:
        (tmp_path / "audit" / "summary.json").write_text(json.dumps(summarise(found, tmp_path)))
    with pytest.raises(InputError, match="unknown"):
        compare(tmp_path)
