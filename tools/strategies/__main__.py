"""Ways to hold a main model: bytes a process on paper, and real steps measured.

    python -m tools.strategies                                       bytes: model × number of processes × strategy
    python -m tools.strategies --measure torchvision/resnet50        each way on this machine, beside its count

`ebomlc_dist.profiling.memory` states what is counted on paper. Measured is the growth from before a model is built to
the peak of two steps of EBOMLC, in resident memory or, on GPUs, in the allocator's; then the time of further steps, and
what their collectives send. On top of what is counted come the images, activations, running statistics and the label
corrector, and what is copied to be sent.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ebomlc_dist.cli import make_app, run_app
from ebomlc_dist.cli.output import print_json, print_table
from ebomlc_dist.config import Strategy

if TYPE_CHECKING:
    from tools.strategies.measured import Asked

WORLD_SIZES = (1, 2, 8, 64, 512)
MIB = 2**20

app = make_app()


@app.command()
def strategies(
    measure: Annotated[
        str, typer.Option("--measure", metavar="MODEL", help="Measure this one of the models.", show_default=False)
    ] = "",
    image_size: Annotated[int, typer.Option("--image-size", min=1, help="With --measure: side of the images.")] = 64,
    images: Annotated[int, typer.Option("--images", min=2, help="With --measure: of each kind a process.")] = 2,
    strategy: Annotated[
        Strategy | None, typer.Option("--strategy", help="With --measure: this one alone.", show_default=False)
    ] = None,
    num_processes: Annotated[int, typer.Option("--num-processes", help="With --measure.")] = 2,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="With --measure.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Bytes and milliseconds, as JSON.")] = False,
) -> int:
    """Print a main model's memory a process by strategy: on paper for all models, or measured for one."""
    if not measure:
        return _computed(as_json=json)
    from tools.strategies.measured import Asked

    return _measured(Asked(measure, image_size, images, device, strategy), num_processes, as_json=json)


def _computed(*, as_json: bool) -> int:
    from ebomlc_dist.distributed.zero import BUCKET
    from ebomlc_dist.profiling.memory import STRATEGIES, Size, main_model_bytes
    from tools.strategies.models import MODELS, outlined

    sizes = {name: Size.of(outlined(name)) for name in MODELS}
    found = [
        (name, size, gpus, {one: main_model_bytes(one, gpus, size, BUCKET) for one in STRATEGIES})
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


def _measured(asked: "Asked", num_processes: int, *, as_json: bool) -> int:
    from tools.strategies.measured import measure

    found = measure(asked, num_processes, lambda text: print(text, file=sys.stderr))
    if as_json:
        print_json([vars(one) | {"step_ms": one.step_ms.model_dump()} for one in found])
        return 0
    print_table(
        ["strategy", "processes", "blocks again", "computed MiB", "measured MiB", "sent MB a step", "ms a step"],
        [
            (
                one.strategy,
                str(one.processes),
                "yes" if one.again else "no",
                _mib(one.computed),
                _mib(one.peak),
                f"{one.sent / 1e6:.1f}",
                f"{one.step_ms.median:.0f} ({one.step_ms.low:.0f} – {one.step_ms.high:.0f})",
            )
            for one in found
        ],
    )
    return 0


def _mib(num_bytes: float) -> str:
    return f"{num_bytes / MIB:.1f}"


def run(arguments: list[str]) -> int:
    """Run the tool and return the exit code."""
    return run_app(app, "tools.strategies", "`python -m tools.strategies --help`", arguments)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
