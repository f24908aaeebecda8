"""What is checked besides the tests: it fails where one of the checkers does, and says which."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import ROOT

PROGRAMS = {"lint": "ruff", "format": "ruff", "types": "mypy", "imports": "lint-imports", "image": "hadolint"}
SITE = 'mkdir -p "$5/benchmarks"; touch "$5/guide.html" "$5/benchmarks/corrector.html"'


def checked(folder: Path, **bodies: str) -> subprocess.CompletedProcess[str]:
    """``tools/check`` with programs that do what ``bodies`` say, and nothing where these say nothing."""
    for name in {*PROGRAMS.values(), "mkdocs"}:
        program = folder / name
        program.write_text(f"#!/bin/sh\n{bodies.get(name, SITE if name == 'mkdocs' else '')}\n")
        program.chmod(0o755)
    return subprocess.run([ROOT / "tools" / "check", folder], capture_output=True, text=True, check=False)


def test_contented_checkers_pass(tmp_path: Path) -> None:
    done = checked(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [f"{name}: passed" for name in (*PROGRAMS, "site")]


@pytest.mark.parametrize("name", [*PROGRAMS, "site"])
def test_one_that_fails_fails_all_and_is_named(name: str, tmp_path: Path) -> None:
    program = PROGRAMS.get(name, "mkdocs")
    only = {"lint": 'test "$1" = format ||', "format": 'test "$1" = check ||'}.get(name, "")
    done = checked(tmp_path, **{program: f"{only} {{ echo its complaint; exit 1; }}"})
    assert done.returncode == 1
    assert "its complaint" in done.stdout
    assert done.stderr == f"tools/check: {name} failed\n"
    assert len([line for line in done.stdout.splitlines() if line.endswith(": passed")]) == len(PROGRAMS)


def test_a_site_without_its_pages_fails(tmp_path: Path) -> None:
    assert checked(tmp_path, mkdocs='mkdir -p "$5"; touch "$5/guide.html"').returncode == 1


def test_ci_runs_it_and_stops_where_it_fails() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in script
    assert "\ntools/check\n" in script
    assert os.access(ROOT / "tools" / "check", os.X_OK)
