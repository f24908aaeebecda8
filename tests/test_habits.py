"""What no checker of `tools/check` sees."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


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


def test_a_fast_test_that_starts_a_process_is_told_to_say_so() -> None:
    """As every test of this file is fast, this one can try."""
    with pytest.raises(AssertionError, match=r"subprocess\.Popen in a fast test: mark it `process`"):
        subprocess.run([sys.executable, "-c", ""], check=False)
