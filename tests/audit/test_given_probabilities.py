"""An audit of probabilities that a person has already: nothing is trained; trusted rows and the page are there."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ebomlc_dist.audit import neighbours
from ebomlc_dist.audit.neighbours import Neighbours
from ebomlc_dist.cli import run as ebomlc
from ebomlc_dist.data.inputs.feature_rows import FeatureRows

N, K, D = 600, 4, 6
_RNG = np.random.default_rng(0)
TRUE = _RNG.integers(0, K, N)
WRONG = _RNG.random(N) < 0.25
NOISY = np.where(WRONG, (TRUE + _RNG.integers(1, K, N)) % K, TRUE)
NAMES = np.array(["ant", "bee", "cat", "dog"])
LOGITS = 2.5 * np.eye(K)[TRUE] + _RNG.normal(size=(N, K))
PROBABILITIES = (np.exp(LOGITS) / np.exp(LOGITS).sum(axis=1, keepdims=True)).astype(np.float32)
FEATURES = (3.0 * _RNG.normal(size=(K, D))[TRUE] + _RNG.normal(size=(N, D))).astype(np.float32)
TRUSTED = np.arange(80)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: probabilities, features, noisy labels, and rows that somebody has checked."""
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", PROBABILITIES)
    np.save("x.npy", FEATURES)
    np.save("y.npy", NOISY)
    Path("trusted.csv").write_text("id,label\n" + "".join(f"{row},{TRUE[row]}\n" for row in TRUSTED))
    return tmp_path


def audited(*more: str) -> tuple[dict, dict[int, dict[str, str]]]:
    """The summary, and the rows of ``labels.csv`` by their number."""
    assert ebomlc(["audit", "--pred-probs", "p.npy", "--labels", "y.npy", "-q", "-o", "found", *more]) == 0
    with Path("found/labels.csv").open() as file:
        rows = {int(row["id"]): row for row in csv.DictReader(file)}
    return json.loads(Path("found/summary.json").read_text()), rows


def auroc(rows: dict[int, dict[str, str]]) -> float:
    """Of the suspicion, against the truth."""
    score = {row: float(found["suspicion"]) for row, found in rows.items()}
    wrong, right = ([score[row] for row in score if WRONG[row] == what] for what in (True, False))
    return float(np.mean(np.array(wrong)[:, None] > np.array(right)))


