"""``ebomlc audit`` and ``ebomlc train --audit``: refusals in one line, and what is asked of the audit."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ebomlc_dist.audit.run_audit import Options
from ebomlc_dist.files.run_folder import RunFolder
from tests.cli.conftest import Ended, FakeEngine

INTERVAL = {"value": 12.0, "low": 10.0, "high": 14.0}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, Options]]:
    """Notes what audits are asked for."""
    calls: list[tuple[Path, Options]] = []

    def audit(folder: Path, options: Options, runtime: Any, *, quiet: bool) -> dict[str, Any]:
        calls.append((folder, options))
        return {
            "run": str(folder), "num_images": 7, "scores": "posterior", "in_sample": True, "noise_rate": INTERVAL,
            "conclusion": "About 1 looks wrong.", "relabelling": "2 are replaced.",
            "trusted_purity": None, "num_flagged": 1, "estimated_precision_of_flagged": None, "num_relabelled": 2,
            "relabelled_by": "posterior", "confidence": 0.8, "truth": None,
        }  # fmt: skip

    monkeypatch.setattr("ebomlc_dist.audit.run_audit.audit", audit)
    return calls


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    folder = RunFolder(Path("my run"))
    folder.root.mkdir()
    folder.summary.write_text("{}")
    monkeypatch.setattr("ebomlc_dist.engine.load_run.stored_config", lambda paths: SimpleNamespace(train=None))
    return "my run"


def test_flags_reach_the_audit(run: str, asked: list, engine: FakeEngine, ebomlc: Callable[..., Ended]) -> None:
    words = ("--cross-fit", "3", "--scores", "posterior", "--relabel", "corrector", "--confidence", "0.6")
    exports = ("--export", "cleanlab,fiftyone", "--export", "imagefolder", "--gallery", "9")
    ended = ebomlc("audit", run, *words, *exports)
    assert ended.code == 0, ended.err
    assert asked == [(Path(run), Options("posterior", 3, "corrector", 0.6, 9, ("cleanlab", "fiftyone", "imagefolder")))]
    assert ended.out.startswith("About 1 looks wrong.\n2 are replaced.\n\n")
    assert "12.00 % (10.00 – 14.00)" in ended.out
    assert "--split 'my run/audit/corrected_split.json' --noise none" in ended.out
    assert engine.closed == 1


def test_defaults_leave_the_choice_to_the_trusted_images(
    run: str, asked: list, engine: FakeEngine, ebomlc: Callable[..., Ended]
) -> None:
    ended = ebomlc("audit", run, "--json")
    assert json.loads(ended.out)["num_images"] == 7
    assert asked == [(Path(run), Options())]
    assert "next round" not in ebomlc("audit", run, "-q").out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("nowhere",), "no finished run"),
        (("my run", "--confidence", "7"), "--confidence 7"),
        (("my run", "--export", "cleanlob"), "did you mean 'cleanlab'"),
        (("my run", "--num-processes", "0"), "--num-processes 0"),
        (("my run", "--scores", "best"), "--scores"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], line: str, run: str, ebomlc: Callable[..., Ended]) -> None:
    assert line in ebomlc("audit", *words).refused()


def test_train_audits_every_run(asked: list, engine: FakeEngine, ebomlc: Callable[..., Ended], place: Path) -> None:
    ended = ebomlc("train", "digits", "--audit", "-o", "out")
    assert ended.code == 0
    assert [folder for folder, _ in asked] == [Path("out/ebomlc-s"), Path("out/ebomlc"), Path("out/ce")]
    assert all(call["config"].train.epoch_scores for call in engine.calls)
    assert all(call["sources"]["train.epoch_scores"] == "--audit" for call in engine.calls)
    assert ended.out.count("estimated wrong") == 3
    summaries = json.loads(ebomlc("train", "digits", "--audit", "-o", "out2", "--json").out)
    assert [summary["audit"]["num_images"] for summary in summaries] == [7, 7, 7]
    assert ebomlc("train", "digits", "-o", "out3").code == 0
    assert len(asked) == 6
    assert not engine.calls[-1]["config"].train.epoch_scores
