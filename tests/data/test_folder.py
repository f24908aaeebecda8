"""The user's own images: trees, CSV files, and every kind of bad row, by file and line."""

import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.errors import InputError
from tests.data.support import write_image, write_lines, write_tree


def message(config: DataConfig) -> str:
    with pytest.raises(InputError) as caught:
        load_source(config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(config: DataConfig, **values: object) -> DataConfig:
    return config.model_copy(update=values)


def test_tree(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    (tmp_path / "train" / "ant" / ".hidden.png").write_text("left alone")
    (tmp_path / "train" / ".cache").mkdir()
    write_image(tmp_path / "train" / "bee" / "deeper" / "9.PNG")
    source = load_source(config)
    assert source.class_names == ["ant", "bee"]
    assert source.ids[:7] == [f"train/ant/{n}.png" for n in range(3)] + [f"train/bee/{n}.png" for n in range(3)] + [
        "train/bee/deeper/9.PNG"
    ]
    assert source.labels.tolist() == [0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert source.trusted is not None
    assert source.trusted.tolist() == list(range(7, 13))
    assert source.test_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.test_images.shape == (6, 3, 8, 8)
    assert not source.labels_are_true


def test_clean_and_test_are_optional(tmp_path: Path) -> None:
    source = load_source(write_tree(tmp_path, ["train"]))
    assert source.trusted is None
    assert source.test_images.shape == (0, 3, 8, 8)


def test_class_order_is_torchvisions(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for name in ("b", "a", "B", "10", "2", "a b"):
        write_image(tmp_path / "train" / name / "0.png")
    source = load_source(DataConfig(dataset="folder", data_dir=tmp_path))
    reference = ImageFolder(tmp_path / "train")
    assert source.class_names == reference.classes
    assert source.ids == [str(Path(path).relative_to(tmp_path)) for path, _ in reference.samples]
    assert source.labels.tolist() == reference.targets


def test_files_that_are_no_images_by_name_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = write_tree(tmp_path, ["train"])
    (tmp_path / "train" / "ant" / "notes.txt").write_text("x")
    assert len(load_source(config).images) == 6
    assert "notes.txt" in caplog.text


def test_image_size(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    write_image(tmp_path / "test" / "ant" / "wide.png", (12, 8))
    assert "give --image-size" in message(config)
    source = load_source(changed(config, image_size=16))
    assert source.images.shape[2:] == source.test_images.shape[2:] == (16, 16)


def test_unreadable_images_stop_the_run_or_are_left_out(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    broken = ("train/ant/1.png", "clean/bee/0.png", "test/ant/2.png")
    for name in broken:
        (tmp_path / name).write_bytes(b"\x89PNG broken")
    text = message(config)
    assert all(repr(name) in text for name in broken)
    source = load_source(changed(config, skip_unreadable=True))
    assert len(source.images) == 10
    assert "train/ant/1.png" not in source.ids
    assert source.trusted is not None
    assert source.trusted.tolist() == list(range(5, 10))
    assert source.test_labels.tolist() == [0, 0, 1, 1, 1]


LAZY = [{"loader": "dataloader"}, {"augment": "resized-crop-flip", "image_size": 8}]


@pytest.mark.parametrize("how", LAZY)
def test_files_that_break_where_pixels_begin_are_left_out_at_the_start(how: dict[str, object], tmp_path: Path) -> None:
    """Their headers are fine: what is decoded later must be looked at before."""
    config = changed(write_tree(tmp_path), skip_unreadable=True, **how)
    whole = load_source(config)
    broken = ("train/ant/1.png", "train/bee/0.png", "clean/bee/0.png", "test/ant/2.png")
    for name in broken:
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:60])
    assert len(load_source(changed(config, skip_unreadable=False)).images) == len(whole.images)
    seen: list[tuple[int, int]] = []
    source = load_source(config, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (len(whole.images) + len(whole.test_images),) * 2
    assert source.ids == [name for name in whole.ids if name not in broken]
    assert source.image_digests != whole.image_digests
    for now, before, names in ((source.images, whole.images, whole.ids), (source.test_images, whole.test_images, [])):
        kept = [row for row in range(len(before)) if not names or names[row] not in broken]
        kept = kept if names else [row for row in kept if row != 2]
        assert torch.equal(now[torch.arange(len(now))], before[torch.tensor(kept)])


@pytest.mark.parametrize("part", ["train", "clean", "test"])
def test_rows_of_missing_files(part: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = write_tree(tmp_path)
    rows = (f"{part}/ant/0.png,ant", "gone.png,bee", f"{part}/bee/1.png,bee", "gone/too.png,ant")
    key = {"train": "noisy_csv"}.get(part, f"{part}_csv")
    config = changed(config, **{key: write_lines(tmp_path / "rows.csv", "path,label", *rows)})
    text = message(config)
    assert "'gone.png' does not exist" in text
    assert text.endswith(". --skip-unreadable leaves out the rows of files that do not exist")
    source = load_source(changed(config, skip_unreadable=True))
    assert (len(source.images), len(source.test_images)) == ((12 - 4, 6) if part != "test" else (12, 2))
    said = [line for line in caplog.messages if "rows are left out" in line]
    assert len(said) == 1
    assert said[0].startswith("2 rows are left out, as their files do not exist: ")
    assert "rows.csv:3: 'gone.png'" in said[0]


def test_a_row_that_leaves_the_folder_is_never_skipped(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    table = write_lines(tmp_path / "rows.csv", "path,label", "../outside.png,ant", "train/ant/0.png,ant")
    text = message(changed(config, noisy_csv=table, skip_unreadable=True))
    assert "'../outside.png' leaves the data folder" in text
    assert "--skip-unreadable" not in text


def test_csv_parts(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    noisy = write_lines(tmp_path / "noisy.csv", "path,label", "train/ant/0.png,bee", "train/bee/1.png,0")
    clean = write_lines(tmp_path / "clean.csv", "label,extra,path", "ant,x,train/bee/0.png", "1,y,train/bee/2.png")
    test = write_lines(tmp_path / "test.csv", "file_name,label", "test/ant/0.png,ant")
    source = load_source(changed(config, noisy_csv=noisy, clean_csv=clean, test_csv=test))
    assert source.ids == ["train/ant/0.png", "train/bee/1.png", "train/bee/0.png", "train/bee/2.png"]
    assert source.labels.tolist() == [1, 0, 0, 1]
    assert source.trusted is not None
    assert source.trusted.tolist() == [2, 3]
    assert source.test_labels.tolist() == [0]


def test_trusted_label_wins_over_the_noisy_one(tmp_path: Path) -> None:
    config = write_tree(tmp_path, ["train"])
    clean = write_lines(tmp_path / "clean.csv", "path,label", "train/ant/0.png,bee")
    source = load_source(changed(config, clean_csv=clean))
    assert source.ids.count("train/ant/0.png") == 1
    assert source.trusted is not None
    assert source.ids[int(source.trusted[0])] == "train/ant/0.png"
    assert source.labels[source.trusted].tolist() == [1]


def test_metadata_csv_of_hugging_face(tmp_path: Path) -> None:
    """``file_name`` is relative to the folder of the file, as the datasets library reads it."""
    write_image(tmp_path / "images" / "a.png")
    write_image(tmp_path / "images" / "b.png", seed=1)
    table = write_lines(tmp_path / "images" / "metadata.csv", "file_name,label", "a.png,0", "b.png,1")
    source = load_source(DataConfig(dataset="folder", data_dir=tmp_path, noisy_csv=table))
    assert source.ids == ["images/a.png", "images/b.png"]
    assert source.class_names == ["0", "1"]


@pytest.mark.parametrize("prefix", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_classes_of_a_csv(tmp_path: Path, prefix: str, newline: str) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", seed=number)
    table = tmp_path / "noisy.csv"
    lines = ["path,label", "0.png,pear", "", "1.png,apple", "2.png,pear"]
    table.write_bytes((prefix + newline.join(lines)).encode())
    source = load_source(DataConfig(dataset="folder", data_dir=tmp_path, noisy_csv=table))
    assert source.class_names == ["apple", "pear"]
    assert source.labels.tolist() == [1, 0, 1]


def test_all_bad_rows_are_listed_by_file_and_line(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    write_image(tmp_path.parent / "outside.png")
    table = write_lines(
        tmp_path / "noisy.csv",
        "path,label",
        "train/ant/0.png,ant",
        "train/ant/gone.png,ant",
        "train/ant/1.png,nan",
        "../outside.png,ant",
        "train/ant/2.png,2",
        "train/ant/2.png,-1",
        "train/ant/0.png,bee",
        "train/ant,bee",
    )
    text = message(changed(config, noisy_csv=table))
    assert text.startswith("7 bad rows: ")
    for line, reason in {
        3: "'train/ant/gone.png' does not exist",
        4: "label 'nan' stands for a missing value",
        5: "'../outside.png' leaves the data folder",
        6: "unknown label '2'",
        7: "unknown label '-1'",
        8: "stands already in line 2",
        9: "'train/ant' is not a regular file",
    }.items():
        assert any(f"{table}:{line}" in part and reason in part for part in text.split("; ")), (line, text)


def test_nearest_class_is_offered(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    table = write_lines(tmp_path / "test.csv", "path,label", "test/ant/0.png,beee")
    assert "did you mean 'bee'?" in message(changed(config, test_csv=table))


def test_old_labels_of_trusted_images(tmp_path: Path) -> None:
    """From their own column, or from the noisy part where it names the image too; unknown else."""
    config = write_tree(tmp_path)
    rows = ("path,label,noisy_label", "clean/ant/0.png,ant,bee", "clean/ant/1.png,0,0", "clean/bee/0.png,bee, ")
    both = ("train/bee/0.png,ant,", "train/bee/1.png,bee,ant")
    own = changed(config, clean_csv=write_lines(tmp_path / "clean.csv", *rows, *both))
    source = load_source(own)
    assert source.trusted.tolist() == [4, 5, 6, 7, 8]
    assert source.trusted_old_labels.tolist() == [1, 0, -1, 1, 0]
    assert load_source(config).trusted_old_labels is None
    text = message(changed(config, clean_csv=write_lines(tmp_path / "bad.csv", *rows, "clean/bee/1.png,bee,wasp")))
    assert "bad.csv:5: unknown noisy_label 'wasp'" in text
    # Those that cannot be read are left out on both sides.
    (tmp_path / "clean/ant/1.png").write_bytes(b"no image")
    assert load_source(changed(own, skip_unreadable=True)).trusted_old_labels.tolist() == [1, -1, 1, 0]


def test_whole_number_labels_without_folders(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", seed=number)
    config = DataConfig(dataset="folder", data_dir=tmp_path, noisy_csv=tmp_path / "noisy.csv")
    table = write_lines(tmp_path / "noisy.csv", "path,label", "0.png,0", "1.png,1", "2.png,99")
    assert f"{table}:4: label 99 is out of range" in message(config)
    write_lines(table, "path,label", "0.png,0", "1.png,-1", "2.png,1")
    assert f"{table}:3: label -1 is out of range" in message(config)
    write_lines(table, "path,label", "0.png,0", "1.png,", "2.png,1")
    assert f"{table}:3 has no label" in message(config)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "has no rows"),
        (b"path,label\n", "has no rows"),
        (b"image,label\na.png,ant\n", "has no column path or file_name"),
        (b"path;label\na.png;ant\n", "separated by commas"),
        (b"path,path\na.png,ant\n", "names a column twice"),
        (b"path,label\ntrain/ant/0.png,ant,x\ntrain/ant/1.png\n", "2 bad rows: "),
        ("path,label\ntrain/ant/0.png,ant\n".encode("utf-16"), "is not UTF-8 text"),
        (b'path,label\n"train/ant/0.png,ant\n', "is not CSV"),
        (b"path,label\n" + b"a" * 140_000 + b",ant\n", "is not CSV"),
        (b"path,label\na\0b.png,ant\n", "is not a usable path"),
    ],
)
def test_damaged_csv(tmp_path: Path, content: bytes, reason: str) -> None:
    config = write_tree(tmp_path)
    table = tmp_path / "clean.csv"
    table.write_bytes(content)
    text = message(changed(config, clean_csv=table))
    assert str(table) in text
    assert reason in text


def test_missing_csv(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    assert "gone.csv does not exist" in message(changed(config, clean_csv=tmp_path / "gone.csv"))


def test_missing_folders(tmp_path: Path) -> None:
    config = DataConfig(dataset="folder", data_dir=tmp_path)
    assert "has no class folders" in message(config)
    assert "is not a folder" in message(changed(config, data_dir=tmp_path / "gone"))
    (tmp_path / "train" / "ant").mkdir(parents=True)
    assert "holds no images" in message(config)


def test_class_that_has_trusted_images_alone(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    write_image(tmp_path / "clean" / "cat" / "0.png", seed=99)
    assert "clean/cat is no class of the training set" in message(config)
    (tmp_path / "classes.txt").write_text("ant\nbee\ncat\ndog\n")
    source = load_source(config)
    assert source.class_names == ["ant", "bee", "cat"]
    assert source.labels.bincount().tolist() == [6, 6, 1]
    (tmp_path / "classes.txt").write_bytes(b"1 ant\n\xff\x00")
    assert "clean/cat is no class of the training set" in message(config)
    # As macOS writes names, and as others do.
    (tmp_path / "clean" / "cat").rename(tmp_path / "clean" / unicodedata.normalize("NFD", "café"))
    (tmp_path / "classes.txt").write_text(unicodedata.normalize("NFC", "ant\nbee\ncafé\n"))
    assert load_source(config).labels.bincount().tolist() == [6, 6, 1]


def test_corrected_labels_that_leave_a_class_without_a_noisy_image(tmp_path: Path) -> None:
    """``corrected.csv`` beside the folders it was made from."""
    config = write_tree(tmp_path)
    rows = (f"train/{name}/{number}.png,ant" for name in ("ant", "bee") for number in range(3))
    config = changed(config, noisy_csv=write_lines(tmp_path / "corrected.csv", "path,label", *rows))
    dataset = load_dataset(config, NoiseConfig(), SeedConfig())
    assert dataset.class_names == ["ant", "bee"]
    assert dataset.noisy_labels.tolist() == [0] * 6
    assert dataset.clean_labels.tolist() == [0] * 3 + [1] * 3


def test_unknown_class_folder(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    write_image(tmp_path / "clean" / "ants" / "0.png")
    text = message(config)
    assert f"{tmp_path / 'clean' / 'ants'} is no class of the training set (did you mean 'ant'?)" in text


def test_test_images_among_the_training_images(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    table = write_lines(tmp_path / "test.csv", "path,label", "train/ant/0.png,ant", "test/ant/0.png,ant")
    assert "1 test images are training images too: 'train/ant/0.png'" in message(changed(config, test_csv=table))


def test_names_that_are_no_text(tmp_path: Path) -> None:
    config = write_tree(tmp_path, ["train"])
    image = tmp_path / "train" / "ant" / "0.png"
    image.rename(Path(str(image.parent), "\udcff.png"))
    ids = load_source(config).ids
    assert "train/ant/\\xff.png" in ids
    "".join(ids).encode()


def test_pixels_follow_their_labels(tmp_path: Path) -> None:
    source = load_source(write_tree(tmp_path))
    for row, name in enumerate(source.ids):
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(source.images[row].permute(1, 2, 0), image)
        assert source.class_names[int(source.labels[row])] == Path(name).parent.name


def test_a_pipe_in_the_place_of_a_csv_is_not_opened(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    os.mkfifo(tmp_path / "clean.csv")
    assert "clean.csv is not a regular file" in message(changed(config, clean_csv=tmp_path / "clean.csv"))
