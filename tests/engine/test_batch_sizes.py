"""One image a process: refused where a network would have to normalise over it alone, and trained where not."""

from typing import Any

import pytest
import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.engine.batch_sizes import check_batch_sizes
from ebomlc_dist.engine.build import build
from ebomlc_dist.errors import InputError
from tests.support.runs import alone, tiny_config

SINGLE = {"name": "torchvision/resnet18"}
"""On digits of 8×8 its last maps are single pixels."""


@pytest.fixture(scope="module")
def digits() -> NoisyDataset:
    config = tiny_config("ce")
    return load_dataset(config.data, config.noise, config.seeds)


def config(method: str, noisy: int, clean: int, **sections: Any) -> RunConfig:
    return tiny_config(method, train={"global_noisy_batch_size": noisy, "global_clean_batch_size": clean}, **sections)


@pytest.mark.parametrize(
    ("asked", "world_size", "said"),
    [
        (config("ce", 1, 9, model=SINGLE), 1, "global_noisy_batch_size=1 on 1 process.*normalises.*give 2 or more"),
        (
            config("ce", 5, 9, model=SINGLE),
            3,
            "global_noisy_batch_size=5 on 3 process.*give 6 or more.*fewer processes",
        ),
        (config("ce", 2, 9, model=SINGLE), 4, "give 8 or more"),
        (config("ebomlc", 9, 3, model=SINGLE), 2, "global_clean_batch_size=3.*give 4 or more"),
        (
            config("ebomlc", 9, 1, meta_model={"batch_norm": True}),
            1,
            "global_clean_batch_size=1.*meta_model.batch_norm",
        ),
    ],
)
def test_refused(asked: RunConfig, world_size: int, said: str, digits: NoisyDataset) -> None:
    with pytest.raises(InputError, match=said):
        check_batch_sizes(asked, digits, world_size)
    if world_size == 1:
        with pytest.raises(InputError, match=said):
            build(asked, digits, alone())


@pytest.mark.parametrize(
    ("asked", "world_size"),
    [
        (config("ce", 4, 1, model=SINGLE), 2),
        (config("ce", 1, 1, model={**SINGLE, "norm": "group"}), 1),
        (config("ce", 2, 1, model={**SINGLE, "norm": "sync"}), 2),
        (config("ce", 1, 1, model={"name": "resnet8"}), 1),
        (config("ebomlc", 1, 1), 1),
    ],
)
def test_enough(asked: RunConfig, world_size: int, digits: NoisyDataset) -> None:
    state = torch.get_rng_state()
    check_batch_sizes(asked, digits, world_size)
    assert torch.equal(torch.get_rng_state(), state)