def test_trusted_rows_calibrate_and_are_not_audited(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary, rows = audited("--trusted", "trusted.csv")
    assert set(rows) == set(range(80, N))
    low, high = (summary["noise_rate"][end] for end in ("low", "high"))
    assert low < 100 * WRONG[80:].mean() < high
    assert auroc(rows) > 0.9
    assert summary["num_trusted"] == 80
    assert not summary["in_sample"]
    told = capsys.readouterr().out
    assert "labels look wrong" in told
    assert "next round" not in told
    text = Path("found/report.html").read_text()
    assert "given probabilities" in text
    assert Path("found/corrected.csv").exists()


def test_without_trusted_rows_nothing_is_promised(files: Path) -> None:
    summary, rows = audited("--in-sample")
    assert len(rows) == N
    assert summary["noise_rate_uses_trusted"] is False
    assert summary["in_sample"]


def test_neighbours_are_asked_where_there_are_features(files: Path) -> None:
    np.save("p.npy", np.full((N, K), 1 / K, np.float16))
    summary, rows = audited("--features", "x.npy", "--trusted", "trusted.csv", "--relabel", "corrector")
    assert summary["corrector"] == "nearest neighbours"
    assert auroc(rows) > 0.9
    relabelled = [row for row, found in rows.items() if found["proposed_label"] != found["given_label"]]
    assert np.mean([TRUE[row] == int(rows[row]["proposed_label"]) for row in relabelled]) > 0.8


def test_names_and_ids_and_the_file_of_another_audit(files: Path) -> None:
    np.savez("p.npz", pred_probs=PROBABILITIES, labels=NAMES[NOISY], ids=[f"item {row}" for row in range(N)])
    Path("t.csv").write_text("id\n" + "".join(f"item {row}\n" for row in np.flatnonzero(~WRONG)[:40]))
    assert ebomlc(["audit", "--pred-probs", "p.npz", "--trusted", "t.csv", "-q", "-o", "named"]) == 0
    with Path("named/labels.csv").open() as file:
        (first, *_) = csv.DictReader(file)
    assert first["id"].startswith("item ")
    assert first["given_label"] in NAMES


def write(name: str, values: np.ndarray) -> list[str]:
    np.save(name, values)
    return []


def spoilt(row: int, value: float) -> np.ndarray:
    rows = PROBABILITIES.copy()
    rows[row, 0] = value
    return rows


USUAL = ["--pred-probs", "p.npy", "--labels", "y.npy"]
REFUSED: dict[str, tuple[Callable[[], list[str]], str]] = {
    "logits": (lambda: write("p.npy", LOGITS) or USUAL, "take the softmax of logits"),
    "one row": (lambda: write("p.npy", spoilt(7, 0.9)) or USUAL, "1 bad row: p.npy, row 7 (7) has the sum"),
    "a negative one": (lambda: write("p.npy", spoilt(8, -0.2)) or USUAL, "p.npy, row 8 (8) has the sum"),
    "no number": (lambda: write("p.npy", spoilt(9, np.nan)) or USUAL, "p.npy, row 9 holds a value"),
    "too few columns": (
        lambda: write("p.npy", PROBABILITIES[:, :3]) or USUAL,
        "3 columns and the labels have 4 classes",
    ),
    "too few rows": (lambda: write("p.npy", PROBABILITIES[:9]) or USUAL, "600 rows and the features have 9"),
    "features of others": (
        lambda: write("x.npy", FEATURES[:9]) or [*USUAL, "--features", "x.npy"],
        "x.npy has 9 rows and p.npy has 600",
    ),
    "a cross-fit": (lambda: [*USUAL, "--cross-fit", "3"], "--cross-fit needs a run"),
    "epochs": (lambda: [*USUAL, "--scores", "epochs"], "--scores epochs needs a run"),
    "pictures": (lambda: [*USUAL, "--export", "imagefolder"], "--export imagefolder hands images on"),
    "a run too": (lambda: ["runs/mine", *USUAL], "give a run or --pred-probs"),
    "labels alone": (lambda: ["--labels", "y.npy"], "--labels goes with --pred-probs"),
    "neither": (lambda: [], "needs RUN, the folder of a finished run, or --pred-probs"),
    "no labels": (lambda: USUAL[:2], "holds no labels; give them with --labels"),
}


@pytest.mark.parametrize(("line", "message"), REFUSED.values(), ids=REFUSED)
def test_a_bad_command_ends_with_one_line_and_code_2(
    line: Callable[[], list[str]], message: str, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ebomlc(["audit", *line()]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") == 1
    assert not Path("audit").exists()


@pytest.mark.parametrize("references", [600, 100])
def test_the_share_among_the_nearest_but_itself(references: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "MOST_REFERENCES", references)
    rows = torch.arange(N)
    features = FeatureRows((FEATURES,))
    found = Neighbours.of(features, rows, torch.from_numpy(NOISY), K).share(features, rows[::7])
    voters = np.arange(references) * N // references
    unit = (FEATURES - FEATURES.mean(axis=0)) / FEATURES.std(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for place, row in enumerate(range(0, N, 7)):
        others = voters[voters != row]
        nearest = others[np.argsort(-(unit[others] @ unit[row]), kind="stable")[: neighbours.NEIGHBOURS]]
        # Of two rows that are equally near to rounding either may vote.
        np.testing.assert_allclose(found[place], np.bincount(NOISY[nearest], minlength=K) / len(nearest), atol=0.021)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(len(found)))
