"""How labels are read: names in any Unicode form, numbers by value or by count, alike in every reader."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch

from ebomlc_dist.config import DataConfig, NoiseConfig
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.human import human_labels
from ebomlc_dist.data.inputs.class_names import Classes
from ebomlc_dist.data.noise import transition_matrix
from ebomlc_dist.errors import InputError
from tests.data.support import make_source, write_image, write_lines

TWELVE = [str(number) for number in range(12)]
FOLDERS = sorted(TWELVE)  # 0, 1, 10, 11, 2, …
CAFE_NFC, CAFE_NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def tree(root: Path, part: str, *classes: str, number: int = 2) -> DataConfig:
    for place, name in enumerate(classes):
        for index in range(number):
            seed = 1000 * sum(part.encode()) + 10 * place + index
            write_image(root / part / name / f"{index}.png", seed=seed)
    return DataConfig(dataset="folder", data_dir=root)


@pytest.mark.parametrize("names", [FOLDERS, ["07", "05", "10"], ["12", "10", "9"]])
def test_a_number_is_the_class_of_that_value(names: list[str]) -> None:
    classes = Classes(names)
    for label, name in enumerate(names):
        assert classes.label(name) == classes.label(str(int(name))) == classes.of_number(int(name)) == label
        assert classes.label(f" {int(name)}.0") == label
    assert classes.of_number(max(map(int, names)) + 1) is None
    assert [int(names[label]) for label in classes.by_value()] == sorted(map(int, names))


def test_a_number_counts_classes_that_have_names() -> None:
    classes = Classes(["ant", "bee"], counted=["ant", "asp", "bee"])
    assert [classes.label(text) for text in ("0", "1", "2", "3", "-1", "bee", "asp")] == [
        0,
        None,
        1,
        None,
        None,
        1,
        None,
    ]
    assert classes.by_value() == [0, 1]


def test_with_names_and_numbers_mixed_a_number_is_a_name_alone() -> None:
    classes = Classes(["10", "2", "cat"])
    assert [classes.label(text) for text in ("10", "2", "0", "1")] == [0, 1, None, None]
    assert not classes.counts


def test_folders_named_by_numbers_in_arrays_and_files_of_human_labels(tmp_path: Path) -> None:
    source = load_source(tree(tmp_path, "train", *TWELVE))
    assert source.class_names == FOLDERS
    true = [int(name.split("/")[1]) for name in source.ids]
    np.save(tmp_path / "h.npy", np.array(true))
    rows = [f"{name},{value}" for name, value in zip(source.ids, true, strict=True)]
    write_lines(tmp_path / "h.csv", "path,label", *rows)
    for file in ("h.npy", "h.csv"):
        noise = NoiseConfig(kind="human", human_file=tmp_path / file, human_column="label")
        assert torch.equal(human_labels(source, noise), source.labels)
    np.save(tmp_path / "h.npy", np.array(true) + 1)
    with pytest.raises(InputError, match=r"holds labels 1…12; 0…11 are allowed"):
        human_labels(source, NoiseConfig(kind="human", human_file=tmp_path / "h.npy"))


def test_arrays_cannot_name_classes_with_and_without_numbers(tmp_path: Path) -> None:
    source = make_source(per_class=10, num_classes=3, class_names=["10", "2", "cat"])
    np.save(tmp_path / "h.npy", source.labels.numpy())
    with pytest.raises(InputError, match="give a CSV of names"):
        human_labels(source, NoiseConfig(kind="human", human_file=tmp_path / "h.npy"))


def test_a_matrix_of_classes_named_by_numbers_is_in_their_order(tmp_path: Path) -> None:
    by_value = np.eye(12) * 0.9
    by_value[np.arange(12), (np.arange(12) + 1) % 12] = 0.1  # class k becomes class k + 1
    np.savetxt(tmp_path / "t.csv", by_value, delimiter=",")
    matrix = transition_matrix(tmp_path / "t.csv", FOLDERS)
    for number in range(12):
        row = matrix[FOLDERS.index(str(number))]
        assert row[FOLDERS.index(str(number))] == 0.9
        assert row[FOLDERS.index(str((number + 1) % 12))] == pytest.approx(0.1)
    assert np.array_equal(transition_matrix(tmp_path / "t.csv", [f"c{k:02}" for k in range(12)]), by_value)


def test_a_matrix_that_turns_most_classes_into_others_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_lines(tmp_path / "t.csv", "0.1,0.9", "0.9,0.1")
    transition_matrix(tmp_path / "t.csv", ["a", "b"])
    assert "turns most classes into others" in caplog.text


def test_unicode_forms_of_a_folder_are_one_class(tmp_path: Path) -> None:
    tree(tmp_path, "train", CAFE_NFC, "bar")
    tree(tmp_path, "train", CAFE_NFD)
    tree(tmp_path, "clean", CAFE_NFD, "bar")
    config = tree(tmp_path, "test", CAFE_NFD)
    source = load_source(config)
    assert [unicodedata.normalize("NFC", name) for name in source.class_names] == ["bar", CAFE_NFC]
    assert source.labels.bincount().tolist() == [4, 6]
    assert source.test_labels.tolist() == [1, 1]


def test_unicode_forms_of_labels_and_paths_in_a_file(tmp_path: Path) -> None:
    write_image(tmp_path / f"{CAFE_NFD}.png", seed=1)
    write_image(tmp_path / "b.png", seed=2)
    write_image(tmp_path / "c.png", seed=3)
    table = write_lines(tmp_path / "n.csv", "path,label", f"{CAFE_NFC}.png,{CAFE_NFC}", f"b.png,{CAFE_NFD}", "c.png,x")
    source = load_source(DataConfig(dataset="folder", data_dir=tmp_path, noisy_csv=table))
    assert len(source.class_names) == 2
    assert source.labels.tolist() == [0, 0, 1]


def test_with_files_the_classes_are_those_of_the_files(tmp_path: Path) -> None:
    names = [f"c{number:03}" for number in range(10)]
    config = tree(tmp_path, "train", *names)
    noisy = write_lines(tmp_path / "n.csv", "path,label", "train/c005/0.png,c005", "train/c007/0.png,c007")
    clean = write_lines(tmp_path / "c.csv", "path,label", "train/c005/1.png,c005", "train/c008/1.png,c008")
    test = write_lines(tmp_path / "t.csv", "path,label", "train/c001/0.png,c007")
    source = load_source(config.model_copy(update={"noisy_csv": noisy, "clean_csv": clean, "test_csv": test}))
    assert source.class_names == ["c005", "c007", "c008"]
    assert source.labels.tolist() == [0, 1, 0, 2]
    # A number still counts the folders.
    write_lines(tmp_path / "n.csv", "path,label", "train/c005/0.png,5", "train/c007/0.png,7")
    assert load_source(config.model_copy(update={"noisy_csv": noisy})).class_names == ["c005", "c007"]


def test_folders_that_are_no_classes_say_nothing_of_those_of_a_file(tmp_path: Path) -> None:
    config = tree(tmp_path, "train", "batch1", "batch2")
    noisy = write_lines(tmp_path / "n.csv", "path,label", "train/batch1/0.png,cat", "train/batch2/0.png,dog")
    assert load_source(config.model_copy(update={"noisy_csv": noisy})).class_names == ["cat", "dog"]


def test_a_class_that_a_file_alone_names_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = tree(tmp_path, "train", "ant", "bee")
    noisy = write_lines(
        tmp_path / "n.csv", "path,label", "train/ant/0.png,ant", "train/ant/1.png,beee", "train/bee/0.png,bee"
    )
    assert load_source(config.model_copy(update={"noisy_csv": noisy})).class_names == ["ant", "bee", "beee"]
    assert "1 classes are named by a file and have no folder: 'beee' (did you mean 'bee'?)" in caplog.text


def test_quotes_after_a_blank_are_no_part_of_a_label(tmp_path: Path) -> None:
    config = tree(tmp_path, "train", "ant", "bee, wild")
    table = write_lines(
        tmp_path / "n.csv", '"path", "label"', 'train/ant/0.png, "bee, wild"', '"train/ant/1.png", "ant"'
    )
    source = load_source(config.model_copy(update={"noisy_csv": table}))
    assert source.class_names == ["ant", "bee, wild"]
    assert source.labels.tolist() == [1, 0]
