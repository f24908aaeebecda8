"""``python -m tools.gpu_check``: everything that only a GPU can show, in one command of at most nine minutes.

    python -m tools.gpu_check --output gpu_check.json --data-dir data
    python -m tools.gpu_check --output gpu_check.json --parts step,training

Parts: the GPU tests; the cost of a step, eager, compiled and as a graph; one run and several at once; real training;
the loaders; all methods. What is done is written after each part, and a further call goes on with the rest, as long as
the code and the machine are the same. ``--device cpu`` rehearses the parts on a CPU, in small and without graphs. From
a source checkout, in its root; neither ffcv nor deepspeed is needed. Exit codes: 0 all done and every bar reached,
1 something failed, was missed or is unfinished, 2 bad input.
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from ebomlc_dist.cli import make_app, run_app
from ebomlc_dist.errors import InputError

app = make_app()


@app.command()
def gpu_check(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The result, .json; goes on with it.")],
    data_dir: Annotated[
        str, typer.Option("--data-dir", metavar="DIR", help="CIFAR-10; digits without it.", show_default=False)
    ] = "",
    parts: Annotated[
        str, typer.Option("--parts", metavar="NAME[,NAME…]", help="Only these, done or not.", show_default=False)
    ] = "",
    seconds: Annotated[float, typer.Option("--seconds", help="To end within.")] = 540.0,
    device: Annotated[Literal["cuda", "cpu"], typer.Option("--device", help="cpu only rehearses.")] = "cuda",
) -> int:
    """Run the GPU tests, the profile, the loaders and real training on this machine's GPU."""
    import torch

    from tools.gpu_check.parts import PARTS, Place
    from tools.gpu_check.run import run_parts, show

    unknown = [name for name in parts.split(",") if parts and name not in PARTS]
    if unknown:
        raise InputError(f"--parts: there is no '{unknown[0]}'; there are {', '.join(PARTS)}")
    if not output.endswith(".json") or not Path(output).absolute().parent.is_dir():
        raise InputError(f"--output {output}: give a name that ends in .json, in a folder that exists")
    if data_dir and not Path(data_dir).is_dir():
        raise InputError(f"--data-dir {data_dir}: there is no such folder")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no CUDA device here; --device cpu rehearses the parts on a CPU")
    place = Place(Path(output).absolute(), Path(data_dir).absolute() if data_dir else None, device)
    result = run_parts(place, parts.split(",") if parts else None, seconds)
    show(result)
    return 0 if result.good else 1


def run(arguments: list[str]) -> int:
    """Run the tool and return the exit code."""
    return run_app(app, "tools.gpu_check", "`python -m tools.gpu_check --help`", arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
