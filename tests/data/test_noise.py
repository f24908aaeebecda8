"""Noise of a run: every kind from its configuration, human labels from files, and what is refused."""

import json
import pickle
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from ebomlc_dist.config import NoiseConfig, SeedConfig
from ebomlc_dist.data.dataset import Source
from ebomlc_dist.data.human import human_labels
from ebomlc_dist.data.noise import draw_noise
from ebomlc_dist.data.seeds import seed_sequence
from ebomlc_dist.errors import InputError
from tests.data.support import make_source, write_lines


def draw(source: Source, seed: int = 0, **noise: Any) -> tuple[torch.Tensor, float | None]:
    return draw_noise(source, NoiseConfig.model_validate(noise), seed_sequence(SeedConfig(seed=seed), "noise"))


def refused(source: Source, **noise: Any) -> str:
    with pytest.raises(InputError) as caught:
        draw(source, **noise)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("noise", "nominal", "wrong"),
    [
        ({"kind": "uniform", "rate": 0.4}, 0.4, 0.4),
        ({"kind": "uniform", "rate": 0.4, "uniform_over": "any"}, 0.4, 0.3),
        ({"kind": "flip", "rate": 0.4}, 0.4, 0.4),
        ({"kind": "uniform", "rate": 0.0}, 0.0, 0.0),
        ({"kind": "flip", "rate": 1.0}, 1.0, 1.0),
    ],
)
def test_kinds(noise: dict[str, Any], nominal: float, wrong: float) -> None:
    source = make_source(per_class=500)
    labels, rate = draw(source, **noise)
    assert rate == nominal
    count = int((labels != source.labels).sum())
    assert binom.ppf(5e-10, 2000, wrong) <= count <= binom.ppf(1 - 5e-10, 2000, wrong)
    assert torch.equal(labels, draw(source, **noise)[0])
    assert (not torch.equal(labels, draw(source, seed=1, **noise)[0])) == (wrong > 0)


def test_none() -> None:
    source = make_source()
    assert draw(source) == (source.labels, 0.0)
    assert draw(make_source(labels_are_true=False))[1] is None


def test_flip_pairs_are_the_same_at_every_rate() -> None:
    source = make_source(per_class=100)
    low, high = (draw(source, kind="flip", rate=rate)[0] for rate in (0.3, 0.9))
    for label in range(4):
        targets = {int(x) for labels in (low, high) for x in labels[source.labels == label].unique()} - {label}
        assert len(targets) == 1


def test_matrix(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "t.csv", "1,0,0,0", "0.5,0.5,0,0", "0,0,0,1", "0,0,0,1.0")
    source = make_source(per_class=100)
    labels, nominal = draw(source, kind="matrix", matrix=path)
    assert nominal == pytest.approx((0 + 0.5 + 1 + 0) / 4)
    assert set(labels[source.labels == 0].tolist()) == {0}
    assert set(labels[source.labels == 1].tolist()) == {0, 1}
    assert set(labels[source.labels == 2].tolist()) == {3}


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["1,0", "0,1"], "2 rows of 2 numbers; 4 rows of 4 are needed"),
        (["a,b,c,d", "1,0,0,0", "0,1,0,0", "0,0,1,0", "0,0,0,1"], "1 bad row: "),
        (["1,0,0,0", "0,1,0,0", "0,0,0.5,0", "0,0,0,1"], "row 3 sums to 0.500000"),
        (["1,0,0,0", "2,-1,0,0", "0,0,1,0", "0,0,0,1"], "row 2 has a negative entry"),
        (["1,0,0,0", "0,inf,0,0", "0,0,1,0", "0,0,0,1"], "row 2 sums to inf"),
        (["1,0,0,0", "nan,1,0,0", "0,0,1,0", "0,0,0,1"], "row 2 has a negative entry"),
        (["1,0,0,0", "0,1,0", "0,0,1,0", "0,0,0,1"], "4 rows of 3, 4 numbers"),
    ],
)
def test_bad_matrix(tmp_path: Path, lines: list[str], reason: str) -> None:
    path = write_lines(tmp_path / "t.csv", *lines)
    text = refused(make_source(), kind="matrix", matrix=path)
    assert reason in text
    assert str(path) in text


def test_missing_matrix(tmp_path: Path) -> None:
    assert "needs a transition matrix" in refused(make_source(), kind="matrix")
    assert "gone.csv does not exist" in refused(make_source(), kind="matrix", matrix=tmp_path / "gone.csv")


def worse_labels(source: Source) -> torch.Tensor:
    """The next class for two images of five: people are wrong, and better than chance."""
    wrong = torch.arange(len(source.labels)) % 5 < 2
    return torch.where(wrong, (source.labels + 1) % 4, source.labels)


def human_csv(path: Path, source: Source, rows: list[int], *, labels: list[Any] | None = None) -> Path:
    """In CIFAR-10N's columns, rows in any order; the worse label is the next class."""
    worse = labels or [int(worse_labels(source)[index]) for index in rows]
    lines = [f"x.jpg,{i},{int(source.labels[i])},{label}" for i, label in zip(rows, worse, strict=True)]
    return write_lines(path, "path,original_index,clean_label,worse_label", *lines)


