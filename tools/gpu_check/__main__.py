"""``python -m tools.gpu_check``: everything that only a GPU can show, in one command of at most nine minutes.

    python -m tools.gpu_check wheels carried/wheels                      packages that a machine may lack
    python -m tools.gpu_check data carried/cifar10 --data-dir data       CIFAR-10 in 40 MB
    PYTHONPATH=carried/wheels python -m tools.gpu_check run --data-dir carried/cifar10 --output gpu_check.json

Parts, the most telling first: one step of every method; step times; kernels; promises; the GPU tests; one run and
several at once; compiled passes; methods after their warm-up; the fast recipe at full size; the loaders. Each row is
kept as soon as it is there, and a further call goes on with what is missing, as long as the code and the machine are
the same. ``--device cpu`` rehearses all of it on a CPU, in small. From a source checkout, in its root; neither ffcv nor
deepspeed is needed. Exit codes: 0 all done and every bar reached, 1 something failed, was missed or is unfinished,
2 bad input.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

_NEEDED = (
    "torch",
    "torchvision",
    "accelerate",
    "numpy",
    "typer",
    "rich",
    "jinja2",
    "safetensors",
    "pydantic",
    "sklearn",
    "pytest",
    "hypothesis",
)


def missing() -> list[str]:
    """Packages that this Python lacks and the check needs."""
    return [name for name in _NEEDED if find_spec(name) is None]


def run(arguments: list[str]) -> int:
    """Run the tool and return the exit code."""
    if lacking := missing():
        print(
            f"tools.gpu_check: {', '.join(lacking)} is not installed here. Where there is a network, make a folder "
            "with `python -m tools.gpu_check wheels DIR`; carry it here and start with PYTHONPATH=DIR",
            file=sys.stderr,
        )
        return 2
    from ebomlc_dist.cli import run_app
    from tools.gpu_check.commands import app

    return run_app(app, "tools.gpu_check", "`python -m tools.gpu_check --help`", arguments)


if __name__ == "__main__":
    # A checkout is started in its root.
    sys.path.insert(0, str(Path(__file__).parents[2]))
    sys.exit(run(sys.argv[1:]))
