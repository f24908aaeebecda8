"""Features that somebody has already, with labels of which some may be wrong.

    ebomlc train features --features X.npy --labels y.csv --trusted verified.csv

X is (N, D), one row an input: `ebomlc_dist.data.inputs.feature_files`. Labels are names or whole numbers, one a row.
Trusted and test rows are files of their own, or rows of X that a file names (`ebomlc_dist.data.inputs.row_files`). A
file of trusted rows may say their labels; the labels they had in ``--labels`` are then their old, noisy ones.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.data.datasets import Progress
from ebomlc_dist.data.inputs.array_source import Labels, class_names_of, numbers_of
from ebomlc_dist.data.inputs.csv_table import stop_on
from ebomlc_dist.data.inputs.feature_files import FeatureFile, read_features
from ebomlc_dist.data.inputs.feature_rows import FeatureRows, checked_digest
from ebomlc_dist.data.inputs.label_check import check_labels
from ebomlc_dist.data.inputs.previews import read_previews
from ebomlc_dist.data.inputs.row_files import RowFile, check_ids, checked_labels, read_rows
from ebomlc_dist.errors import InputError

_UNKNOWN = -1
_FOR_IMAGES = {"noisy_csv": "--noisy-csv", "pack_dir": "--pack-dir", "skip_unreadable": "--skip-unreadable"}


@dataclass(frozen=True)
class _Chosen:
    """Rows of X that a file names, ascending.

    Attributes:
        rows: (m,) int64.
        labels: beside them, where the file says some.
        path: the file, for messages.
    """

    rows: NDArray[np.int64]
    labels: Labels | None
    path: Path


@dataclass(frozen=True)
class _Further:
    """A part with files of its own: every row has a label and an id."""

    rows: FeatureRows
    labels: Labels
    ids: list[str]
    path: Path


def load(config: DataConfig, progress: Progress | None = None, model: str | None = None) -> Source:
    """Read the files of ``config``. Raises `InputError` for anything that is missing or does not fit, by row."""
    _check_asked(config)
    assert config.features is not None
    train = read_features(config.features)
    given = _labels(config, train)
    own = None if train.ids is None else [str(name) for name in train.ids.tolist()]
    previews, listed_ids = (None, None) if config.inputs_csv is None else read_previews(config.inputs_csv, own)
    named = own or listed_ids
    ids = named or given.ids or [str(row) for row in range(len(train.rows))]
    if len(ids) != len(train.rows):
        path = config.inputs_csv if named else given.path
        raise InputError(f"{path} has {len(ids)} rows and {train.path} has {len(train.rows)}; give one row for each")
    check_ids(ids, str(train.path if own else config.inputs_csv if named else given.path))
    if previews is not None and len(previews) != len(ids):
        raise InputError(
            f"{config.inputs_csv} has {len(previews)} rows and {train.path} has {len(ids)}; give one for each"
        )
    places = given.places(ids, named is not None)
    trusted, test = (_chosen(path, ids) for path in (config.clean_csv, config.test_csv))
    more = _further(config.trusted_features, config.trusted_labels, train, "trusted")
    held_out = _further(config.test_features, config.test_labels, train, "test")

    numbering = _Numbering([given.labels, *(part.labels for part in (trusted, more) if part is not None)])
    old = np.full(len(ids), _UNKNOWN)
    old[places] = numbering.of(given.labels, given.path)
    labels = old.copy()
    for part in (trusted, test):
        if part is not None and part.labels is not None:
            labels[part.rows] = numbering.of(part.labels, part.path)
    stop_on([f"{given.path}: row {row} ({ids[row]}) has no label" for row in np.flatnonzero(labels < 0).tolist()])

    # Numbers of rows run over X and, after it, over the trusted part's own file.
    digests = [checked_digest(train.rows, str(train.path), ids)]
    parts, kept, test_rows = train.rows.parts, np.arange(len(ids)), np.zeros(0, np.int64)
    if test is not None:
        both = [] if trusted is None else np.intersect1d(test.rows, trusted.rows).tolist()
        stop_on([f"{test.path}: row {row} ({ids[row]}) is trusted too" for row in both])
        test_rows, kept = test.rows, np.setdiff1d(kept, test.rows)
    clean = None if trusted is None else trusted.rows
    if more is not None:
        digests.append(checked_digest(more.rows, str(more.path)))
        clean = np.arange(len(ids), len(ids) + len(more.ids))
        parts, kept, ids = parts + more.rows.parts, np.concatenate([kept, clean]), ids + more.ids
        check_ids(ids, f"{train.path} and {more.path}")
        labels = np.concatenate([labels, numbering.of(more.labels, more.path)])
    whole = len(kept) == len(ids)
    test_inputs, test_labels = train.rows.take(test_rows), labels[test_rows]
    test_digest = _combined(digests, test_rows)
    if held_out is not None:
        test_inputs, test_labels = held_out.rows, numbering.of(held_out.labels, held_out.path)
        test_digest = checked_digest(test_inputs, str(held_out.path))
    counts = np.bincount(labels[kept], minlength=len(numbering.names)).tolist()
    return Source(
        images=FeatureRows(parts, None if whole else kept),
        labels=torch.from_numpy(labels[kept]),
        ids=ids if whole else [ids[row] for row in kept.tolist()],
        test_images=test_inputs,
        test_labels=torch.from_numpy(test_labels),
        class_names=numbering.names,
        trusted=None if clean is None or not len(clean) else torch.from_numpy(np.searchsorted(kept, clean)),
        trusted_old_labels=_old_labels(old, trusted),
        labels_are_true=False,
        image_digests=(_combined(digests, kept), test_digest),
        remarks=tuple(check_labels(numbering.names, counts, given.path)),
        previews=None if previews is None else previews.of(kept),
        standardise=config.standardise,
    )


def _check_asked(config: DataConfig) -> None:
    if config.features is None:
        raise InputError("--dataset features needs --features FILE: (N, D) as .npy, .npz, .safetensors or .parquet")
    for key, flag in _FOR_IMAGES.items():
        if getattr(config, key) not in (None, False):
            raise InputError(f"{flag} is for images, and these data are features; leave it out")
    parts = (
        ("trusted", config.trusted_features, config.trusted_labels, config.clean_csv, "--trusted"),
        ("test", config.test_features, config.test_labels, config.test_csv, "--test-csv"),
    )
    for part, features, labels, rows, flag in parts:
        if labels is not None and features is None:
            raise InputError(f"--{part}-labels goes with --{part}-features; give that file too, or {flag}")
        if features is not None and rows is not None:
            raise InputError(f"--{part}-features and {flag} exclude each other; give the {part} rows in one way")


def _labels(config: DataConfig, train: FeatureFile) -> RowFile:
    if config.labels is not None:
        return read_rows(config.labels, labelled=True)
    if train.labels is None:
        raise InputError(f"{train.path} holds no labels; give them with --labels FILE (.npy, .csv or .parquet)")
    return RowFile(train.path, labels=checked_labels(train.labels, str(train.path)))


def _chosen(path: Path | None, ids: Sequence[str]) -> _Chosen | None:
    """The rows of X that a file names."""
    if path is None:
        return None
    found = read_rows(path, labelled=False)
    if found.ids is None and found.chosen is None:
        raise InputError(f"{path} does not say which rows it is of; add a column id")
    rows = found.places(ids, named=True)
    order = np.argsort(rows)
    return _Chosen(rows[order], None if found.labels is None else found.labels[order], path)


def _further(features: Path | None, labels: Path | None, train: FeatureFile, part: str) -> _Further | None:
    """A part with files of its own."""
    if features is None:
        return None
    found = read_features(features)
    number, width = found.rows.shape
    if width != train.rows.shape[1]:
        raise InputError(
            f"{features} has {width} features a row and {train.path} has {train.rows.shape[1]}; both must come from "
            "one and the same network"
        )
    given = RowFile(features, labels=checked_labels(found.labels, str(features)))
    if labels is not None:
        given = read_rows(labels, labelled=True)
    if given.labels is None:
        raise InputError(f"{features} holds no labels; give them with --{part}-labels FILE")
    own = None if found.ids is None else [str(name) for name in found.ids.tolist()]
    ids = own or given.ids or [f"{part}/{row}" for row in range(number)]
    check_ids(ids, str(features if own else given.path))
    places = given.places(ids if len(ids) == number else [""] * number, named=own is not None)
    if len(places) != number:
        raise InputError(f"{given.path} has labels of {len(places)} of the {number} rows of {features}; give all")
    return _Further(found.rows, given.labels[np.argsort(places)], ids, features)


class _Numbering:
    """Labels of several files as numbers of one set of classes.

    Attributes:
        names: K names, in label order.
    """

    def __init__(self, parts: Sequence[Labels | None]) -> None:
        found = [part for part in parts if part is not None]
        self._texts = any(part.dtype.kind == "U" for part in found)
        self.names = class_names_of(np.concatenate([part.astype(str) if self._texts else part for part in found]))

    def of(self, labels: Labels | None, path: Path) -> NDArray[np.int64]:
        """(m,) below K. Raises `InputError` for a label that is no class."""
        assert labels is not None
        return numbers_of(labels.astype(str) if self._texts else labels, self.names, str(path), named=True)


def _old_labels(old: NDArray[np.int64], trusted: _Chosen | None) -> torch.Tensor | None:
    """Return the labels that trusted rows had, where their file says their right ones; None where nothing is known."""
    if trusted is None or trusted.labels is None or (old[trusted.rows] < 0).all():
        return None
    return torch.from_numpy(old[trusted.rows])


def _combined(digests: Sequence[str], rows: NDArray[np.int64]) -> str:
    """Return sha256 (hex) of some rows of files with these digests."""
    digest = hashlib.sha256("".join(digests).encode())
    digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()
