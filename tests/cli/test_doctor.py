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
    assert found["two ranks (gloo)"]["result"] == found["threads"]["result"] == found["disk"]["result"] == "ok"
    assert "MB/s" in found["disk"]["what"]
    assert set(found) == {"two ranks (gloo)", "threads", "NCCL", "FFCV", "disk"}
    assert not list(Path().glob(".ebomlc-doctor-*"))


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
