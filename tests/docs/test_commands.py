"""Commands of the documentation: understood by the program in every run of the tests, carried out in the slow ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from ebomlc_dist.cli import _USAGE_ERROR as USAGE_ERROR
from ebomlc_dist.cli import app, in_full
from tests.data.support import write_lines, write_tree
from tests.docs.pages import PAGES, ROOT, blocks, commands

TYPED = [pytest.param(words, id=f"{page.name}: {' '.join(words)}") for page in PAGES for words in commands(page)]
PROGRAMS = (
    "ebomlc",
    "accelerate",
    "python",
    "python3",
    "pip",
    "tensorboard",
    "sbatch",
    "squeue",
    "cat",
    "test",
    "cd",
    ".",
)


def objection(application: typer.Typer, arguments: list[str]) -> str:
    """What an application's parser has against the arguments; nothing, where it takes them."""
    command, words = typer.main.get_command(application), list(arguments)
    while verbs := getattr(command, "commands", None):
        if not words or words[0] not in verbs:
            return f"no verb: {' '.join(words)}"
        command = verbs[words.pop(0)]
    try:
        command.make_context("program", words)
    except USAGE_ERROR as error:
        return error.format_message()  # type: ignore[attr-defined]
    return ""


@pytest.mark.parametrize("words", TYPED)
def test_understood(words: list[str]) -> None:
    program, *arguments = words
    assert program in PROGRAMS
    if program == "accelerate":
        config, script = arguments[arguments.index("--config_file") + 1], arguments.index("train.py")
        assert (ROOT / config).is_file()
        arguments = ["train", *arguments[script + 1 :]]
    if program in ("ebomlc", "accelerate"):
        assert objection(app, in_full(arguments)) == ""
    elif program == "python" and arguments[:1] == ["-m"] and arguments[1].startswith("tools."):
        tool = ROOT / arguments[1].replace(".", "/")
        assert (tool / "__main__.py").is_file() or tool.with_suffix(".py").is_file()


def test_what_is_not_understood_is_seen() -> None:
    assert "No such option" in objection(app, ["train", "digits", "--no-such-flag"])
    assert "no verb" in objection(app, ["no-such-verb"])
    assert objection(app, ["train", "digits", "--method", "ce"]) == ""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a reader stands: images, decisions about them, and CIFAR in ``data`` where there is any."""
    write_tree(tmp_path / "DIR", per_class=20)
    write_tree(tmp_path / "UNCHECKED", ["train"], per_class=120)
    paths = [path.relative_to(tmp_path / "DIR") for path in sorted((tmp_path / "DIR" / "train").rglob("*.png"))[::3]]
    write_lines(tmp_path / "decisions.csv", "path,label", *(f"{path},{path.parent.name}" for path in paths))
    checked = (f"{path},{path.parent.name},{path.parent.name}" for path in paths)
    write_lines(tmp_path / "checked.csv", "path,label,noisy_label", *checked)
    if (data := os.environ.get("EBOMLC_DATA_DIR")) is not None:
        (tmp_path / "data").symlink_to(data)
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    for program in PROGRAMS[: PROGRAMS.index("cat")]:
        shim = bin_dir / program
        shim.write_text(f'#!/bin/sh\nexec env PYTHONPATH={ROOT} {sys.executable} -m tests.docs.shim {program} "$@"\n')
        shim.chmod(0o755)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(bin_dir)
    (bin_dir / "activate").touch()
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES if blocks(page)])
def test_carried_out(page: Path, place: Path) -> None:
    """A page's blocks in their order, in one folder, with sizes made small."""
    if "--data-dir data" in page.read_text() and not (place / "data").exists():
        pytest.skip("EBOMLC_DATA_DIR names no folder with CIFAR data")
    for block in blocks(page):
        environment = os.environ | {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block], cwd=place, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{block}\n{done.stdout[-1000:]}\n{done.stderr[-1000:]}"