def test_human_labels_follow_the_original_index(tmp_path: Path) -> None:
    source = make_source()
    rows = np.random.default_rng(0).permutation(160).tolist()
    path = human_csv(tmp_path / "h.csv", source, rows)
    labels, nominal = draw(source, kind="human", human_file=path, human_column="worse_label")
    assert torch.equal(labels, worse_labels(source))
    assert nominal is None
    assert torch.equal(draw(source, kind="human", human_file=path, human_column="clean_label")[0], source.labels)


def test_human_labels_in_row_order_and_by_name(tmp_path: Path) -> None:
    source = make_source(per_class=2)
    path = write_lines(tmp_path / "h.csv", "label", "class1", "1", "2", "3", "0", "class3", "2", "3")
    assert draw(source, kind="human", human_file=path, human_column="label")[0].tolist() == [1, 1, 2, 3, 0, 3, 2, 3]


def test_human_labels_by_path(tmp_path: Path) -> None:
    source = make_source(per_class=1, ids=["train/a/0.png", "train/b/0.png", "clean/a/1.png", "train/c/0.png"])
    source = make_source(per_class=1, ids=source.ids, trusted=torch.tensor([2]))
    path = write_lines(tmp_path / "h.csv", "path,label", "train/c/0.png,0", "train/a/0.png,2", "train/b/0.png,1")
    assert draw(source, kind="human", human_file=path, human_column="label")[0].tolist() == [2, 1, 2, 0]
    write_lines(path, "name,label", "train/c/0.png,0")
    assert "has no column path" in refused(source, kind="human", human_file=path, human_column="label")


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_human_labels_from_arrays(tmp_path: Path, suffix: str) -> None:
    source = make_source()
    path = tmp_path / f"h{suffix}"
    worse = worse_labels(source).to(torch.int32).numpy()
    if suffix == ".npz":
        np.savez(path, clean_label=source.labels.numpy(), worse_label=worse)
    else:
        np.save(path, worse)
    labels, _ = draw(source, kind="human", human_file=path, human_column="worse_label")
    assert torch.equal(labels, worse_labels(source))
    assert labels.dtype == torch.int64


def test_human_labels_of_other_data(tmp_path: Path) -> None:
    """A file in another order than the data is found out by its own clean labels."""
    source = make_source()
    rows = list(range(160))
    shifted = make_source(labels=source.labels.roll(1))
    path = human_csv(tmp_path / "h.csv", shifted, rows)
    text = refused(source, kind="human", human_file=path, human_column="worse_label")
    assert "says that image train/0 is of class 3, the data set says 0" in text
    np.savez(tmp_path / "h.npz", clean_label=shifted.labels.numpy(), worse_label=shifted.labels.numpy())
    text = refused(source, kind="human", human_file=tmp_path / "h.npz", human_column="worse_label")
    assert "its order differs" in text


@pytest.mark.parametrize("suffix", [".npy", ".csv"])
@pytest.mark.parametrize("fault", ["order", "classes", "constant"])
def test_human_labels_at_chance_level_are_refused(tmp_path: Path, suffix: str, fault: str) -> None:
    """Rows in another order, numbers that count other classes, a column of something else."""
    source = make_source()
    found = worse_labels(source)
    if fault == "order":
        found = found[torch.randperm(160, generator=torch.Generator().manual_seed(1))]
    elif fault == "classes":
        found = (found + 2) % 4
    else:
        found = torch.zeros_like(found)
    path = tmp_path / f"h{suffix}"
    if suffix == ".npy":
        np.save(path, found.numpy())
    else:
        write_lines(path, "label", *(str(label) for label in found.tolist()))
    text = refused(source, kind="human", human_file=path, human_column="label")
    assert "agrees with the labels of the data on" in text
    assert "in another order" in text
    assert "noise.human_column" in text
    assert ("It uses 1 of 4 classes" in text) == (fault == "constant")


def test_human_labels_that_are_mostly_wrong_and_better_than_chance_are_taken(tmp_path: Path) -> None:
    source = make_source(per_class=500)
    generator = torch.Generator().manual_seed(0)
    others = (source.labels + torch.randint(1, 4, (2000,), generator=generator)) % 4
    found = torch.where(torch.rand(2000, generator=generator) < 0.69, others, source.labels)
    np.save(tmp_path / "h.npy", found.numpy())
    assert torch.equal(draw(source, kind="human", human_file=tmp_path / "h.npy")[0], found)


def test_trusted_images_do_not_hide_human_labels_at_chance_level(tmp_path: Path) -> None:
    source = make_source(trusted=torch.arange(100))
    order = torch.randperm(160, generator=torch.Generator().manual_seed(1))
    write_lines(tmp_path / "h.csv", "path,label", *(f"{i},{int(source.labels[order[i]])}" for i in range(160)))
    text = refused(source, kind="human", human_file=tmp_path / "h.csv", human_column="label")
    assert "of 60 images" in text


