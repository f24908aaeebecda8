"""EBOMLC-S: EBOMLC where the labels shown are the true ones, and a corrector that corrects where they are not."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError

from ebomlc_dist.data.build import load_dataset
from ebomlc_dist.data.held_out import held_out
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.run import train
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import config_from_mapping
from tests.support.lockstep import over_shards
from tests.support.problem import local_batch, make_learner, run_steps
from tests.support.runs import alone, tiny_config

CPU = torch.device("cpu")
IDENTITY = torch.eye(4).tolist()


def test_with_the_identity_and_the_papers_constants_it_is_ebomlc_bit_for_bit() -> None:
    def after(method: str, **settings: object) -> torch.Tensor:
        learner = make_learner(method, Communicator(CPU), barrier_strength=0.25, noisy_scale=0.5, **settings)
        run_steps(learner, 4)
        return torch.cat([network.vector.detach() for network in learner.networks.values()])

    plain = after("ebomlc")
    assert torch.equal(after("ebomlc-s", noise_process="known", transition=IDENTITY), plain)
    noisy = [[0.6, 0.4, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    assert not torch.equal(after("ebomlc-s", noise_process="known", transition=noisy), plain)


def test_the_labels_shown_depend_on_place_and_step_not_on_the_rank() -> None:
    def shown(rank: int, world_size: int, step: int = 3) -> torch.Tensor:
        learner = make_learner("ebomlc-s", Communicator(CPU), epoch=0)
        return learner.method.shown_labels(local_batch(learner.method, step, rank, world_size))

    whole = shown(0, 1)
    assert torch.equal(torch.cat(over_shards(2, lambda rank, _: shown(rank, 2))), whole)
    assert not torch.equal(shown(0, 1, step=4), whole)


def test_what_is_held_out_is_not_trained_on_and_each_class_has_its_share() -> None:
    config = tiny_config("ebomlc-s", data={"noisy_size": None, "clean_size": 100})
    dataset = load_dataset(config.data, config.noise, config.seeds)
    training = build(config, dataset, alone())
    begin_epoch(training, 0)
    rows = held_out(dataset.clean_labels, 0.2)
    assert torch.equal(dataset.clean_labels[rows].bincount(), torch.full((10,), 2))
    kept = dataset.clean_labels[~rows]
    positions = torch.cat([training.loader.batch(step).clean.positions for step in range(30)])
    assert set(positions.tolist()) == set(range(len(kept)))
    batch = training.loader.batch(0).clean
    assert torch.equal(batch.labels, kept[batch.positions])
    assert not held_out(dataset.clean_labels, 0.0).any()
    assert held_out(torch.tensor([0, 0, 1]), 0.9).tolist() == [False, True, False]


def test_impossible_matrices_are_refused() -> None:
    for settings in ({"noise_process": "known"}, {"transition": IDENTITY}):
        with pytest.raises(ValidationError, match="go together"):
            config_from_mapping({"name": "ebomlc-s", **settings})
    with pytest.raises(ValidationError, match="K rows of K numbers"):
        config_from_mapping({"name": "ebomlc-s", "noise_process": "known", "transition": [[0.5, 0.4], [0.0, 1.0]]})
    with pytest.raises(InputError, match="2 rows and there are 4 classes"):
        make_learner("ebomlc-s", Communicator(CPU), noise_process="known", transition=torch.eye(2).tolist())


def test_the_corrector_learns_to_correct_digits_where_ebomlcs_learns_to_copy(tmp_path: Path) -> None:
    """40 % uniform noise, 25 epochs: most wrong labels are corrected and most right ones kept; EBOMLC corrects none."""
    found = {}
    for method in ("ebomlc-s", "ebomlc"):
        changes = {"data": {"noisy_size": None, "clean_size": 100}, "optim": {"meta_lr": 1e-3}}
        config = tiny_config(method, train={"epochs": 25, "global_noisy_batch_size": 100}, **changes)
        found[method] = train(config, tmp_path / method, quiet=True, runtime=alone())
    assert found["ebomlc-s"]["wrong_labels_corrected"] > 50
    assert found["ebomlc-s"]["right_labels_kept"] > 80
    assert found["ebomlc"]["wrong_labels_corrected"] < 5
