"""Human label noise: labels that people gave, such as CIFAR-10N and CIFAR-100N (Wei et al. 2022).

Read from a CSV file with a header, or from numpy's ``.npz`` and ``.npy``, never from a pickle. The labels run over the
whole training set in its original order; a column ``original_index`` (or, for images in folders, ``path``) may say so
row by row (of features a column ``id``), and a column ``clean_label`` is held against the labels of the data set.
"""

import io
import shlex
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.config import NoiseConfig
from ebomlc_dist.data.dataset import Source, are_features
from ebomlc_dist.data.inputs.class_names import Classes, composed
from ebomlc_dist.data.inputs.csv_table import MAX_BYTES, Table, stop_on
from ebomlc_dist.data.inputs.label_files import read_table
from ebomlc_dist.data.inputs.safe_paths import shown
from ebomlc_dist.errors import InputError, nearest
from ebomlc_dist.files.reading import read_bytes

CLEAN_COLUMN = "clean_label"
_FEWEST = 20
"""With fewer images chance is not told from people."""
_LEAST_KAPPA, _ERRORS = 0.02, 2.0


def human_labels(source: Source, noise: NoiseConfig) -> Tensor:
    """(N,) int64 labels of ``noise.human_file`` for each training image, trusted ones keep their own.

    Raises:
        InputError: no file, an unknown column, a pickle, rows that do not fit the data set, labels out of range.
    """
    path = noise.human_file
    if path is None:
        raise InputError("human noise needs a file of labels; give --set noise.human_file=FILE (CSV, .npz or .npy)")
    if path.suffix == ".csv":
        labels, clean = _from_csv(path, noise.human_column, source)
    elif path.suffix in (".npz", ".npy"):
        labels, clean = _from_arrays(path, noise.human_column, source)
    else:
        raise InputError(
            f"{path} is not read: labels come as .csv, .npz or .npy; other files may be pickles, which run code when "
            f"they are opened; where you trust it: {_conversion(path)}"
        )
    if clean is not None and bool((clean != source.labels).any()):
        row = int((clean != source.labels).nonzero()[0])
        raise InputError(
            f"{path} says that image {source.ids[row]} is of class {int(clean[row])}, the data set says "
            f"{int(source.labels[row])}: the file belongs to other data, or its order differs"
        )
    _check_agreement(path, labels, source)
    return labels


def _check_agreement(path: Path, labels: Tensor, source: Source) -> None:
    """Raise `InputError` where the labels agree with the data's no better than labels of other images would.

    With n images, ``a`` the share that agrees and ``e`` = Σₖ p(k) q(k) the share that would by chance, Cohen's kappa is
    κ = (a − e) / (1 − e), and its standard error by chance is √(e / (n (1 − e))). People are far above both bounds.
    """
    own = torch.ones(len(labels), dtype=torch.bool)
    if source.trusted is not None:
        own[source.trusted] = False
    given, true = labels[own], source.labels[own]
    number, size = len(given), len(source.class_names)
    if number < _FEWEST:
        return
    used = given.bincount(minlength=size)
    chance = float((used.double() @ true.bincount(minlength=size).double()) / number**2)
    agreed = float((given == true).double().mean())
    if chance >= 1 or (agreed - chance) / (1 - chance) > max(
        _LEAST_KAPPA, _ERRORS * (chance / number / (1 - chance)) ** 0.5
    ):
        return
    unused = "" if bool((used > 0).all()) else f" It uses {int((used > 0).sum())} of {size} classes."
    raise InputError(
        f"{path} agrees with the labels of the data on {100 * agreed:.2f} % of {number} images, and by chance it would "
        f"on {100 * chance:.2f} %: its rows are in another order, its numbers count other classes, or "
        f"noise.human_column names the wrong column.{unused} Bring it into the order of the data set"
    )


def _from_csv(path: Path, column: str | None, source: Source) -> tuple[Tensor, Tensor | None]:
    table = read_table(path)
    column = _chosen(path, column, table.columns)
    rows = _rows_of_images(table, source)
    labels = _in_image_order(table, table.column(column), rows, source)
    if table.first_of(CLEAN_COLUMN) is None:
        return labels, None
    return labels, _in_image_order(table, table.column(CLEAN_COLUMN), rows, source)


def _from_arrays(path: Path, column: str | None, source: Source) -> tuple[Tensor, Tensor | None]:
    content = read_bytes(path, MAX_BYTES)
    try:
        if path.suffix == ".npz":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if sum(part.file_size for part in archive.infolist()) > MAX_BYTES:
                    raise InputError(f"{path} unpacks to more than {MAX_BYTES} bytes")
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                column = _chosen(path, column, list(arrays.files))
                found = arrays[column]
                clean = arrays[CLEAN_COLUMN] if CLEAN_COLUMN in arrays.files else None
        else:
            found, clean = np.load(io.BytesIO(content), allow_pickle=False), None
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} is damaged or holds pickled objects, which are not read ({error}); where you trust it: "
            f"{_conversion(path)}"
        ) from None
    return _checked(path, found, source), None if clean is None else _checked(path, clean, source)


