"""Whole runs: the loader decides nothing but time, also where a run goes on with another one."""

from pathlib import Path

import pytest

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.loaders.ffcv_extra import has_ffcv
from tests.support.runs import alone, assert_same, tiny_config, train_until


def with_loader(name: str, folder: Path) -> RunConfig:
    return tiny_config(data={"loader": name, "num_workers": 1, "pack_dir": folder / "packed"})


def test_a_run_goes_on_with_another_loader(tmp_path: Path, one_thread: None) -> None:
    control = tmp_path / "control"
    train_until(with_loader("resident", tmp_path), control, alone())
    assert train_until(with_loader("dataloader", tmp_path), tmp_path / "run", alone(), stop_after=3) is None
    train_until(with_loader("auto", tmp_path), tmp_path / "run", alone())
    assert_same(tmp_path / "run", control)


@pytest.mark.skipif(not has_ffcv(), reason="ffcv is not installed (the extra `ffcv`)")
def test_a_run_from_packed_images(tmp_path: Path, one_thread: None) -> None:
    from ebomlc_dist.cli import run

    assert run(["pack", "digits:tiny", "--pack-dir", str(tmp_path / "packed"), "-q"]) == 0
    control = tmp_path / "control"
    train_until(with_loader("resident", tmp_path), control, alone())
    train_until(with_loader("ffcv", tmp_path), tmp_path / "run", alone())
    assert_same(tmp_path / "run", control)


def test_the_panel_names_the_loader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ebomlc_dist.engine.run import train

    train(with_loader("auto", tmp_path), tmp_path / "run", runtime=alone())
    assert "loader:    resident (0.00 GiB of images fit into memory)" in capsys.readouterr().err
