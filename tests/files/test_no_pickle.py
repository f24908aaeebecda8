"""The package's source names nothing that unpickles, evaluates or unpacks what a stranger may have written."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "ebomlc_dist").rglob("*.py"), *ROOT.glob("*.py"), *(ROOT / "tools").rglob("*.py")])

PICKLING_MODULES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
BANNED_CALLS = {"torch.load", "torch.save", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "shutil.unpack_archive"}
BANNED_ATTRIBUTES = {
    "extractall",
    "load_checkpoint",
    "load_state",
    "save_state",
    "Unpickler",
    "FileSystemReader",
    "FileSystemWriter",
}
ALLOWED = {
    # The official CIFAR files are pickles: read by a restricted unpickler, after their md5 has been checked.
    "ebomlc_dist/data/datasets/cifar.py": {"pickle", "pickle.Unpickler"},
    # With a loader derived from yaml.BaseLoader, which builds text, lists and mappings only.
    "ebomlc_dist/recipes/config_file.py": {"yaml.load"},
}


def findings(tree: ast.AST) -> Iterator[str]:
    """Every banned name in a module. The package's own functions may be called as they like."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in PICKLING_MODULES)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = {f"{module}.{alias.name}": alias.name for alias in node.names}
            if module.split(".")[0] in PICKLING_MODULES:
                yield module
            elif module.split(".")[0] != "ebomlc_dist":
                yield from (full for full, name in names.items() if is_banned_name(name) or full in BANNED_CALLS)
        elif isinstance(node, ast.Attribute):
            if is_banned_name(node.attr) or ast.unparse(node) in BANNED_CALLS:
                yield ast.unparse(node)
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) != "False":
            yield node.arg


def is_banned_name(name: str) -> bool:
    return name in BANNED_ATTRIBUTES or name.endswith(("_object", "_object_list"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source_is_free_of_pickles(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    found = set(findings(ast.parse(path.read_bytes(), name)))
    assert found <= ALLOWED.get(name, set())


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import pickle as p",
        "def f():\n    from pickle import loads",
        "import joblib.memory",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import yaml\nyaml.load(x)",
        "accelerator.load_state('x')",
        "accelerator.save_state('x')",
        "engine.load_checkpoint('x')",
        "dist.broadcast_object_list([1])",
        "dist.all_gather_object(a, b)",
        "from torch.distributed import all_gather_object",
        "from accelerate.utils import broadcast_object_list",
        "numpy.load('x', allow_pickle=True)",
        "numpy.load('x', allow_pickle=flag)",
        "tarfile.open('x').extractall()",
        "from torch.distributed.checkpoint import FileSystemReader",
    ],
)
def test_the_ban_sees(source: str) -> None:
    """Control: each banned thing is found."""
    assert list(findings(ast.parse(source)))


def test_the_ban_lets_honest_code_pass() -> None:
    source = (
        "numpy.load('x', allow_pickle=False); model.load_state_dict(safetensors.torch.load(data)); yaml.safe_load(x)"
    )
    assert not list(findings(ast.parse(source)))
    assert any(path.name == "checkpoints.py" for path in SOURCES)
