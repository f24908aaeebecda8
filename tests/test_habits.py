"""The checkers a contributor runs, as tests: lint, format, types, direction of imports, the image."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECKS = {
    "lint": [sys.executable, "-m", "ruff", "check", "."],
    "format": [sys.executable, "-m", "ruff", "format", "--check", "."],
    "types": [sys.executable, "-m", "mypy"],
    "imports": [str(Path(sys.executable).with_name("lint-imports"))],
    "image": [str(Path(sys.executable).with_name("hadolint")), "Dockerfile"],
}


def test_only_distributed_and_launch_name_collectives_and_the_launcher() -> None:
    """import-linter sees packages, not parts of torch."""
    users = set()
    for path in (ROOT / "ebomlc_dist").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(module.startswith(("torch.distributed", "accelerate")) for module in modules):
                users.add(path.relative_to(ROOT / "ebomlc_dist").parts[0])
    assert users == {"distributed", "launch"}


@pytest.mark.parametrize("name", CHECKS)
def test_checker_is_content(name: str) -> None:
    answer = subprocess.run(CHECKS[name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
