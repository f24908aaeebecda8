"""The trusted and the noisy set: stratified, disjoint or leaky, and stored so that another run gets the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig
from ebomlc_dist.data import run_data
from ebomlc_dist.data.dataset import NoisyDataset, Source
from ebomlc_dist.data.run_data import fingerprint_of, load_dataset
from ebomlc_dist.data.split_file import split_document
from ebomlc_dist.errors import InputError
from tests.data.support import make_source, write_image, write_tree

UNIFORM = NoiseConfig(kind="uniform", rate=0.5)


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., NoisyDataset]:
    """`load_dataset` on a source made in memory; keywords go to the configuration of the data."""

    def loaded(
        source: Source | None = None,
        noise: NoiseConfig = UNIFORM,
        seeds: SeedConfig | None = None,
        needs_clean: bool = True,
        **data: Any,
    ) -> NoisyDataset:
        monkeypatch.setattr(run_data, "load_source", lambda config, progress, model: source or make_source())
        config = DataConfig.model_validate({"clean_size": 20} | data)
        return load_dataset(config, noise, seeds or SeedConfig(), needs_clean=needs_clean)

    return loaded


Load = Callable[..., NoisyDataset]


def indices(dataset: NoisyDataset) -> tuple[set[int], set[int]]:
    return set(dataset.noisy_index.tolist()), set(dataset.clean_index.tolist())


@pytest.mark.parametrize(("clean_size", "counts"), [(20, {5}), (22, {5, 6}), (4, {1})])
def test_disjoint_and_stratified(load: Load, clean_size: int, counts: set[int]) -> None:
    dataset = load(clean_size=clean_size)
    noisy, clean = indices(dataset)
    assert len(clean) == len(dataset.clean_index) == clean_size
    assert noisy | clean == set(range(160))
    assert not noisy & clean
    assert set(dataset.clean_labels.bincount().tolist()) == counts
    assert torch.equal(dataset.clean_labels, make_source().labels[dataset.clean_index])


def test_split_has_its_own_seed(load: Load) -> None:
    base = load()
    assert indices(base) != indices(load(seeds=SeedConfig(split=1)))
    noise = load(seeds=SeedConfig(noise=1))
    assert indices(base) == indices(noise)
    assert not torch.equal(base.noisy_labels, noise.noisy_labels)


def test_noisy_label_of_an_image_does_not_depend_on_the_split(load: Load) -> None:
    one, other = load(), load(seeds=SeedConfig(split=1), noisy_size=50)
    labels = dict(zip(one.noisy_index.tolist(), one.noisy_labels.tolist(), strict=True))
    common = [index for index in other.noisy_index.tolist() if index in labels]
    assert len(common) > 20
    found = dict(zip(other.noisy_index.tolist(), other.noisy_labels.tolist(), strict=True))
    assert all(labels[index] == found[index] for index in common)


def test_trusted_sets_are_nested_in_their_size(load: Load) -> None:
    assert indices(load(clean_size=8))[1] < indices(load(clean_size=20))[1]


def test_noisy_size_is_in_proportion(load: Load) -> None:
    source = make_source(labels=torch.tensor([0] * 80 + [1] * 40 + [2] * 20 + [3] * 20))
    dataset = load(source, clean_size=40, noisy_size=60)
    assert dataset.true_labels is not None
    assert dataset.true_labels.bincount().tolist() == [35, 15, 5, 5]
    assert not indices(dataset)[0] & indices(dataset)[1]
    with pytest.raises(InputError, match="asks for 121 noisy images, and there are 120"):
        load(source, clean_size=40, noisy_size=121)


def test_leaky_shares_all_but_chance(load: Load) -> None:
    """Of C trusted images among N, C·(N − C)/N are in the noisy set too: as 979 of 1,000 among 50,000."""
    shared = []
    for seed in range(60):
        noisy, clean = indices(load(split_kind="leaky", seeds=SeedConfig(seed=seed)))
        assert len(noisy) == 140
        shared.append(len(noisy & clean))
    assert sum(shared) / 60 == pytest.approx(20 * 140 / 160, abs=1)
    assert len(set(shared)) > 1


def test_own_trusted_set_is_honoured(load: Load) -> None:
    trusted = torch.tensor([0, 1, 2, 3, 7])
    dataset = load(make_source(trusted=trusted))
    assert torch.equal(dataset.clean_index, trusted)
    assert indices(dataset)[0] == set(range(160)) - {0, 1, 2, 3, 7}
    assert torch.equal(dataset.clean_labels, make_source().labels[trusted])
    with pytest.raises(InputError, match="leaky split draws the trusted set itself"):
        load(make_source(trusted=trusted), split_kind="leaky")


def test_own_noisy_labels_have_no_truth(load: Load) -> None:
    source = make_source(trusted=torch.arange(8), labels_are_true=False)
    dataset = load(source, NoiseConfig())
    assert dataset.true_labels is None
    assert dataset.noise_rate_nominal is dataset.noise_rate_realised is None
    assert torch.equal(dataset.noisy_labels, source.labels[dataset.noisy_index])
    noisy = load(source, UNIFORM)
    assert noisy.true_labels is not None
    assert torch.equal(noisy.true_labels, source.labels[noisy.noisy_index])


def test_no_trusted_set_to_be_had(load: Load) -> None:
    source = make_source(labels_are_true=False)
    with pytest.raises(InputError, match="needs trusted images and the labels of these data are taken as noisy"):
        load(source, NoiseConfig())
    dataset = load(source, NoiseConfig(), needs_clean=False)
    assert len(dataset.clean_index) == 0
    assert len(dataset.noisy_index) == 160
    assert len(load(source, UNIFORM).clean_index) == 20


def test_split_does_not_depend_on_the_method(load: Load) -> None:
    assert indices(load(needs_clean=True)) == indices(load(needs_clean=False))


def test_class_too_small(load: Load) -> None:
    source = make_source(labels=torch.tensor([0] * 100 + [1] * 50 + [2] * 4 + [3] * 6))
    with pytest.raises(InputError, match=r"need 5 of each class, but class 'class2' has only 4.*--clean-size 12 or"):
        load(source)
    assert len(load(source, clean_size=12).clean_index) == 12
    with pytest.raises(InputError, match="need 4 of each class"):
        load(source, clean_size=16)


def test_chosen_trusted_images_are_what_each_class_can_give(load: Load, caplog: pytest.LogCaptureFixture) -> None:
    """Small sets: the rarest class bounds its own share and no other's."""
    source = make_source(labels=torch.tensor([0] * 80 + [1] * 60 + [2] * 14 + [3] * 6), labels_are_true=False)
    dataset = load(source, NoiseConfig(), clean_from_noisy=True, clean_size=100)
    assert dataset.clean_labels.bincount().tolist() == [25, 25, 7, 3]
    assert caplog.messages == ["100 trusted images are asked for; 60 can be had, half of a class at most"]
    caplog.clear()
    enough = load(source, NoiseConfig(), clean_from_noisy=True, clean_size=12)
    assert enough.clean_labels.bincount().tolist() == [3] * 4
    assert caplog.messages == []
    lonely = make_source(labels=torch.tensor([0] * 80 + [1] * 60 + [2] * 19 + [3]), labels_are_true=False)
    with pytest.raises(InputError, match="1 of 4 classes have no trusted image: 'class3'"):
        load(lonely, NoiseConfig(), clean_from_noisy=True, clean_size=12)


