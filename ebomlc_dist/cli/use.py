"""Commands that use a trained run: ``evaluate`` and ``predict``."""

import csv
import io
import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ebomlc_dist.cli.output import print_json, print_table
from ebomlc_dist.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

_RUN = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a finished run.", show_default=False)]
_TOP_K = "Also the K most likely classes: top1_label, top1_probability, top2_label, …"
_PROBABILITIES = "Also the probability of every class: probability_<class>."


def evaluate(run: _RUN, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> int:
    """Evaluate a run's model on the run's test images."""
    from ebomlc_dist.api import load

    figures = load(run).evaluate()
    if json:
        print_json(figures)
        return 0
    classes = figures.pop("classes")
    print_table(["figure", "value"], [[name, _figure(value)] for name, value in figures.items()])
    print()
    rows = [[name, _figure(own["accuracy"]), str(own["num_test"])] for name, own in classes.items()]
    print_table(["class", "accuracy %", "test images"], rows)
    return 0


def predict(
    run: _RUN,
    images: Annotated[
        Path | None, typer.Option("--images", metavar="DIR", help="Folder of images, at any depth.", show_default=False)
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", metavar="FILE", help="Of a run on features: a file of the same width.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "--output-dir", "-o", metavar="FILE", help="CSV file to write.")
    ] = Path("predictions.csv"),
    top_k: Annotated[int, typer.Option("--top-k", metavar="K", min=0, help=_TOP_K)] = 0,
    probabilities: Annotated[bool, typer.Option("--probabilities", help=_PROBABILITIES)] = False,
) -> int:
    """Write the predicted class of every image in a folder, or row of features: path, predicted_label, confidence.

    Images that cannot be read are listed and left out. Rows of features have a column id in place of the path.
    """
    from ebomlc_dist.api import load
    from ebomlc_dist.data.inputs.safe_paths import listed, shown
    from ebomlc_dist.files.named import check_named, is_replaced, write_named

    if (images is None) == (features is None):
        raise InputError("`ebomlc predict` needs --images DIR, or --features FILE for a run on features")
    if features is not None:
        return _predict_rows(run, features, output, top_k, probabilities)
    assert images is not None
    names = _image_names(images)
    _check_links(images, names)
    check_named(output, "--output")
    trained = load(run)
    if trained.on_features:
        raise InputError(f"the run in {run} was trained on features; give --features FILE in place of --images")
    table = _Table(trained.class_names, top_k, probabilities)
    failures: list[str] = []

    def lines() -> Iterator[bytes]:
        yield table.line(table.columns)
        found = trained.classify([images / name for name in names])
        for number, (name, row) in enumerate(zip(names, found, strict=True), start=1):
            if not isinstance(row, str):
                yield table.line(table.cells(name, row))
                continue
            failures.append(f"{shown(name)} {row}")
            if number == len(failures) == len(names):
                raise InputError(f"none of {len(names)} images can be read: {listed(failures)}")

    write_named(output, lines())
    if failures:
        counts = (len(failures), len(names))
        log.warning("%d of %d images cannot be read and are skipped: %s", *counts, listed(failures))
    # What is no file may be where this line would go to as well.
    told = sys.stdout if is_replaced(output) else sys.stderr
    print(f"{len(names) - len(failures)} predictions: {output}", file=told)
    return 0


def _predict_rows(run: Path, features: Path, output: Path, top_k: int, probabilities: bool) -> int:
    """`predict` for a run on features."""
    from ebomlc_dist.api import load
    from ebomlc_dist.data.inputs.feature_files import read_features
    from ebomlc_dist.data.inputs.feature_rows import checked_digest
    from ebomlc_dist.files.named import check_named, is_replaced, write_named

    check_named(output, "--output")
    trained = load(run)
    if not trained.on_features:
        raise InputError(f"the run in {run} was trained on images; give --images DIR in place of --features")
    found = read_features(features)
    names = [str(name) for name in (range(len(found.rows)) if found.ids is None else found.ids.tolist())]
    checked_digest(found.rows, str(features), names)
    table = _Table(trained.class_names, top_k, probabilities)

    def lines() -> Iterator[bytes]:
        yield table.line(["id", *table.columns[1:]])
        for name, row in zip(names, trained.probabilities(found.rows), strict=True):
            yield table.line(table.cells(name, row))

    write_named(output, lines())
    print(f"{len(names)} predictions: {output}", file=sys.stdout if is_replaced(output) else sys.stderr)
    return 0


class _Table:
    """The rows of ``predict``.

    Args:
        class_names: K names.
        top_k: so many of the most likely classes have columns of their own; K where there are fewer.
        probabilities: whether every class has one.

    Attributes:
        columns: the header.
    """

    def __init__(self, class_names: Sequence[str], top_k: int, probabilities: bool) -> None:
        self._names = class_names
        self._top_k = min(top_k, len(class_names))
        self._all = probabilities
        tops = [f"top{place}_{what}" for place in range(1, self._top_k + 1) for what in ("label", "probability")]
        every = [f"probability_{name}" for name in class_names] if probabilities else []
        self.columns = ["path", "predicted_label", "confidence", *tops, *every]

    def cells(self, name: str, row: "NDArray[np.float32]") -> list[str]:
        """The row of an image with (K,) probabilities."""
        order = (-row).argsort(kind="stable")
        best = [(self._names[label], f"{row[label]:.6f}") for label in order[: max(1, self._top_k)]]
        tops = [cell for pair in best[: self._top_k] for cell in pair]
        return [name, *best[0], *tops, *([f"{value:.6f}" for value in row] if self._all else [])]

    @staticmethod
    def line(cells: Iterable[Any]) -> bytes:
        """A line of the file; names that are no UTF-8 keep their bytes."""
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue().encode("utf-8", "surrogateescape")


def _image_names(folder: Path) -> list[str]:
    """Images below a folder by their suffix, sorted, relative to it. Hidden ones and linked folders are passed over.

    Raises:
        InputError: no folder, one that cannot be read, or no images.
    """
    from ebomlc_dist.data.inputs.decode import COMMON_FORMATS
    from ebomlc_dist.data.inputs.tree import find_images, is_folder

    if not is_folder(folder):
        raise InputError(f"--images {folder} is not a folder")
    found = find_images(folder, folder)
    for line in found.passed_over():
        log.warning("%s", line)
    if not found.images:
        raise InputError(f"--images {folder} holds no images: no file has an image extension ({COMMON_FORMATS})")
    return found.images


def _check_links(folder: Path, names: list[str]) -> None:
    """Raise `InputError` listing links that leave ``folder``. One within it is the image that it points to."""
    from ebomlc_dist.data.inputs.safe_paths import LeavingPathError, RefusedPathError, listed, resolve_under, shown

    root, leaving = folder.resolve(), []
    for name in names:
        try:
            resolve_under(root, name)
        except LeavingPathError as error:
            leaving.append(f"{shown(name)} {error}")
        except RefusedPathError:
            continue  # It is left out, as whatever else cannot be read.
    if leaving:
        raise InputError(f"{len(leaving)} of {len(names)} images are not in --images {folder}: {listed(leaving)}")


def _figure(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
