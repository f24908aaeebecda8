"""Features as a data set: labels, trusted and test rows in all their forms, and what is refused, by row."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig, TrainConfig
from ebomlc_dist.data.dataset import NoisyDataset, Source, are_features, described
from ebomlc_dist.data.datasets import load_source
from ebomlc_dist.data.inputs.feature_rows import FeatureRows
from ebomlc_dist.data.loaders.auto_select import choose_loader
from ebomlc_dist.data.loaders.backends import RowReader
from ebomlc_dist.data.loaders.index_stream import IndexStream, RankSlice
from ebomlc_dist.data.loaders.paired import build_loader
from ebomlc_dist.data.loaders.prefetch import PrefetchedPixels
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import Streams

N, D = 60, 4
ROWS = np.random.default_rng(1).normal(loc=3.0, scale=5.0, size=(N, D)).astype(np.float32)
LABELS = np.arange(N) % 3
NAMES = np.array(["ant", "bee", "cat"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with features and labels."""
    np.save(tmp_path / "x.npy", ROWS)
    np.save(tmp_path / "y.npy", LABELS)
    return tmp_path


def lines(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def config(folder: Path, **changes: Any) -> DataConfig:
    values = {"dataset": "features", "features": folder / "x.npy", "labels": folder / "y.npy", "augment": "none"}
    return DataConfig(**{**values, **changes})


def source(folder: Path, **changes: Any) -> Source:
    return load_source(config(folder, **changes))


def dataset(folder: Path, **changes: Any) -> NoisyDataset:
    noise = changes.pop("noise", NoiseConfig())
    return load_dataset(config(folder, **changes), noise, SeedConfig())


def test_features_are_inputs_with_an_id_each(files: Path) -> None:
    found = source(files)
    assert are_features(found.images)
    assert described(found.images) == "rows of 4 features"
    assert torch.equal(found.images[torch.tensor([59, 3])], torch.from_numpy(ROWS[[59, 3]]))
    assert found.ids == [str(row) for row in range(N)]
    assert found.class_names == ["0", "1", "2"]
    assert found.labels.tolist() == LABELS.tolist()
    assert found.trusted is None
    assert not found.labels_are_true


LABEL_FILES: dict[str, Callable[[Path], Path]] = {
    "names": lambda folder: lines(folder / "y.csv", "label", NAMES[LABELS].tolist()),
    "names with ids": lambda folder: lines(
        folder / "y.csv", "id,label", [f"item {row},{NAMES[label]}" for row, label in enumerate(LABELS)]
    ),
    "an array of names": lambda folder: np.save(folder / "n.npy", NAMES[LABELS]) or folder / "n.npy",
    "floats": lambda folder: np.save(folder / "n.npy", LABELS.astype(float)) or folder / "n.npy",
}


@pytest.mark.parametrize("write", LABEL_FILES.values(), ids=LABEL_FILES)
def test_labels_are_names_or_numbers(write: Callable[[Path], Path], files: Path) -> None:
    path = write(files)
    found = source(files, labels=path)
    assert found.labels.tolist() == LABELS.tolist()
    assert found.class_names in (NAMES.tolist(), ["0", "1", "2"])
    assert found.ids[7] == ("item 7" if "id," in path.read_bytes().decode("latin-1") else "7")


def test_labels_by_id_are_brought_into_the_order_of_the_features(files: Path) -> None:
    order = np.random.default_rng(2).permutation(N)
    np.savez(files / "x.npz", features=ROWS, ids=[f"a{row}" for row in range(N)])
    path = lines(files / "y.csv", "label,id", [f"{LABELS[row]},a{row}" for row in order])
    assert source(files, features=files / "x.npz", labels=path).labels.tolist() == LABELS.tolist()


def test_trusted_rows_with_their_right_labels_keep_the_old_ones(files: Path) -> None:
    path = lines(files / "t.csv", "id,label", ["9,1", "3,0", "4,1", "5,2"])
    found = source(files, clean_csv=path)
    assert found.trusted is not None
    assert found.trusted.tolist() == [3, 4, 5, 9]
    assert found.labels[found.trusted].tolist() == [0, 1, 2, 1]
    assert found.trusted_old_labels is not None
    assert found.trusted_old_labels.tolist() == [0, 1, 2, 0]
    drawn = dataset(files, clean_csv=path)
    assert drawn.clean_labels.tolist() == [0, 1, 2, 1]
    assert drawn.clean_old_labels is not None
    assert drawn.clean_old_labels.tolist() == [0, 1, 2, 0]
    assert len(drawn.noisy_index) == N - 4


@pytest.mark.parametrize("form", ["numbers", "mask", "ids"])
def test_trusted_rows_alone_say_nothing_of_old_labels(form: str, files: Path) -> None:
    chosen = np.array([0, 1, 2, 9])
    path = files / "t.npy"
    if form == "ids":
        path = lines(files / "t.csv", "id", [str(row) for row in chosen])
    else:
        np.save(path, chosen if form == "numbers" else np.isin(np.arange(N), chosen))
    found = source(files, clean_csv=path)
    assert found.trusted is not None
    assert found.trusted.tolist() == chosen.tolist()
    assert found.trusted_old_labels is None


def test_a_trusted_row_needs_no_noisy_label(files: Path) -> None:
    given = lines(files / "y.csv", "id,label", [f"{row},{LABELS[row]}" for row in range(2, N)])
    trusted = lines(files / "t.csv", "id,label", ["0,0", "1,1", "2,2"])
    np.savez(files / "x.npz", features=ROWS, ids=np.arange(N))
    found = source(files, features=files / "x.npz", labels=given, clean_csv=trusted)
    assert found.labels.tolist() == LABELS.tolist()
    assert found.trusted_old_labels is not None
    assert found.trusted_old_labels.tolist() == [-1, -1, 2]


def test_test_rows_leave_the_training_rows(files: Path) -> None:
    test = lines(files / "e.csv", "id", ["50", "0", "7"])
    found = source(files, test_csv=test, clean_csv=lines(files / "t.csv", "id", ["8", "9", "10"]))
    assert len(found.images) == N - 3
    assert not {"50", "0", "7"} & set(found.ids)
    assert torch.equal(found.test_images[torch.arange(3)], torch.from_numpy(ROWS[[0, 7, 50]]))
    assert found.test_labels.tolist() == LABELS[[0, 7, 50]].tolist()
    assert found.trusted is not None
    assert [found.ids[row] for row in found.trusted.tolist()] == ["8", "9", "10"]
    assert torch.equal(found.images[found.trusted], torch.from_numpy(ROWS[8:11]))


def test_parts_may_have_files_of_their_own(files: Path) -> None:
    np.save(files / "tx.npy", ROWS[:6].astype(np.float16))
    np.save(files / "ty.npy", LABELS[:6])
    np.savez(files / "e.npz", features=ROWS[6:9], labels=LABELS[6:9])
    found = source(
        files, trusted_features=files / "tx.npy", trusted_labels=files / "ty.npy", test_features=files / "e.npz"
    )
    assert len(found.images) == N + 6
    assert found.trusted is not None
    assert found.trusted.tolist() == list(range(N, N + 6))
    assert found.ids[N:] == [f"trusted/{row}" for row in range(6)]
    assert torch.equal(found.images[found.trusted], torch.from_numpy(ROWS[:6].astype(np.float16)).float())
    assert torch.equal(found.test_images[torch.arange(3)], torch.from_numpy(ROWS[6:9]))
    assert found.test_labels.tolist() == LABELS[6:9].tolist()


def test_features_are_standardised_over_the_training_rows(files: Path) -> None:
    rows = ROWS.copy()
    rows[:, 2] = 7.0
    np.save(files / "x.npy", rows)
    test = lines(files / "e.csv", "id", ["59"])
    found = dataset(files, clean_csv=lines(files / "t.csv", "id", ["0", "1", "2"]), test_csv=test)
    np.testing.assert_allclose(found.mean, rows[:59].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.std[[0, 1, 3]], rows[:59, [0, 1, 3]].std(axis=0), rtol=1e-5)
    assert found.std[2] == 1.0
    plain = dataset(files, clean_csv=files / "t.csv", standardise=False)
    assert (plain.mean.tolist(), plain.std.tolist()) == ([0.0] * D, [1.0] * D)


def test_the_fingerprint_is_that_of_values_and_roles(files: Path) -> None:
    trusted = lines(files / "t.csv", "id", ["0", "1", "2"])
    first = dataset(files, clean_csv=trusted).fingerprint
    assert dataset(files, clean_csv=trusted).fingerprint == first
    other = ROWS.copy()
    other[40, 1] += 1e-3
    np.save(files / "x.npy", other)
    assert dataset(files, clean_csv=trusted).fingerprint != first
    np.save(files / "x.npy", ROWS)
    assert dataset(files, clean_csv=lines(files / "t.csv", "id", ["0", "1", "5"])).fingerprint != first


@pytest.mark.parametrize("kind", ["uniform", "flip", "matrix", "human"])
def test_every_noise_goes_on_features(kind: str, files: Path) -> None:
    matrix = lines(files / "m.csv", "0.6,0.2,0.2", ["0.2,0.6,0.2", "0.2,0.2,0.6"])
    human = lines(files / "h.csv", "worse", [str((label + (row % 4 == 0)) % 3) for row, label in enumerate(LABELS)])
    noise = NoiseConfig(kind=kind, rate=0.4, matrix=matrix, human_file=human, human_column="worse")  # type: ignore[arg-type]
    found = dataset(files, noise=noise, clean_size=9)
    assert found.noise_rate_realised is not None
    assert 0.1 < found.noise_rate_realised < 0.7
    assert len(found.clean_index) == 9


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_a_global_batch_is_the_same_on_any_number_of_processes(world_size: int, files: Path) -> None:
    found = dataset(files, noise=NoiseConfig(kind="uniform", rate=0.3), clean_size=9)
    streams = Streams(clean=True)

    def batches(size: int) -> torch.Tensor:
        train = TrainConfig(global_noisy_batch_size=12, global_clean_batch_size=6)
        own = [
            build_loader(found, streams, config(files), train, SeedConfig(), rank=rank, world_size=size, device="cpu")
            for rank in range(size)
        ]
        return torch.stack([torch.cat([loader.batch(step).noisy.images for loader in own]) for step in range(7)])

    got = batches(world_size)
    assert torch.equal(got, batches(1))
    rows = found.images[found.noisy_index].sub(found.mean).div_(found.std)
    assert all((rows == sample).all(dim=1).any() for sample in got[0])


def test_rows_that_stay_on_the_host_are_those_of_the_share() -> None:
    """As on a GPU whose memory does not hold the features."""
    reader = RowReader(FeatureRows((ROWS,)))
    stream = IndexStream(N, 12, np.random.SeedSequence(0))
    shares = [RankSlice(torch.arange(N), stream, rank=rank, world_size=2) for rank in range(2)]
    pixels = [PrefetchedPixels(reader, share) for share in shares]
    for step in (0, 1, 2, 7, 3):
        for own, share in zip(pixels, shares, strict=True):
            rows = torch.from_numpy(share.rows(step))
            assert torch.equal(own.of(rows, own.frames(step)), torch.from_numpy(ROWS)[rows])


def test_a_mapped_file_is_not_read_into_memory(files: Path) -> None:
    found = dataset(files, noise=NoiseConfig(kind="uniform", rate=0.3), clean_size=9)
    assert "gathered from a mapped file" in choose_loader(found, config(files), "cpu").reason
    with pytest.raises(InputError, match="--loader ffcv packs images"):
        choose_loader(found, config(files, loader="ffcv"), "cpu")


def nan_at(folder: Path) -> dict[str, Any]:
    rows = ROWS.copy()
    rows[[3, 8], 0] = np.nan
    np.save(folder / "x.npy", rows)
    return {}


def narrow_test(folder: Path) -> dict[str, Any]:
    np.savez(folder / "e.npz", features=ROWS[:3, :2], labels=LABELS[:3])
    return {"test_features": folder / "e.npz"}


BAD: dict[str, tuple[Callable[[Path], dict[str, Any]], str]] = {
    "no features": (lambda folder: {"features": None}, "needs --features FILE"),
    "no labels": (lambda folder: {"labels": None}, "holds no labels; give them with --labels"),
    "rows that are not finite": (nan_at, r"2 bad rows: .*x.npy, row 3 holds .*; .*x.npy, row 8"),
    "too few labels": (
        lambda folder: np.save(folder / "y.npy", LABELS[:50]) or {},
        r"y.npy has 50 rows and the features have 60: row 50 is without a label",
    ),
    "too many": (
        lambda folder: np.save(folder / "y.npy", np.tile(LABELS, 2)) or {},
        r"120 rows and the features have 60: row 60 is without features",
    ),
    "one-hot rows": (lambda folder: np.save(folder / "y.npy", np.eye(3)[LABELS]) or {}, "give one array"),
    "missing labels": (
        lambda folder: {"labels": lines(folder / "y.csv", "label", ["ant"] * 30 + ["nan"] + ["bee"] * 29)},
        "y.csv, row 30 has no label",
    ),
    "ids that stand twice": (
        lambda folder: {"labels": lines(folder / "y.csv", "id,label", [f"{row % 59},a" for row in range(N)])},
        r"y.csv, row 59 has the id '0' of row 0",
    ),
    "unknown ids": (
        lambda folder: {"clean_csv": lines(folder / "t.csv", "id", ["1", "x7", "99"])},
        r"2 bad rows: .*id 'x7' is no row of the features; .*'99'",
    ),
    "trusted twice": (
        lambda folder: {"clean_csv": lines(folder / "t.csv", "id", ["1", "1"])},
        "has the id '1' of row 0",
    ),
    "trusted labels of nothing": (
        lambda folder: {"clean_csv": lines(folder / "t.csv", "label", ["0"])},
        "does not say which rows it is of; add a column id",
    ),
    "a row number beyond": (
        lambda folder: np.save(folder / "t.npy", np.array([1, 60])) or {"clean_csv": folder / "t.npy"},
        "row 60 is outside 0…59",
    ),
    "a label that is no class": (
        lambda folder: {"test_csv": lines(folder / "e.csv", "id,label", ["1,7"])},
        "no class",
    ),
    "trusted and test": (
        lambda folder: {
            "clean_csv": lines(folder / "t.csv", "id", ["1", "2"]),
            "test_csv": lines(folder / "e.csv", "id", ["2", "3"]),
        },
        r"e.csv: row 2 \(2\) is trusted too",
    ),
    "another width": (narrow_test, "has 2 features a row and .* has 4"),
    "test labels alone": (lambda folder: {"test_labels": folder / "y.npy"}, "--test-labels goes with --test-features"),
    "trusted rows in two ways": (
        lambda folder: {"clean_csv": folder / "y.npy", "trusted_features": folder / "x.npy"},
        "--trusted-features and --trusted exclude each other",
    ),
    "images": (lambda folder: {"noisy_csv": folder / "y.npy"}, "--noisy-csv is for images"),
    "measurements": (
        lambda folder: {"labels": lines(folder / "y.csv", "label", [f"{row + 0.5}" for row in range(N)])},
        "measurements are no classes",
    ),
    "an inputs file of another length": (
        lambda folder: {"inputs_csv": lines(folder / "i.csv", "text", ["a", "b"])},
        "i.csv has 2 rows and .* has 60",
    ),
    "an inputs file of neither": (
        lambda folder: {"inputs_csv": lines(folder / "i.csv", "colour", ["a"] * N)},
        "no column path or text",
    ),
}


@pytest.mark.parametrize(("write", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(write: Callable[[Path], dict[str, Any]], message: str, files: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        source(files, **write(files))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"augment": "pad-crop"}, "data.augment=pad-crop is for images.*--augment none"),
        ({"image_size": 32}, "--image-size is for images"),
        ({"pixel_mean": (0.5,), "pixel_std": (0.5,)}, "data.pixel_mean is for images"),
        ({"validation_augment": True}, "data.validation_augment is for images"),
    ],
)
def test_what_is_for_images_is_refused(changes: dict[str, Any], message: str, files: Path) -> None:
    with pytest.raises(InputError, match=message):
        dataset(files, noise=NoiseConfig(kind="uniform", rate=0.2), clean_size=9, **changes)