def test_class_without_images(load: Load) -> None:
    with pytest.raises(InputError, match="1 of 5 classes have no training image: 'none'"):
        load(make_source(class_names=["a", "b", "c", "d", "none"]), needs_clean=False)


@pytest.mark.parametrize("needs_clean", [True, False])
def test_class_whose_noisy_labels_were_all_corrected(
    load: Load, needs_clean: bool, caplog: pytest.LogCaptureFixture
) -> None:
    labels = torch.arange(160) % 4
    labels[(labels == 2) & (torch.arange(160) >= 4)] = 1
    source = make_source(labels=labels, trusted=torch.arange(4), labels_are_true=False)
    dataset = load(source, NoiseConfig(), needs_clean=needs_clean)
    assert dataset.noisy_labels.bincount(minlength=4)[2] == 0
    assert caplog.messages == ["classes that have trusted images and no noisy one: 'class2'"]


def test_class_without_a_trusted_image(load: Load) -> None:
    source = make_source(trusted=torch.tensor([0, 1, 4]))
    with pytest.raises(InputError, match="2 of 4 classes have no trusted image: 'class2'; 'class3'"):
        load(source)
    assert len(load(source, needs_clean=False).clean_index) == 3
    with pytest.raises(InputError, match="1 of 4 classes have no trusted image"):
        load(clean_size=3)


def test_a_single_class_is_no_problem_to_learn(tmp_path: Path) -> None:
    write_image(tmp_path / "train" / "only" / "0.png")
    with pytest.raises(InputError, match="folder has 1 class; a classifier needs 2 or more"):
        load_dataset(DataConfig(dataset="folder", data_dir=tmp_path), UNIFORM, SeedConfig())


