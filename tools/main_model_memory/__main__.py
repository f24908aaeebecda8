"""Bytes a process holds for the main model: model × number of processes × strategy, on paper and by measurement.

    python -m tools.main_model_memory [--json]                                       on paper
    python -m tools.main_model_memory --measure torchvision/resnet50                real steps beside their figure

`ebomlc_dist.profiling.memory` states what is counted on paper. Measured is the growth from before a model is built to
the peak of two steps of EBOMLC, in resident memory or, on GPUs, in the allocator's. On top of what is counted come the
images, activations of two noisy and two trusted ones a process, running statistics and the label corrector, alike in
each strategy, and what is copied to be sent.
"""

import sys
from typing import Annotated, Literal

import typer

from ebomlc_dist.cli import make_app, run_app
from ebomlc_dist.cli.output import print_json, print_table

WORLD_SIZES = (1, 2, 8, 64, 512)
MIB = 2**20

app = make_app()


@app.command()
def main_model_memory(
    measure: Annotated[
        str, typer.Option("--measure", metavar="MODEL", help="Measure this one of the models.", show_default=False)
    ] = "",
    image_size: Annotated[int, typer.Option("--image-size", min=1, help="With --measure: side of the images.")] = 64,
    num_processes: Annotated[int, typer.Option("--num-processes", help="With --measure.")] = 2,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="With --measure.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Bytes, as JSON.")] = False,
) -> int:
    """Print the main model's memory a process: the paper count of all models, or one measured beside its count."""
    if measure:
        return _measured(measure, image_size, num_processes, device, as_json=json)
    return _computed(as_json=json)


def _computed(*, as_json: bool) -> int:
    from ebomlc_dist.profiling.memory import STRATEGIES, Size, main_model_bytes
    from tools.main_model_memory.models import MODELS, outlined

    sizes = {name: Size.of(outlined(name)) for name in MODELS}
    found = [
        (name, size, gpus, {one: main_model_bytes(one, gpus, size) for one in STRATEGIES})
        for name, size in sizes.items()
        for gpus in WORLD_SIZES
    ]
    if as_json:
        rows = ({"model": name, "parameters": size.parameters, "gpus": n} | held for name, size, n, held in found)
        print_json(list(rows))
        return 0
    print_table(
        ["model", "M parameters", "GPUs", *(f"{one} MiB" for one in STRATEGIES)],
        [
            (name, f"{size.parameters / 1e6:.2f}", str(gpus), *(_mib(held[one]) for one in STRATEGIES))
            for name, size, gpus, held in found
        ],
    )
    return 0


def _measured(
    model: str, image_size: int, num_processes: int, device: Literal["auto", "cpu", "cuda"], *, as_json: bool
) -> int:
    from tools.main_model_memory.measured import measure

    found = measure(model, image_size, num_processes, device)
    if as_json:
        print_json([vars(one) for one in found])
        return 0
    whole, spread = found
    saved = ("what fsdp saves", whole.computed - spread.computed, whole.measured - spread.measured)
    rows = [*((one.strategy, one.computed, one.measured) for one in found), saved]
    print_table(["strategy", "computed MiB", "measured MiB"], [(name, _mib(c), _mib(m)) for name, c, m in rows])
    return 0


def _mib(num_bytes: float) -> str:
    return f"{num_bytes / MIB:.1f}"


def run(arguments: list[str]) -> int:
    """Run the tool and return the exit code."""
    return run_app(app, "tools.main_model_memory", "`python -m tools.main_model_memory --help`", arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
