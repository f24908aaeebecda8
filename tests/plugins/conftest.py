"""A plug-in package, installed as anybody's is, and modules that lie in a person's folder."""

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ebomlc_dist import plugins
from ebomlc_dist.methods.outside_method import outside_class
from tests.cli.conftest import LAUNCHER_VARIABLES, ebomlc, place
from tests.support.commands import ROOT

__all__ = ["ebomlc", "fresh", "installed", "place", "site", "started"]
PACKAGE = ROOT / "tests" / "plugin_package"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages that holds the plug-in package alone."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    # Building writes into the source.
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True, timeout=120)
    return target


@pytest.fixture(autouse=True)
def fresh(place: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, and nothing that an earlier test has named or imported."""
    everything = tmp_path_factory.getbasetemp()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugins, "_named", set())
    monkeypatch.delenv(plugins.ALLOWED, raising=False)
    _forget(everything)
    yield place
    monkeypatch.undo()
    _forget(everything)


@pytest.fixture
def installed(site: Path, fresh: Path) -> Path:
    """The plug-in package on the path."""
    sys.path.append(str(site))
    plugins.registered.cache_clear()
    return site


def started(words: list[str], folder: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """``ebomlc`` in a process of its own, with the packages of ``site`` installed."""
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "CUDA_VISIBLE_DEVICES": "-1", "EBOMLC_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ebomlc_dist.cli", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def _forget(place: Path) -> None:
    """Drop what was imported from ``place``, and what is remembered of it."""
    plugins.registered.cache_clear()
    outside_class.cache_clear()
    importlib.invalidate_caches()
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(str(place)):
            del sys.modules[name]