def test_folder_end_to_end(tmp_path: Path) -> None:
    config = write_tree(tmp_path)
    dataset = load_dataset(config, NoiseConfig(), SeedConfig())
    assert [dataset.ids[index] for index in dataset.clean_index.tolist()] == [
        f"clean/{name}/{number}.png" for name in ("ant", "bee") for number in range(3)
    ]
    assert dataset.true_labels is None


def test_rates_and_provenance(load: Load) -> None:
    dataset = load(seeds=SeedConfig(seed=3, noise=5))
    assert dataset.true_labels is not None
    assert dataset.noise_rate_nominal == 0.5
    assert dataset.noise_rate_realised == pytest.approx((dataset.true_labels != dataset.noisy_labels).float().mean())
    assert dataset.provenance == {
        "split_kind": "disjoint",
        "split_seed": 3,
        "noise_kind": "uniform",
        "noise_seed": 5,
    }


CHANGES = {
    "pixel": lambda source: {"images": source.images.index_fill(0, torch.tensor([3]), 7)},
    "label": lambda source: {"labels": source.labels.flip(0)},
    "test": lambda source: {"test_labels": source.test_labels.flip(0)},
    "classes": lambda source: {"class_names": source.class_names[::-1]},
    "shape": lambda source: {"images": source.images.transpose(2, 3)},
    "trusted": lambda source: {"trusted": torch.tensor([1])},
}


@pytest.mark.parametrize("name", CHANGES)
def test_fingerprint_follows_the_data(name: str) -> None:
    assert fingerprint_of(make_source()) == fingerprint_of(make_source())
    assert fingerprint_of(make_source()) != fingerprint_of(make_source(**CHANGES[name](make_source())))


def stored(dataset: NoisyDataset, path: Path, **changes: Any) -> Path:
    path.write_text(json.dumps(split_document(dataset) | changes))
    return path


