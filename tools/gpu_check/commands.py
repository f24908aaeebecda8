"""The three commands: run the check, and make the two folders that it is carried with."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ebomlc_dist.cli import make_app
from ebomlc_dist.errors import InputError

app = make_app()


@app.command("run")
def check(
    output: Annotated[str, typer.Option("--output", "-o", metavar="FILE", help="The result, .json; goes on with it.")],
    data_dir: Annotated[
        str, typer.Option("--data-dir", metavar="DIR", help="CIFAR-10; digits without it.", show_default=False)
    ] = "",
    parts: Annotated[
        str, typer.Option("--parts", metavar="NAME[,NAME…]", help="Only these, from the start.", show_default=False)
    ] = "",
    seconds: Annotated[float, typer.Option("--seconds", help="To end within.")] = 530.0,
    device: Annotated[Literal["cuda", "cpu"], typer.Option("--device", help="cpu only rehearses.")] = "cuda",
) -> int:
    """Run what only a GPU can show: steps, kernels, tests, whole runs. Writes FILE.json and FILE.html."""
    import torch

    from tools.gpu_check.parts import PARTS
    from tools.gpu_check.place import Place
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


@app.command("data")
def data(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="To be made.")],
    data_dir: Annotated[str, typer.Option("--data-dir", metavar="DIR", help="Folder of CIFAR-10.")] = "data",
) -> int:
    """Write all of CIFAR-10 into a folder of at most 40 MB, as JPEG: close to the official images, not the same."""
    from tools.gpu_check.carried import write_images

    size = write_images(Path(data_dir), Path(folder))
    print(f"{folder}: {size / 1e6:.1f} MB")
    return 0


@app.command("wheels")
def wheels(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="To be made, for PYTHONPATH.")],
    python: Annotated[str, typer.Option("--python", metavar="VERSION", help="That it is for.")] = "3.12",
) -> int:
    """Put pydantic, pytest and hypothesis into a folder, for a machine without them and without a network."""
    from tools.gpu_check.carried import fetch_wheels

    print(f"{folder}: {', '.join(fetch_wheels(Path(folder), python))}")
    return 0