def _chosen(path: Path, column: str | None, columns: list[str]) -> str:
    if column in columns:
        return str(column)
    wrong = "no column is chosen" if column is None else f"there is no column '{column}'{nearest(column, columns)}"
    raise InputError(f"{path}: {wrong}; give --set noise.human_column=NAME, one of {shown(', '.join(columns))}")


def _rows_of_images(table: Table, source: Source) -> list[int]:
    """For each row of the table, the image it speaks of."""
    numbered = source.ids[:1] == ["train/0"]
    key = "original_index" if numbered else table.first_of("path", "file_name")
    if are_features(source.images):
        key = table.first_of("id", "ids")
        if key is None:
            return list(range(len(table.rows)))
    if key is None:
        raise InputError(f"{table.path} has no column path; images in folders are found by their path")
    if key not in table.columns:
        return list(range(len(table.rows)))
    if numbered:
        image_of = {str(index): index for index in range(len(source.ids))}
    else:
        image_of = {composed(name): index for index, name in enumerate(source.ids)}
        aliases = {composed(alias): composed(name) for alias, name in source.aliases.items()}
        image_of |= {alias: image_of[name] for alias, name in aliases.items() if name in image_of}
    return [image_of.get(composed(cell.strip()), -1) for cell in table.column(key)]


def _in_image_order(table: Table, cells: list[str], rows: list[int], source: Source) -> Tensor:
    classes = Classes(source.class_names)
    trusted = set() if source.trusted is None else set(source.trusted.tolist())
    labels = source.labels.new_full((len(source.labels),), -1)
    bad: list[str] = []
    for row, (image, cell) in enumerate(zip(rows, cells, strict=True)):
        label = classes.label(cell)
        if not 0 <= image < len(labels):
            bad.append(f"{table.where(row)} speaks of an image that the training set does not have")
        elif image in trusted:
            pass  # it keeps its own, and may be named by a copy as well
        elif labels[image] >= 0:
            bad.append(f"{table.where(row)} speaks of image {shown(source.ids[image])} again")
        elif label is None:
            bad.append(f"{table.where(row)}: label {shown(cell)} is neither a class nor in {classes.numbers}")
        else:
            labels[image] = label
    stop_on(bad)
    if source.trusted is not None:
        labels[source.trusted] = source.labels[source.trusted]
    if bool((labels < 0).any()):
        missing = (labels < 0).nonzero().flatten()
        raise InputError(
            f"{table.path} has no label for {len(missing)} of {len(labels)} images, the first is "
            f"{shown(source.ids[int(missing[0])])}; human labels must cover the whole training set"
        )
    return labels


def _checked(path: Path, found: NDArray[np.generic], source: Source) -> Tensor:
    classes = Classes(source.class_names)
    if found.shape != tuple(source.labels.shape) or found.dtype.kind not in "iu":
        raise InputError(
            f"{path} holds {found.dtype} numbers of shape {found.shape}; whole numbers of shape "
            f"({len(source.labels)},) are needed, one for each training image in the original order"
        )
    values, places = np.unique(found, return_inverse=True)
    labels = [classes.of_number(int(value)) for value in values]
    if None in labels:
        raise InputError(
            f"{path} holds labels {values[0]}…{values[-1]}; {classes.numbers} are allowed"
            + ("" if classes.counts else ", and these classes have names with and without numbers: give a CSV of names")
        )
    return torch.from_numpy(np.array(labels, dtype=np.int64)[places.reshape(found.shape)])


def _conversion(path: Path) -> str:
    """Return a command that turns a file into one that is read: a dictionary as it is, anything else as ``labels``."""
    name = repr(str(path))
    load = {
        ".json": f"import json, numpy; found = json.load(open({name}))",
        # A dictionary in a .npy file is an array of one object, without dimensions.
        ".npy": f"import numpy; found = numpy.load({name}, allow_pickle=True); found = found[()]",
        ".npz": f"import numpy; found = dict(numpy.load({name}, allow_pickle=True))",
        ".pkl": f"import numpy, pickle; found = pickle.load(open({name}, 'rb'))",
    }
    given = load.get(path.suffix, f"import numpy, torch; found = torch.load({name}, weights_only=False)")
    arrays = "(found if isinstance(found, dict) else {'labels': found}).items()"
    save = f"numpy.savez('human.npz', **{{k: numpy.array(v).astype('int64') for k, v in {arrays}}})"
    return f"python -c {shlex.quote(f'{given}; {save}')}"
