"""``ebomlc doctor``, on this machine and on what a broken one would show."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.cli import doctor
from tests.cli.conftest import Ended


def test_this_machine_is_well(ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(doctor, "_WRITE_BYTES", 1_000_000)
    ended = ebomlc("doctor", "--json")
    found = {finding["check"]: finding for finding in json.loads(ended.out)}
    assert ended.code == 0, ended.out
    assert found["two ranks (gloo)"]["result"] == found["disk"]["result"] == "ok"
    # A machine with other work has poor threads.
    assert found["threads"]["result"] in ("ok", "poor")
    assert "MB/s" in found["disk"]["what"]
    assert set(found) == {"two ranks (gloo)", "threads", "NCCL", "FFCV", "disk"}
    assert not list(Path().glob(".ebomlc-doctor-*"))


@pytest.mark.parametrize(
    ("cores", "gain", "result"), [(1, 1.0, "ok"), (2, 1.9, "ok"), (2, 0.5, "poor"), (8, 2.0, "poor"), (8, 6.0, "ok")]
)
def test_threads_are_judged_by_what_they_gain(cores: int, gain: float, result: str) -> None:
    found = doctor._judged("threads", cores, gain)
    assert found.result == result
    assert f"{gain:.1f} times as fast as one" in found.what
    assert ("EBOMLC_NUM_THREADS" in found.what) == (result == "poor")


def test_what_is_broken_is_told_and_gives_the_exit_code(
    ebomlc: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ebomlc_dist").mkdir()
    (tmp_path / "ebomlc_dist" / "__init__.py").write_text("raise RuntimeError('an installation that is broken')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    ended = ebomlc("doctor", "--dir", os.devnull)
    rows = {line.split("  ")[0]: line for line in ended.out.splitlines()}
    assert ended.code == 1
    assert "failed" in rows["two ranks (gloo)"]
    assert "failed" in rows["disk"]
    assert "cannot be written" in rows["disk"]
