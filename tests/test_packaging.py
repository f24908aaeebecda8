"""What is handed on: a source distribution that is the repository, and a wheel that holds what the program reads."""

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def tracked() -> list[str]:
    """The files of the repository, those not yet committed among them; of an unpacked source distribution, all."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout: the source distribution is compared with git's list of files")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in listed if name and (ROOT / name).exists()]


def built(kind: str, source: Path, into: Path) -> Path:
    """The distribution that setuptools makes of ``source``, with what is installed and without the network."""
    into.mkdir()
    code = f"import setuptools.build_meta as backend; backend.build_{kind}({str(into)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = into.iterdir()
    return found


def unpacked(archive: Path, into: Path) -> Path:
    with tarfile.open(archive) as opened:
        opened.extractall(into, filter="data")
    (folder,) = into.iterdir()
    return folder


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make a copy of the repository by name, so that no build leaves anything in the checkout."""
    names = tracked()

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "tree"
        for path in names:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, folder / path)
        return folder

    return make


def test_the_source_distribution_is_the_repository(copy: Callable[[str], Path], tmp_path: Path) -> None:
    source = copy("sdist")
    wanted = files_in(source)
    # What lies about in a checkout that was worked in stays at home.
    for litter in (
        "tests/__pycache__/test_api.cpython-311.pyc",
        "tests/plugin_package/noisy_extras.egg-info/PKG-INFO",
        "tools/.ruff_cache/x",
    ):
        (source / litter).parent.mkdir(parents=True, exist_ok=True)
        (source / litter).write_text("litter")
    folder = unpacked(built("sdist", source, tmp_path / "dist"), tmp_path / "unpacked")
    own = {name for name in files_in(folder) if not re.match(r"PKG-INFO|setup\.cfg|ebomlc_dist\.egg-info/", name)}
    assert sorted(wanted - own) == []
    assert sorted(own - wanted) == []

    # The wheel is made of it, as package indexes and distributions make theirs.
    wheel = zipfile.ZipFile(built("wheel", folder, tmp_path / "wheel"))
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == {name for name in wanted if name.startswith("ebomlc_dist/")}
    assert {"ebomlc_dist/reports/paper_tables/paper.json", "ebomlc_dist/py.typed"} < held
    (entry,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "ebomlc = ebomlc_dist.cli:main" in wheel.read(entry).decode()


def test_the_extra_for_developers_is_all_the_others_for_them() -> None:
    extras = PROJECT["optional-dependencies"]
    assert extras["dev"] == ["ebomlc_dist[test,browser,lint,docs]"]
    assert set(extras) == {"dev", "test", "browser", "lint", "docs", "ffcv", "deepspeed", "parquet"}


def test_the_citation_is_of_this_version_and_names_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    (paper,) = citation["references"]
    assert paper["title"].startswith("Efficient Bilevel Optimization for Meta Label Correction")
    assert paper["url"] == PROJECT["urls"]["Paper"]
