"""Folders: what is in them, what is told of what is passed over, and what cannot be read is an error."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ebomlc_dist.config import DataConfig
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.inputs.tree import find_images
from ebomlc_dist.errors import InputError
from tests.data.support import write_image, write_lines, write_tree

NOBODY = 65534


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A folder that nobody may enter, seen as an ordinary user."""
    user = os.geteuid()
    modes = {place: place.stat().st_mode for place in (folder, *folder.parents) if place.stat().st_uid == user}
    if user == 0:
        for place in modes:
            if place.stat().st_mode & 0o5 != 0o5:
                place.chmod(0o755)
    folder.chmod(0)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        for place, mode in modes.items():
            place.chmod(mode)


@pytest.mark.parametrize(
    "name", ["train", "train/ant", "train/ant/deeper", "clean", "clean/ant", "test", "test/ant", "test/bee/deeper"]
)
@pytest.mark.parametrize("skip", [False, True])
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, name: str, skip: bool) -> None:
    config = write_tree(tmp_path).model_copy(update={"skip_unreadable": skip})
    (tmp_path / name).mkdir(exist_ok=True)
    with locked(tmp_path / name), pytest.raises(InputError) as caught:
        load_source(config)
    assert "1 folder(s) cannot be read" in str(caught.value)
    assert f"'{tmp_path / name}' (Permission denied)" in str(caught.value)


def test_paths_that_are_too_long_are_named(tmp_path: Path) -> None:
    config = write_tree(tmp_path, ["train"])
    place = os.open(tmp_path / "train" / "ant", os.O_RDONLY)
    for _ in range(20):  # by its descriptor, as no path is that long
        os.mkdir("x" * 250, dir_fd=place)
        below = os.open("x" * 250, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    with pytest.raises(InputError, match=r"cannot be read: .*File name too long"):
        load_source(config)


def test_links_to_nothing_and_files_in_the_place_of_folders_are_named(tmp_path: Path) -> None:
    config = write_tree(tmp_path, ["train"])
    (tmp_path / "test").symlink_to("gone")
    with pytest.raises(InputError, match="test is a link to nothing"):
        load_source(config)
    (tmp_path / "test").unlink()
    (tmp_path / "clean").write_text("x")
    with pytest.raises(InputError, match="clean is not a folder"):
        load_source(config)
    (tmp_path / "clean").unlink()
    (tmp_path / "train" / "cat").symlink_to("gone")
    with pytest.raises(InputError, match="train/cat is a link to nothing"):
        load_source(config)


@pytest.mark.parametrize("name", ["train", "train/cat", "train/ant/9.png"])
def test_links_out_of_the_data_folder_are_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    config = write_tree(tmp_path / "data")
    outside = write_image(tmp_path / "outside" / "cat" / "0.png", seed=77)
    place = tmp_path / "data" / name
    if name == "train":
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.symlink_to(outside.parent if name == "train/cat" else outside)
    with pytest.raises(InputError) as caught:
        load_source(config)
    text = str(caught.value)
    assert name in text
    assert "leaves the data folder" in text
    assert "give a data folder that holds both" in text


def test_what_is_passed_over_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = write_tree(tmp_path, ["train"])
    write_image(tmp_path / "train" / "loose.png", seed=9)
    write_image(tmp_path / "pool" / "1.png", seed=8)
    (tmp_path / "train" / "ant" / "more").symlink_to("../../pool")
    assert len(load_source(config).ids) == 6
    assert "1 links to folders are not followed, and what they hold is left out: 'train/ant/more'" in caplog.text
    assert "lie in no class folder and are left out: 'loose.png'" in caplog.text


def test_linked_class_folders_are_read(tmp_path: Path) -> None:
    config = write_tree(tmp_path, ["train"])
    write_image(tmp_path / "pool" / "1.png", seed=8)
    (tmp_path / "train" / "cat").symlink_to("../pool")
    source = load_source(config)
    assert source.class_names == ["ant", "bee", "cat"]
    assert source.ids[-1] == "train/cat/1.png"


@pytest.mark.parametrize("name", ["val", "valid", "validation", "testing", "Test", "trusted", "training"])
def test_parts_under_other_names_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    config = write_tree(tmp_path, ["train"])
    write_image(tmp_path / name / "ant" / "0.png", seed=50)
    load_source(config)
    part = {"trusted": "clean", "training": "train"}.get(name, "test")
    assert f"{tmp_path / name} is not read: rename it to {part}" in caplog.text


def test_a_folder_whose_images_a_file_names_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = write_tree(tmp_path, ["train"])
    write_image(tmp_path / "val" / "0.png", seed=50)
    table = write_lines(tmp_path / "t.csv", "path,label", "val/0.png,ant")
    assert len(load_source(config.model_copy(update={"test_csv": table})).test_labels) == 1
    assert caplog.text == ""


def test_training_images_under_another_name(tmp_path: Path) -> None:
    write_image(tmp_path / "Training" / "ant" / "0.png")
    with pytest.raises(InputError, match="Training is there: name it train"):
        load_source(DataConfig(dataset="folder", data_dir=tmp_path))


def test_find_images_at_any_depth(tmp_path: Path) -> None:
    for name in ("b.png", "a/c.JPG", "a/d.txt", ".e.png", ".f/g.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_images(tmp_path, tmp_path)
    assert (found.images, found.others, found.linked) == (["b.png", "a/c.JPG"], ["a/d.txt"], [])
    assert find_images(tmp_path / "a", tmp_path).images == ["a/c.JPG"]
