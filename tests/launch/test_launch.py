"""Through the real launcher: what ``accelerate launch`` starts, says, refuses, and ends with."""

import json
from pathlib import Path
from typing import Any

import pytest

from ebomlc_dist.engine.run import train
from ebomlc_dist.files.run_folder import read_status
from tests.support.commands import ACCELERATE, CONFIGS, ROOT, command
from tests.support.runs import alone, tiny_config

TWO = ["--config_file", str(CONFIGS / "cpu_2_processes.yaml")]
EXACT = (
    "method", "dataset", "model", "noise", "noise_rate_nominal", "noise_rate_realised", "seed", "num_noisy",
    "num_clean", "num_test", "epochs", "steps", "skipped_steps", "finished",
)  # fmt: skip
CORRECTOR = ("wrong_labels_corrected", "right_labels_kept")
PREDICTION = ("prediction_wrong_labels_corrected", "prediction_right_labels_kept")


def launched(launcher: list[str], arguments: list[str], folder: Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``accelerate launch … train.py …``, with the output folder ``out``."""
    words = [*ACCELERATE, *launcher, str(ROOT / "train.py"), *arguments, "-o", "out"]
    with command(words, folder) as started:
        ended = started.wait()
        assert not started.alive()
    return ended


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "summary.json").read_text())


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Figures in which two runs differ.

    Sums over two shards are rounded in another order than sums over one batch; after the few steps of a tiny run the
    weights agree to 1e-6 in norm. That can move an image that lies on a border between classes, and with it one count:
    each figure may differ by one image of its set, and everything that is no count not at all.
    """
    wrong = round(one["num_noisy"] * one["noise_rate_realised"] / 100)
    counts = {
        "accuracy_last": one["num_test"],
        "accuracy_best": one["num_test"],
        "accuracy_last10_mean": one["num_test"],
        **dict.fromkeys((CORRECTOR[0], PREDICTION[0]), wrong),
        **dict.fromkeys((CORRECTOR[1], PREDICTION[1]), one["num_noisy"] - wrong),
    }
    near = [key for key, count in counts.items() if abs(one[key] - other[key]) > 100.0 / count + 1e-9]
    return [key for key in EXACT if one[key] != other[key]] + near


def test_a_bare_launch_and_two_processes_end_with_the_same_figures(tmp_path: Path) -> None:
    """And the launcher says nothing with a shipped configuration."""
    arguments = ["digits:tiny", "--method", "ebomlc", "--norm", "group", "--epochs", "4", "--quiet"]
    summaries = {}
    for processes, launcher in ((1, []), (2, TWO)):
        folder = tmp_path / str(processes)
        folder.mkdir()
        code, out, err = launched(launcher, arguments, folder)
        assert code == 0, err
        assert not launcher or err == ""
        assert "ebomlc" in out
        assert "run: out" in out
        assert read_status(folder / "out").state == "finished"
        summaries[processes] = summary_of(folder)
        assert summaries[processes]["world_size"] == processes
    assert differing(summaries[1], summaries[2]) == []

    other_seed = tiny_config(model={"norm": "group"}, train={"epochs": 4}, seeds={"seed": 1})
    other = train(other_seed, tmp_path / "other", quiet=True, runtime=alone())
    found = differing(summaries[1], other)
    assert {"seed", "accuracy_last", "prediction_right_labels_kept"} <= set(found), "the comparison sees no difference"


def assert_refused(ended: tuple[int, str, str], folder: Path, text: str) -> None:
    """One line of ours, from rank 0, no traceback through our code, and the true exit code in ``status.json``."""
    code, out, err = ended
    assert code != 0
    ours = [line for line in (out + err).splitlines() if "ebomlc: " in line]
    assert len(ours) == 1, err
    assert text in ours[0]
    assert "/ebomlc_dist/" not in err, err
    status = read_status(folder / "out")
    assert (status.state, status.code) == ("failed", 2)
    assert text in (status.reason or "")
    assert not (folder / "out" / "config.json").exists()


BAD = (["digits:tiny", "--noise-rate", "1.4"], "noise")


def test_bad_input_is_one_line_and_the_code_in_the_status(tmp_path: Path) -> None:
    assert_refused(launched([], BAD[0], tmp_path), tmp_path, BAD[1])


@pytest.mark.slow
def test_bad_input_on_two_processes_is_one_line_too(tmp_path: Path) -> None:
    assert_refused(launched(TWO, BAD[0], tmp_path), tmp_path, BAD[1])


@pytest.mark.slow
def test_bad_data_on_two_processes_are_one_line_too(tmp_path: Path) -> None:
    """Found by the engine, on both ranks."""
    arguments = ["digits:tiny", "--method", "ebomlc", "--set", "data.clean_size=100000"]
    assert_refused(launched(TWO, arguments, tmp_path), tmp_path, "clean")


def test_processes_that_the_launcher_does_not_start_are_missed(tmp_path: Path) -> None:
    """With ``--cpu`` Accelerate starts one process where two were asked for, and says nothing."""
    ended = launched(["--cpu", "--num_processes", "2"], ["digits:tiny", "--method", "ce"], tmp_path)
    assert_refused(ended, tmp_path, "2 processes were asked for but the launcher started 1")
