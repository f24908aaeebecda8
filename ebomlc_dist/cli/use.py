"""Commands that use a trained run: ``evaluate`` and ``predict``."""

import csv
import io
import logging
from pathlib import Path
from typing import Annotated

import typer

from ebomlc_dist.cli.output import print_json, print_table
from ebomlc_dist.errors import InputError

log = logging.getLogger(__name__)

_RUN = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.", show_default=False)]


def evaluate(run: _RUN, json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> int:
    """Evaluate a run's model on the run's test images."""
    from ebomlc_dist.api import load

    figures = load(run).evaluate()
    if json:
        print_json(figures)
    else:
        print_table(["figure", "value"], [[name, _figure(value)] for name, value in figures.items()])
    return 0


def predict(
    run: _RUN,
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Images, at any depth.", show_default=False)],
    output: Annotated[
        Path, typer.Option("--output", "--output-dir", "-o", metavar="FILE", help="CSV file to write.")
    ] = Path("predictions.csv"),
) -> int:
    """Write the predicted class of every image in a folder: path, predicted_label, confidence."""
    from ebomlc_dist.api import load
    from ebomlc_dist.files.durable import write_bytes

    names = _image_names(images)
    if not output.parent.is_dir() or output.is_dir():
        raise InputError(f"--output {output} cannot be a file there; give a file name in a folder that exists")
    predictions = load(run).predict(_files(images, names))
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["path", "predicted_label", "confidence"])
    for name, prediction in zip(names, predictions, strict=True):
        writer.writerow([name, prediction.label, f"{prediction.confidence:.6f}"])
    write_bytes(output, table.getvalue().encode("utf-8", "surrogateescape"))
    print(f"{len(names)} predictions: {output}")
    return 0


def _image_names(folder: Path) -> list[str]:
    """Images below a folder by their suffix, sorted, relative to it. Hidden ones and linked folders are passed over.

    Raises:
        InputError: no folder, one that cannot be read, links that leave it, or no images.
    """
    from ebomlc_dist.data.image_file import COMMON_FORMATS
    from ebomlc_dist.data.tree import find_images, is_folder

    if not is_folder(folder):
        raise InputError(f"--images {folder} is not a folder")
    found = find_images(folder, folder)
    for line in found.passed_over():
        log.warning("%s", line)
    if not found.images:
        raise InputError(f"--images {folder} holds no images by their names ({COMMON_FORMATS})")
    return found.images


def _files(folder: Path, names: list[str]) -> list[Path]:
    """The real paths of images below ``folder``. Raises `InputError` listing links that leave it, and what is no file.

    A link within the folder is the image that it points to.
    """
    from ebomlc_dist.data.paths import RefusedPathError, listed, resolve_under, shown

    root, paths, refused = folder.resolve(), [], []
    for name in names:
        try:
            paths.append(resolve_under(root, name))
        except RefusedPathError as error:
            refused.append(f"{shown(name)} {error}")
    if refused:
        raise InputError(f"{len(refused)} of {len(names)} images cannot be read: {listed(refused)}")
    return paths


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
