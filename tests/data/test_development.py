"""Development images: noisy images whose true labels take the test set's place."""

import json
from pathlib import Path

import pytest
import torch

from ebomlc_dist.config import DataConfig, NoiseConfig, RunConfig, SeedConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.data.split_file import split_document
from ebomlc_dist.engine.load_run import load_trained, stored_config
from ebomlc_dist.engine.run import train
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from tests.support.runs import alone, tiny_config

NOISE, SEEDS = NoiseConfig(kind="uniform", rate=0.4), SeedConfig()


def digits(**data: object) -> NoisyDataset:
    fields = {"dataset": "digits", "clean_size": 50, "development_size": 200, **data}
    return load_dataset(DataConfig(**fields), NOISE, SEEDS)


def test_they_are_neither_trained_on_nor_are_they_the_test_set() -> None:
    found, plain = digits(), digits(development_size=0)
    index = found.development_index
    assert len(index) == len(found.test_labels) == 200
    assert not torch.isin(index, found.noisy_index).any()
    assert not torch.isin(index, found.clean_index).any()
    assert torch.equal(found.clean_index, plain.clean_index)
    assert torch.equal(torch.cat([found.noisy_index, index]).sort().values, plain.noisy_index)
    assert torch.equal(found.test_images, plain.images[index])
    truth = torch.full((len(plain.images),), -1).scatter(0, plain.noisy_index, plain.true_labels)
    assert torch.equal(found.test_labels, truth[index])
    assert not torch.equal(plain.test_labels[:200], found.test_labels)


def test_they_are_stratified_and_a_function_of_the_split_seed() -> None:
    found = digits()
    assert torch.equal(found.development_index, digits().development_index)
    assert max(abs(int(n) - 20) for n in found.test_labels.bincount(minlength=10)) <= 1
    other = load_dataset(DataConfig(dataset="digits", clean_size=50, development_size=200), NOISE, SeedConfig(split=1))
    assert not torch.equal(found.development_index, other.development_index)


def test_noisy_size_counts_what_is_trained_on() -> None:
    found = digits(noisy_size=500)
    assert len(found.noisy_index) == 500
    assert len(found.development_index) == 200


def test_under_a_leaky_split_they_are_no_trusted_image_either() -> None:
    found = digits(split_kind="leaky", validation_size=50)
    assert torch.isin(found.clean_index, found.noisy_index).any()
    for trained_or_chosen_by in (found.noisy_index, found.clean_index, found.validation_index):
        assert not torch.isin(found.development_index, trained_or_chosen_by).any()


def test_a_split_file_holds_them(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps(split_document(digits())))
    for size in (200, 0):
        again = digits(split=path, development_size=size)
        assert torch.equal(again.development_index, digits().development_index)
        assert torch.equal(again.test_labels, digits().test_labels)
    with pytest.raises(InputError, match=r"development_size=100 and .* holds 200 development images"):
        digits(split=path, development_size=100)


def test_a_finished_run_is_read_again_with_them(tmp_path: Path) -> None:
    config: RunConfig = tiny_config("ce", data={"development_size": 100})
    summary = train(config, tmp_path / "run", runtime=alone(), quiet=True)
    assert summary["num_test"] == 100
    stored = stored_config(RunFolder(tmp_path / "run"))
    dataset = load_dataset(stored.data, stored.noise, stored.seeds)
    assert len(dataset.test_labels) == 100
    load_trained(stored, RunFolder(tmp_path / "run"), dataset, alone())


def test_unknown_truth_and_too_many_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.development_size asks for 5000 noisy images"):
        digits(development_size=5000)