@pytest.mark.parametrize("split_kind", ["disjoint", "leaky"])
@pytest.mark.parametrize("noise", [UNIFORM, NoiseConfig()])
def test_split_round_trip(load: Load, tmp_path: Path, split_kind: str, noise: NoiseConfig) -> None:
    first = load(split_kind=split_kind, noisy_size=100, seeds=SeedConfig(seed=8))
    again = load(noise=noise, split=stored(first, tmp_path / "split.json"), clean_size=4)
    for name in ("noisy_index", "noisy_labels", "true_labels", "clean_index", "clean_labels"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert split_document(again) == split_document(first)


def test_round_trip_of_own_noisy_labels(load: Load, tmp_path: Path) -> None:
    source = make_source(trusted=torch.arange(8), labels_are_true=False)
    first = load(source, NoiseConfig())
    again = load(source, NoiseConfig(), split=stored(first, tmp_path / "split.json"))
    assert again.true_labels is None
    assert split_document(again) == split_document(first)


def test_trusted_images_have_the_label_that_the_noise_gave_them(load: Load, tmp_path: Path) -> None:
    """The noise is drawn over all images, so that it does not depend on which of them are trusted."""
    small, large = load(clean_size=20), load(clean_size=40)
    noisy = dict(zip(small.noisy_index.tolist(), small.noisy_labels.tolist(), strict=True))
    assert small.clean_old_labels is not None
    assert large.clean_old_labels is not None
    pairs = dict(zip(large.clean_index.tolist(), large.clean_old_labels.tolist(), strict=True))
    shared = noisy.keys() & pairs.keys()
    assert len(shared) == 20
    assert all(noisy[image] == pairs[image] for image in shared)
    counts = large.old_label_counts()
    assert counts is not None
    assert int(counts.sum()) == 40
    assert int(counts.diagonal().sum()) == int((large.clean_labels == large.clean_old_labels).sum()) < 40
    again = load(split=stored(small, tmp_path / "split.json"))
    assert torch.equal(again.clean_old_labels, small.clean_old_labels)


def test_own_trusted_images_have_the_old_labels_that_came_with_them(load: Load, tmp_path: Path) -> None:
    old = {"trusted": torch.tensor([9, 2, 4, 7]), "trusted_old_labels": torch.tensor([3, -1, 0, 1])}
    source = make_source(labels_are_true=False, **old)
    own = load(source, NoiseConfig())
    assert own.clean_index.tolist() == [2, 4, 7, 9]
    assert own.clean_old_labels.tolist() == [-1, 0, 1, 3]
    assert int(own.old_label_counts().sum()) == 3
    # Added noise takes their place, as it does with all labels.
    added = load(source, NoiseConfig(kind="flip", rate=1.0))
    assert (added.clean_old_labels != added.clean_labels).all()
    silent = load(make_source(labels_are_true=False, trusted=old["trusted"]), NoiseConfig())
    assert silent.clean_old_labels is None
    assert silent.fingerprint != own.fingerprint
    assert silent.old_label_counts() is None


def test_a_split_of_the_first_schema_is_read(load: Load, tmp_path: Path) -> None:
    first = load()
    document = split_document(first) | {"split_schema": 1}
    for name in ("clean_labels", "clean_old_labels", "clean_purity"):
        del document[name]
    path = tmp_path / "split.json"
    path.write_text(json.dumps(document))
    again = load(split=path)
    assert torch.equal(again.clean_index, first.clean_index)
    assert again.clean_old_labels is None


def test_before_it_is_chosen_a_trusted_set_from_the_noisy_one_is_drawn_by_noisy_label(
    load: Load, tmp_path: Path
) -> None:
    dataset = load(clean_from_noisy=True)
    noisy, clean = indices(dataset)
    assert (noisy | clean, noisy & clean) == (set(range(160)), set())
    assert dataset.clean_labels.bincount().tolist() == [5, 5, 5, 5]
    assert dataset.from_noisy
    assert dataset.purity is None
    truth = make_source().labels[dataset.clean_index]
    assert torch.equal(dataset.clean_true_labels, truth)
    assert dataset.true_purity == float((truth == dataset.clean_labels).double().mean()) < 1
    # What the corrector would be shown is what it would be asked for.
    assert dataset.clean_old_labels is None
    path = stored(dataset, tmp_path / "split.json", clean_purity={"value": 0.5, "low": 0.25, "high": 0.75})
    again = load(split=path, clean_from_noisy=True)
    assert torch.equal(again.clean_labels, dataset.clean_labels)
    assert again.purity == {"value": 0.5, "low": 0.25, "high": 0.75}
    assert load(split=path).from_noisy


def test_where_a_trusted_set_from_the_noisy_one_makes_no_sense(load: Load, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="data without trusted images"):
        load(make_source(trusted=torch.arange(8), labels_are_true=False), NoiseConfig(), clean_from_noisy=True)
    with pytest.raises(InputError, match="split_kind=disjoint"):
        load(clean_from_noisy=True, split_kind="leaky")
    with pytest.raises(InputError, match="has a trusted set already"):
        load(clean_from_noisy=True, split=stored(load(), tmp_path / "split.json"))


def test_split_holds_no_true_labels_and_is_small(load: Load) -> None:
    document = split_document(load())
    assert "true" not in json.dumps(document)
    assert len(json.dumps(document)) < 10 * 160 + 600


def test_split_of_other_data(load: Load, tmp_path: Path) -> None:
    path = stored(load(), tmp_path / "split.json")
    other = make_source(images=make_source().images + 1)
    with pytest.raises(InputError, match="belongs to other data: pixels, labels or their order differ"):
        load(other, split=path)
    with pytest.raises(InputError, match="split of 160 images in 4 classes, these data have 80 in 4"):
        load(make_source(per_class=20), split=path)


def test_split_with_another_noise(load: Load, tmp_path: Path) -> None:
    path = stored(load(), tmp_path / "split.json")
    for noise in (NoiseConfig(kind="flip", rate=0.5), NoiseConfig(kind="uniform", rate=0.2)):
        with pytest.raises(InputError, match=r"holds labels with uniform noise at rate 0.5, asked for is"):
            load(noise=noise, split=path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"clean_index": [0, 0]}, "indices are out of range or doubled"),
        ({"clean_index": [160]}, "indices are out of range"),
        ({"noisy_index": [1]}, "do not match the indices"),
        ({"clean_index": [-1]}, "is no split.json of this program: clean_index.0"),
        ({"clean_index": [1.5]}, "is no split.json of this program: clean_index.0"),
        ({"noisy_index": [0], "noisy_labels": [4]}, "holds label 4, 0…3 are allowed"),
        ({"noisy_index": [0], "noisy_labels": [2**70]}, "is no split.json of this program: noisy_labels.0"),
        ({"clean_old_labels": [0]}, "do not match the indices"),
        ({"clean_old_labels": [-1] * 19 + [4]}, "holds label 4, 0…3 are allowed"),
        ({"clean_old_labels": [-2] * 20}, "is no split.json of this program: clean_old_labels.0"),
        ({"clean_labels": [0]}, "do not match the indices"),
        ({"clean_purity": {"value": 2.0, "low": 0.0, "high": 1.0}}, "is no split.json of this program: clean_purity"),
        ({"split_schema": 5}, "is no split.json of this program: split_schema"),
        ({"more": 1}, "is no split.json of this program: more"),
        ({"noise_rate_nominal": 7.0}, "is no split.json of this program: noise_rate_nominal"),
        ({"fingerprint": None}, "is no split.json of this program: fingerprint"),
    ],
)
def test_damaged_split(load: Load, tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = stored(load(), tmp_path / "split.json", **changes)
    with pytest.raises(InputError, match=reason) as caught:
        load(split=path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b"[" * 100_000])