def test_bad_human_rows_are_listed(tmp_path: Path) -> None:
    source = make_source(per_class=1)
    path = human_csv(tmp_path / "h.csv", source, [0, 1, 2, 3], labels=[0, "wasp", 2, 4])
    lines = [*path.read_text().splitlines(), "x.jpg,9,0,0"]
    write_lines(path, *lines)
    text = refused(source, kind="human", human_file=path, human_column="worse_label")
    assert text.startswith("3 bad rows: ")
    assert f"{path}:3: label 'wasp' is neither a class nor in 0…3" in text
    assert f"{path}:5: label '4'" in text
    assert f"{path}:6 speaks of an image that the training set does not have" in text


def test_doubled_and_missing_human_rows(tmp_path: Path) -> None:
    source = make_source(per_class=1)
    path = human_csv(tmp_path / "h.csv", source, [0, 1, 1, 3])
    text = refused(source, kind="human", human_file=path, human_column="worse_label")
    assert f"{path}:4 speaks of image 'train/1' again" in text
    human_csv(path, source, [0, 1, 3])
    text = refused(source, kind="human", human_file=path, human_column="worse_label")
    assert "has no label for 1 of 4 images, the first is 'train/2'" in text


def test_human_column(tmp_path: Path) -> None:
    source = make_source()
    path = human_csv(tmp_path / "h.csv", source, list(range(160)))
    text = refused(source, kind="human", human_file=path, human_column="worst_label")
    assert "there is no column 'worst_label' (did you mean 'worse_label'?)" in text
    assert "no column is chosen" in refused(source, kind="human", human_file=path)
    assert "needs a file of labels" in refused(source, kind="human")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(159, dtype=np.int64), "of shape (159,); whole numbers of shape (160,) are needed"),
        (np.zeros(160), "holds float64 numbers"),
        (np.full(160, 4), "holds labels 4…4; 0…3 are allowed"),
        (np.full(160, -1), "holds labels -1…-1; 0…3 are allowed"),
    ],
)
def test_bad_human_arrays(tmp_path: Path, array: np.ndarray[Any, Any], reason: str) -> None:
    np.save(tmp_path / "h.npy", array)
    assert reason in refused(make_source(), kind="human", human_file=tmp_path / "h.npy")


class Payload:
    """Unpickled, this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["h.npy", "h.npz", "h.pt", "h.pkl"])
def test_pickles_are_refused_with_a_way_out(tmp_path: Path, name: str) -> None:
    path, pwned = tmp_path / name, tmp_path / "pwned"
    payload = np.array([Payload(pwned)], dtype=object)
    if name == "h.npy":
        np.save(path, payload, allow_pickle=True)
    elif name == "h.npz":
        np.savez(path, worse_label=payload)
    else:
        path.write_bytes(pickle.dumps(Payload(pwned)))
    text = refused(make_source(), kind="human", human_file=path, human_column="worse_label")
    assert "where you trust it: python -c" in text
    assert "numpy.savez(" in text
    assert not pwned.exists()


HUMAN = list(range(4)) * 40


@pytest.mark.parametrize(
    ("name", "write", "column"),
    [
        ("dict.npy", lambda path: np.save(path, {"worse_label": np.array(HUMAN)}, allow_pickle=True), "worse_label"),
        ("objects.npy", lambda path: np.save(path, np.array(HUMAN, dtype=object), allow_pickle=True), "labels"),
        ("list.json", lambda path: path.write_text(json.dumps(HUMAN)), "labels"),
        ("dict.json", lambda path: path.write_text(json.dumps({"worse_label": HUMAN})), "worse_label"),
        ("list.pkl", lambda path: path.write_bytes(pickle.dumps(HUMAN)), "labels"),
        ("it's bare.pt", lambda path: torch.save(torch.tensor(HUMAN), path), "labels"),
        ("dict.pt", lambda path: torch.save({"worse_label": torch.tensor(HUMAN)}, path), "worse_label"),
    ],
)
@pytest.mark.process
def test_the_command_that_is_offered_makes_a_file_that_is_read(
    name: str, write: Callable[[Path], Any], column: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    text = refused(make_source(), kind="human", human_file=path, human_column=column)
    python, *words = shlex.split(text.partition("where you trust it: ")[2])
    assert python == "python"
    subprocess.run([sys.executable, *words], cwd=tmp_path, check=True)
    noise = NoiseConfig(kind="human", human_file=tmp_path / "human.npz", human_column=column)
    assert human_labels(make_source(), noise).tolist() == HUMAN


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04broken", b"\x93NUMPYbroken", b"\x80\x04N."])
@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_damaged_arrays(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"h{suffix}"
    path.write_bytes(content)
    assert "is damaged or holds pickled objects" in refused(
        make_source(), kind="human", human_file=path, human_column="worse_label"
    )
