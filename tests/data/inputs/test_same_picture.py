"""One identity for an image: links, copies and other spellings of a path are the same one, in every part."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ebomlc_dist.config import DataConfig, NoiseConfig
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.human import human_labels
from ebomlc_dist.errors import InputError
from tests.data.support import write_image, write_lines, write_tree


def relative_link(source: Path, place: Path) -> None:
    place.symlink_to(os.path.relpath(source, place.parent))


MAKERS = [relative_link, os.link, shutil.copy]
again = pytest.mark.parametrize("again", MAKERS, ids=["link", "hard link", "copy"])
Maker = Callable[[Path, Path], object]


def with_pool(root: Path) -> DataConfig:
    """A tree whose training images are links to a pool beside it: class ant has 0…9, class bee 10…19."""
    for number in range(20):
        path = write_image(root / "pool" / f"{number}.png", seed=number)
        place = root / "train" / ("ant" if number < 10 else "bee") / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        relative_link(path, place)
    return DataConfig(dataset="folder", data_dir=root)


@again
def test_a_test_image_that_is_a_training_image_is_refused_by_name(tmp_path: Path, again: Maker) -> None:
    config = write_tree(tmp_path)
    again(tmp_path / "train" / "bee" / "1.png", tmp_path / "test" / "ant" / "other.png")
    with pytest.raises(InputError) as caught:
        load_source(config)
    text = str(caught.value)
    assert "1 test images are training images too: 'test/ant/other.png'" in text
    assert "train/bee/1.png" in text


@again
def test_a_test_image_that_is_a_trusted_image_is_refused(tmp_path: Path, again: Maker) -> None:
    config = write_tree(tmp_path)
    again(tmp_path / "clean" / "bee" / "1.png", tmp_path / "test" / "bee" / "other.png")
    with pytest.raises(InputError, match=r"'test/bee/other.png' \(the same bytes as 'clean/bee/1.png'\)"):
        load_source(config)


@again
def test_a_trusted_copy_of_a_noisy_image_is_taken_once_with_its_old_label(tmp_path: Path, again: Maker) -> None:
    config = write_tree(tmp_path)
    again(tmp_path / "train" / "ant" / "0.png", tmp_path / "clean" / "bee" / "9.png")
    source = load_source(config)
    assert "train/ant/0.png" not in source.ids
    assert len(source.ids) == 5 + 7
    assert source.trusted is not None
    assert source.trusted_old_labels is not None
    place = source.ids.index("clean/bee/9.png")
    assert source.labels[place] == 1
    assert source.trusted_old_labels[(source.trusted == place).nonzero().item()] == 0
    assert (source.trusted_old_labels >= 0).sum() == 1


@pytest.mark.parametrize("name", ["train/{0}/{1}.png", "pool/{1}.png", "./train/../pool/{1}.png"])
def test_links_in_the_tree_are_what_a_file_of_trusted_images_names(tmp_path: Path, name: str) -> None:
    config = with_pool(tmp_path)
    rows = [name.format("ant" if n < 10 else "bee", n) + (",bee" if n < 10 else ",ant") for n in (0, 1, 10, 11)]
    trusted = write_lines(tmp_path / "decisions.csv", "path,label", *rows)
    source = load_source(config.model_copy(update={"clean_csv": trusted}))
    assert len(source.ids) == 20
    assert source.trusted is not None
    assert source.labels[source.trusted].tolist() == [1, 1, 0, 0]
    assert source.trusted_old_labels.tolist() == [0, 0, 1, 1]


def test_links_from_the_test_part_into_training_images_are_seen(tmp_path: Path) -> None:
    config = with_pool(tmp_path)
    (tmp_path / "test" / "ant").mkdir(parents=True)
    relative_link(tmp_path / "pool" / "0.png", tmp_path / "test" / "ant" / "a.png")
    relative_link(tmp_path / "train" / "ant" / "1.png", tmp_path / "test" / "ant" / "b.png")
    with pytest.raises(InputError, match=r"2 test images are training images too: 'test/ant/a\.png'"):
        load_source(config)


def test_human_labels_by_any_name_of_an_image(tmp_path: Path) -> None:
    config = with_pool(tmp_path)
    rows = [f"pool/{n}.png,{'ant' if n < 10 else 'bee'}" for n in range(20)]
    file = write_lines(tmp_path / "h.csv", "path,label", *rows)
    source = load_source(config)
    assert source.ids[0] == "train/ant/0.png"
    noise = NoiseConfig(kind="human", human_file=file, human_column="label")
    assert human_labels(source, noise).tolist() == source.labels.tolist()


def test_an_image_under_two_labels_in_one_part_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = write_tree(tmp_path, ["train"])
    shutil.copy(tmp_path / "train" / "ant" / "0.png", tmp_path / "train" / "ant" / "same.png")
    assert len(load_source(config).ids) == 7
    assert caplog.text == ""
    shutil.copy(tmp_path / "train" / "ant" / "0.png", tmp_path / "train" / "bee" / "other.png")
    assert len(load_source(config).ids) == 8
    assert "has 1 images twice, under two labels: 'train/ant/0.png' and " in caplog.text


def test_pixels_stay_with_their_labels_where_copies_are_taken_out(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    before = load_source(config)
    shutil.copy(tmp_path / "train" / "ant" / "1.png", tmp_path / "clean" / "ant" / "9.png")
    after = load_source(config)
    for name in set(before.ids) & set(after.ids):
        old, new = before.ids.index(name), after.ids.index(name)
        assert (before.images[old] == after.images[new]).all()
        assert before.labels[old] == after.labels[new]
    assert (before.test_images == after.test_images).all()
    assert (
        after.images[after.ids.index("clean/ant/9.png")] == before.images[before.ids.index("train/ant/1.png")]
    ).all()
