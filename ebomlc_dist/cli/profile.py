"""``ebomlc profile``: what a step of each method costs here, and what EBOMLC's is against the others'.

    ebomlc profile                                             six rows, ResNet-32, random images of 32×32
    ebomlc profile --method ebomlc,mlc:double_backward --model resnet8 --output profile.html
    ebomlc profile --method ebomlc,ce --scaling 1,2
    ebomlc profile --method ebomlc,ce --scaling 1,2,4 --oversubscribe              four processes on two cores
    accelerate launch -m ebomlc_dist.cli profile --precision bf16

From a checkout, ``python -m tools.profile`` and ``accelerate launch -m tools.profile`` are the same.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ebomlc_dist.cli.flags import describes_a_run
from ebomlc_dist.errors import InputError

if TYPE_CHECKING:
    from ebomlc_dist.recipes.assemble import Request

SUFFIXES = (".html", ".json")


@describes_a_run
def profile(
    request: "Request",
    context: typer.Context,
    rounds: Annotated[
        int | None, typer.Option("--rounds", help="Turns of each row, 3 or more.", show_default=False)
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", help="Without --rounds: as many as fit, 5 or more.")] = 45.0,
    at_epoch: Annotated[int, typer.Option("--at-epoch", help="Steps of which epoch, from 0.")] = 0,
    num_classes: Annotated[int, typer.Option("--num-classes", help="Of random images.")] = 10,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option("--device", help="Where to compute.")] = "auto",
    num_processes: Annotated[
        int | None, typer.Option("--num-processes", help="Processes on this machine.", show_default=False)
    ] = None,
    scaling: Annotated[
        str, typer.Option("--scaling", metavar="N,N…", help="Measure on N processes too.", show_default=False)
    ] = "",
    oversubscribe: Annotated[
        bool, typer.Option("--oversubscribe", help="With --scaling, more processes than cores too.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE", help="Write the report: .html or .json.", show_default=False),
    ] = "",
    trace: Annotated[
        str,
        typer.Option("--trace", metavar="FILE", help="Write a torch profiler trace, .json.", show_default=False),
    ] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Measure what a step of each method costs: time, phases, memory, work, launches, communication.

    A row of --method is NAME[:SETTING…]: mlc:double_backward, mlc-d:inner_steps=2, ebomlc:train.precision=bf16. Without
    a recipe, --config or --dataset the images are random.
    """
    from ebomlc_dist.launch.environment import die_with_launcher, under_launcher

    die_with_launcher()
    from ebomlc_dist.cli.profiler.carry_out import Options, launched, measured_here
    from ebomlc_dist.cli.profiler.profiled_rows import requested_rows

    if rounds is not None and rounds < 3:
        raise InputError(f"--rounds {rounds}: give 3 or more, so that there is a spread to show")
    if seconds <= 0:
        raise InputError(f"--seconds {seconds:g}: give a time above 0")
    if at_epoch < 0:
        raise InputError(f"--at-epoch {at_epoch}: epochs count from 0")
    if num_classes < 2:
        raise InputError(f"--num-classes {num_classes}: a classifier needs 2 or more")
    if oversubscribe and not scaling:
        raise InputError("--oversubscribe: says how many processes --scaling may start; give --scaling N,N… too")
    options = Options(
        request=request,
        rows=requested_rows(request),
        rounds=rounds,
        seconds=seconds,
        at_epoch=at_epoch,
        num_classes=num_classes,
        device=device,
        scaling=scaling,
        oversubscribe=oversubscribe,
        as_json=json,
        output=_file(output, "--output", SUFFIXES),
        trace=_file(trace, "--trace", SUFFIXES[1:]),
        quiet=quiet,
    )
    if num_processes is not None and not under_launcher():
        return launched(options, num_processes, context.obj)
    return measured_here(options, context.obj)


def _file(text: str, flag: str, suffixes: tuple[str, ...]) -> Path | None:
    """Where to write. Raises `InputError` before anything is measured."""
    if not text:
        return None
    path = Path(text)
    if path.suffix not in suffixes:
        raise InputError(f"{flag} {path}: give a name that ends in {' or '.join(suffixes)}")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"{flag} {path}: is no file in a folder that exists")
    return path
