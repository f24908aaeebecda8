"""Features out of files: every format gives the same rows, mapped where it can be, and nothing is executed."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.numpy import save_file

from ebomlc_dist.data.inputs.feature_files import read_features
from ebomlc_dist.data.inputs.feature_rows import FeatureRows, checked_digest
from ebomlc_dist.errors import InputError

ROWS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
IDS, LABELS = [f"item {row}" for row in range(7)], np.arange(7) % 3


def as_npy(path: Path) -> None:
    np.save(path, ROWS)


def as_npz(path: Path) -> None:
    np.savez(path, features=ROWS, ids=IDS, labels=LABELS)


def as_compressed(path: Path) -> None:
    np.savez_compressed(path, features=ROWS, ids=IDS, labels=LABELS)


def as_safetensors(path: Path) -> None:
    save_file({"embeddings": ROWS, "labels": LABELS}, path)


def as_lists(path: Path) -> None:
    parquet.write_table(pa.table({"id": IDS, "label": LABELS, "embedding": list(ROWS)}), path, row_group_size=2)


def as_columns(path: Path) -> None:
    columns = {f"f{place}": ROWS[:, place] for place in range(3)}
    parquet.write_table(pa.table({"id": IDS, **columns, "label": LABELS}), path, row_group_size=2)


FORMATS: dict[str, tuple[Any, str, bool]] = {
    "npy": (as_npy, "x.npy", True),
    "npz": (as_npz, "x.npz", True),
    "compressed npz": (as_compressed, "x.npz", False),
    "safetensors": (as_safetensors, "x.safetensors", True),
    "parquet of lists": (as_lists, "x.parquet", False),
    "parquet of columns": (as_columns, "x.parquet", False),
}


@pytest.mark.parametrize(("write", "name", "mapped"), FORMATS.values(), ids=FORMATS)
def test_every_format_gives_the_same_rows(write: Any, name: str, mapped: bool, tmp_path: Path) -> None:
    write(tmp_path / name)
    found = read_features(tmp_path / name)
    assert found.rows.mapped == mapped
    assert found.rows.shape == (7, 3)
    assert torch.equal(found.rows[torch.tensor([4, 0, 4])], torch.from_numpy(ROWS[[4, 0, 4]]))
    if write not in (as_npy, as_safetensors):
        assert found.ids is not None
        assert found.ids.tolist() == IDS
    if write is not as_npy:
        assert found.labels is not None
        assert found.labels.tolist() == LABELS.tolist()
    assert checked_digest(found.rows, name) == checked_digest(FeatureRows((ROWS,)), "memory")


@pytest.mark.parametrize(
    ("given", "kept"), [("float16", torch.float16), ("float64", torch.float32), ("int32", torch.float32)]
)
def test_numbers_of_other_widths_become_float32(given: str, kept: torch.dtype, tmp_path: Path) -> None:
    values = (100 * ROWS).astype(given)
    np.save(tmp_path / "x.npy", values)
    found = read_features(tmp_path / "x.npy").rows[torch.arange(7)]
    assert found.dtype == kept
    np.testing.assert_array_equal(found.numpy(), values.astype(np.float32 if kept == torch.float32 else np.float16))


def test_parts_and_choices_are_one_set_of_rows() -> None:
    both = FeatureRows((ROWS, ROWS[:2] + 1))
    assert both.shape == (9, 3)
    assert torch.equal(both[torch.tensor([8, 0, 7])], torch.from_numpy(np.stack([ROWS[1] + 1, ROWS[0], ROWS[0] + 1])))
    some = both.take(np.array([8, 2, 3])).take(np.array([2, 0]))
    assert torch.equal(some.whole(), torch.from_numpy(np.stack([ROWS[3], ROWS[1] + 1])))
    assert checked_digest(some, "x") != checked_digest(both.take(np.array([8, 3])), "x")


class Ran:
    """Leaves a file behind where a pickle of it is opened."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt", "x.pkl", "bare.npy"])
def test_nothing_is_executed(name: str, tmp_path: Path) -> None:
    left, path = tmp_path / "left", tmp_path / name
    objects = np.array([[Ran(left)]], dtype=object)
    if name == "x.npy":
        np.save(path, objects, allow_pickle=True)
    elif name == "x.npz":
        np.savez(path, features=objects)
    else:
        path.write_bytes(pickle.dumps(Ran(left)))
    with pytest.raises(InputError, match="pickle"):
        read_features(path)
    assert not left.exists()


def damaged(path: Path, cut: int = 5) -> None:
    path.write_bytes(path.read_bytes()[:-cut])


def lying_entry(path: Path) -> None:
    """An archive whose array says that it has more rows than it holds."""
    with zipfile.ZipFile(path, "w") as archive, archive.open("features.npy", "w") as part:
        np.lib.format.write_array_header_1_0(part, {"descr": "<f4", "fortran_order": False, "shape": (1000, 3)})
        part.write(ROWS.tobytes())


REFUSED: dict[str, tuple[str, Any, str]] = {
    "one axis": ("x.npy", lambda path: np.save(path, ROWS[:, 0]), r"shape \(7,\); features are \(N, D\)"),
    "three": ("x.npy", lambda path: np.save(path, ROWS[None]), r"shape \(1, 7, 3\)"),
    "texts": ("x.npy", lambda path: np.save(path, np.array([["a"]])), "features are numbers"),
    "several arrays": ("x.npz", lambda path: np.savez(path, a=ROWS, b=ROWS), "'a' .7, 3.; 'b' .7, 3.; give one array"),
    "too few ids": ("x.npz", lambda path: np.savez(path, features=ROWS, ids=IDS[:6]), "7 rows of features.*ids.*6"),
    "a short archive": ("x.npz", lying_entry, "another length than its header"),
    "a cut file": ("x.npy", lambda path: (as_npy(path), damaged(path)), "damaged or of another format"),
    "a cut safetensors": (
        "x.safetensors",
        lambda path: (as_safetensors(path), damaged(path)),
        "ends before",
    ),
    "no safetensors": ("x.safetensors", lambda path: path.write_bytes(b"\xff" * 40), "no safetensors header"),
    "no parquet": ("x.parquet", lambda path: path.write_bytes(b"PAR1 and no more"), "damaged or of another format"),
    "ragged lists": (
        "x.parquet",
        lambda path: parquet.write_table(pa.table({"x": [[1.0, 2.0], [3.0], [4.0, 5.0, 6.0]]}), path),
        "different numbers of features",
    ),
    "a missing list": (
        "x.parquet",
        lambda path: parquet.write_table(pa.table({"x": [[1.0, 2.0], None]}), path),
        "a row has no features",
    ),
    "nothing": ("x.npy", lambda path: None, "does not exist"),
    "a folder": ("x.npy", Path.mkdir, "is not a regular file"),
    "a CSV": ("x.csv", lambda path: path.write_text("1,2"), "is not read: give .npy"),
}


@pytest.mark.parametrize(("name", "write", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_file_of_features_is_refused(name: str, write: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(InputError, match=message) as caught:
        read_features(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_all_told_of(bad: float) -> None:
    rows = ROWS.copy()
    rows[2, 1] = rows[5, 0] = bad
    with pytest.raises(InputError, match=r"2 bad rows: x.npy, row 2 .*; x.npy, row 5 \(item 5\)"):
        checked_digest(FeatureRows((rows,)), "x.npy", ["0", "1", "2", "3", "4", "item 5", "6"])


def test_a_number_beyond_float32_is_not_finite() -> None:
    with pytest.raises(InputError, match="x, row 1 holds"):
        checked_digest(FeatureRows((np.array([[1.0], [1e300]]),)), "x")