def test_split_that_is_no_document(load: Load, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "split.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"split\.json"):
        load(split=path)
    with pytest.raises(InputError, match=r"gone\.json does not exist"):
        load(split=tmp_path / "gone.json")


@pytest.mark.parametrize("size", [4, 8, 10])
def test_validation_images_leave_the_trusted_set_and_join_no_other(load: Load, size: int) -> None:
    whole, dataset = load(), load(validation_size=size)
    noisy, clean = indices(dataset)
    validation = set(dataset.validation_index.tolist())
    assert len(validation) == len(dataset.validation_index) == size
    assert validation | clean == indices(whole)[1]
    assert not validation & clean
    assert noisy == indices(whole)[0], "the same noisy set, so that runs with and without can be compared"
    assert torch.equal(dataset.validation_labels, make_source().labels[dataset.validation_index])
    counts = dataset.validation_labels.bincount(minlength=4)
    assert int(counts.max() - counts.min()) <= 1
    assert dataset.clean_old_labels is not None
    assert whole.clean_old_labels is not None
    old = dict(zip(whole.clean_index.tolist(), whole.clean_old_labels.tolist(), strict=True))
    assert [old[row] for row in dataset.clean_index.tolist()] == dataset.clean_old_labels.tolist()


def test_under_leaky_validation_images_are_a_third_draw_with_true_labels(load: Load) -> None:
    dataset = load(split_kind="leaky", clean_size=40, validation_size=40)
    noisy, clean = indices(dataset)
    validation = set(dataset.validation_index.tolist())
    assert (len(noisy), len(clean), len(validation)) == (120, 40, 40)
    assert indices(load(split_kind="leaky", clean_size=40)) == (noisy, clean)
    # A quarter of all images each, drawn independently.
    assert 0 < len(validation & clean) < 25
    assert 15 < len(validation & noisy) < 40
    assert torch.equal(dataset.validation_labels, make_source().labels[dataset.validation_index])


def test_validation_images_are_stored_with_the_split(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    first = load(validation_size=8)
    path.write_text(json.dumps(split_document(first)))
    for again in (load(split=path, validation_size=8), load(split=path)):
        assert torch.equal(again.validation_index, first.validation_index)
        assert torch.equal(again.clean_index, first.clean_index)
    with pytest.raises(InputError, match=r"validation_size=9 and .* holds 8 validation images"):
        load(split=path, validation_size=9)


def test_a_split_from_before_there_were_validation_images_has_none(load: Load, tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    document = split_document(load()) | {"split_schema": 2}
    del document["validation_index"]
    path.write_text(json.dumps(document))
    assert len(load(split=path).validation_index) == 0


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"validation_size": 20}, "would leave a class none to train on"),
        ({"validation_size": 17}, "would leave a class none to train on"),
        ({"validation_size": 4, "clean_from_noisy": True}, "leave one of them out"),
        ({"validation_augment": True, "augment": "resized-crop-flip"}, "does not go with resized-crop-flip"),
    ],
    ids=str,
)
def test_validation_images_that_cannot_be_had(load: Load, settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        load(**settings)


def test_validation_images_need_trusted_ones(load: Load) -> None:
    source = make_source(trusted=torch.zeros(0, dtype=torch.int64), labels_are_true=False)
    with pytest.raises(InputError, match="these data have none"):
        load(source, NoiseConfig(), validation_size=4, needs_clean=False)


@pytest.mark.parametrize(("key", "values"), [("pixel_mean", (0.5,)), ("pixel_std", (0.2, 0.2))])
def test_pixel_statistics_need_a_number_for_each_channel(load: Load, key: str, values: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="one each"):
        load(**{key: values})


def test_given_pixel_statistics_are_taken(load: Load) -> None:
    dataset = load(pixel_mean=(0.1, 0.2, 0.3), pixel_std=(0.5, 0.6, 0.7))
    assert dataset.mean.tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert dataset.std.tolist() == pytest.approx([0.5, 0.6, 0.7])
    with pytest.raises(InputError, match="go together"):
        load(pixel_mean=(0.1, 0.2, 0.3))
