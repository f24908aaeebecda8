"""Between epochs: values of whole sets from all ranks, fresh starts, and streams that change."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.epochs import RunDatasetReducer, begin_epoch, resume_epoch
from ebomlc_dist.engine.optimizers import make_main_optimizer
from ebomlc_dist.engine.run import train
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.numerics.flat import FlatNetwork
from tests.methods.rows import ROWS
from tests.support.pool import RankPool
from tests.support.runs import alone, outcome, runtime_of, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


def training_of(method: str, runtime, **settings: object) -> Training:
    config = tiny_config(method, model={"norm": "group"})
    config = config.model_copy(update={"method": config_from_mapping({"name": method, **settings})})
    return build(config, load_dataset(config.data, config.noise, config.seeds), runtime)


def asked(communicator: Communicator) -> dict[str, Tensor]:
    training = training_of("dividemix", runtime_of(communicator), warm_up_epochs=1)
    interlude, main = RunDatasetReducer(training), training.networks["main"]

    def values(images: Tensor, labels: Tensor) -> Tensor:
        assert not main.module.training
        return torch.cat([main(images)[0], labels[:, None].float()], dim=1)

    begin_epoch(training, 1)
    return {
        "noisy": interlude.gather_noisy(values),
        "clean": interlude.sum_clean(values),
        "once": interlude.from_first_rank(lambda: torch.full((2,), float(communicator.rank)), like=torch.zeros(2)),
        "probability": training.method.state["clean_probability"],
        "labelled": training.method.selections()["main_labelled"],
    }


def test_two_ranks_find_what_one_finds(two_ranks: RankPool) -> None:
    expected = asked(Communicator(torch.device("cpu")))
    for found in two_ranks.run(asked):
        torch.testing.assert_close(found["noisy"], expected["noisy"], rtol=1e-5, atol=1e-6)
        assert torch.equal(found["noisy"][:, -1], expected["noisy"][:, -1])
        torch.testing.assert_close(found["clean"], expected["clean"], rtol=1e-5, atol=1e-4)
        assert found["once"].tolist() == [0.0, 0.0]
        torch.testing.assert_close(found["probability"], expected["probability"], rtol=1e-3, atol=1e-3)
        assert torch.equal(found["labelled"], expected["labelled"])
    first, second = two_ranks.run(asked)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_values_stand_where_their_samples_stand() -> None:
    training = training_of("ce", alone())
    labels = RunDatasetReducer(training).gather_noisy(lambda images, labels: labels.float())
    assert torch.equal(labels, training.dataset.noisy_labels.float())
    assert training.networks["main"].module.training


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_restarted_network_is_the_one_the_run_began_with(optimizer: str) -> None:
    config = tiny_config("dividemix", optim={"main_optimizer": optimizer})
    training = build(config, load_dataset(config.data, config.noise, config.seeds), alone())
    interlude = RunDatasetReducer(training)
    start = {name: training.networks[name].vector.detach().clone() for name in ("main", "peer")}
    fresh = {name: t.clone() for name, t in training.optimizers["main"].state().items()}
    begin_epoch(training, 0)
    for step in range(3):
        training.step(training.loader.batch(step))
        training.optimizers["main"].end("epoch")
    random = torch.get_rng_state()
    interlude.restart("main")
    assert torch.equal(training.networks["main"].vector, start["main"])
    assert not torch.equal(training.networks["peer"].vector, start["peer"])
    assert all(torch.equal(t, fresh[name]) for name, t in training.optimizers["main"].state().items())
    assert torch.equal(torch.get_rng_state(), random)


def test_two_main_models_begin_apart_and_the_first_as_alone() -> None:
    pair, single = training_of("coteaching-plus", alone()), training_of("ce", alone())
    assert torch.equal(pair.networks["main"].vector, single.networks["main"].vector)
    assert not torch.equal(pair.networks["main"].vector, pair.networks["peer"].vector)


def test_selected_streams_hold_two_views_of_their_own_samples() -> None:
    training = training_of("dividemix", alone(), warm_up_epochs=1, clean_images="labelled")
    begin_epoch(training, 1)
    dataset, steps = training.dataset, training.loader.steps_per_epoch
    given = torch.cat([dataset.noisy_labels, dataset.clean_labels])
    for name, allowed in training.method.selections().items():
        seen = []
        for step in range(steps, steps + 12):
            first, second = training.loader.batch(step).selected[name]
            assert torch.equal(first.positions, second.positions)
            assert torch.equal(first.labels, given[first.positions])
            assert not torch.equal(first.images, second.images)
            seen.append(first.positions)
        assert set(torch.cat(seen).tolist()) == set(allowed.tolist())
    batch = training.loader.batch(steps + 3)
    resume_epoch(training, 1)
    again = training.loader.batch(steps + 3)
    for name, views in batch.selected.items():
        assert all(torch.equal(a.images, b.images) for a, b in zip(views, again.selected[name], strict=True))
    assert torch.equal(batch.key, again.key)
    assert not torch.equal(batch.key, training.loader.batch(steps + 4).key)


def test_schedules() -> None:
    """What the rate is in each of ten epochs; the rule that look-aheads read says the same at a milestone."""

    def rates(**settings: object) -> list[float]:
        config = OptimConfig(main_lr=1.0, milestones=(0.4, 0.8), **settings)
        optimizer = make_main_optimizer(FlatNetwork(torch.nn.Linear(2, 2)), config, 10)
        found = []
        for _ in range(10):
            assert optimizer.rule().rate is optimizer.rate
            found.append(float(optimizer.rate))
            optimizer.apply(torch.ones_like(optimizer.network.vector), torch.zeros(()))
            optimizer.end("epoch")
        return found

    assert rates() == pytest.approx([1.0] * 4 + [0.1] * 4 + [0.01] * 2)
    assert rates(schedule="linear") == pytest.approx([1.0] * 4 + [1 - e / 6 for e in range(6)])
    cosine = rates(schedule="cosine")
    assert cosine[0] == 1.0
    assert cosine[5] == pytest.approx(0.5, abs=1e-6)
    assert cosine == sorted(cosine, reverse=True)


def test_what_get_lr_gives_is_decayed_twice_in_the_epoch_after_a_milestone() -> None:
    """As torch's own scheduler says when it is asked; SGD's step keeps the rate itself, and a restart forgets it."""
    config = OptimConfig(main_lr=1.0, milestones=(0.2, 0.6), look_ahead_rate="get_lr")
    optimizer = make_main_optimizer(FlatNetwork(torch.nn.Linear(2, 2)), config, 5)
    plain = torch.optim.SGD([torch.zeros(2, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(plain, [1, 3], gamma=0.1)
    found = []
    for _ in range(5):
        with warnings.catch_warnings(action="ignore"):  # asked for outside of its own step
            assert float(optimizer.rule().rate) == pytest.approx(schedule.get_lr()[0])
        found.append((float(optimizer.rule().rate), float(optimizer.rate)))
        optimizer.apply(torch.ones_like(optimizer.network.vector), torch.zeros(()))
        optimizer.end("epoch")
        plain.step()
        schedule.step()
    assert found == [pytest.approx(pair) for pair in ((1, 1), (0.01, 0.1), (0.1, 0.1), (0.001, 0.01), (0.01, 0.01))]
    state = {name: t.clone() for name, t in optimizer.state().items()}
    optimizer.restart()
    assert float(optimizer.rule().rate) == 1.0
    optimizer.load(state, 3)
    assert float(optimizer.rule().rate) == pytest.approx(0.001)


def test_a_late_beta1_begins_at_the_first_milestone_and_survives_a_restart() -> None:
    config = OptimConfig(main_optimizer="adam", late_beta1=0.1, milestones=(0.4,))
    optimizer = make_main_optimizer(FlatNetwork(torch.nn.Linear(2, 2)), config, 10)
    found = []
    for _ in range(6):
        found.append(optimizer.rule().betas[0])
        optimizer.apply(torch.ones_like(optimizer.network.vector), torch.zeros(()))
        optimizer.end("epoch")
    assert found == [0.9] * 4 + [0.1] * 2
    state = {name: t.clone() for name, t in optimizer.state().items()}
    optimizer.restart()
    assert optimizer.rule().betas[0] == 0.9
    optimizer.load(state, 6)
    assert optimizer.rule().betas[0] == 0.1


@pytest.mark.parametrize("method", [name for name, row in ROWS.items() if row.short_run or name == "glc"])
def test_accuracies_of_every_epoch_of_every_stage(tmp_path: Path, method: str) -> None:
    config = tiny_config(method)
    config = config.model_copy(update={"method": config_from_mapping({"name": method, **ROWS[method].short_run})})
    summary = train(config, tmp_path, quiet=True, runtime=alone())
    stages = 2 if method == "glc" else 1
    accuracies = [line["eval/accuracy"] for line in outcome(tmp_path)[1] if "eval/accuracy" in line]
    assert len(accuracies) == stages * config.train.epochs
    assert summary["accuracy_last"] == accuracies[-1]
    # A score is the last stage's: what came before it was a means.
    assert summary["accuracy_best"] == max(accuracies[-config.train.epochs :])
    assert summary["accuracy_last10_mean"] == pytest.approx(
        sum(accuracies[-config.train.epochs :]) / config.train.epochs
    )


def test_whole_sets_are_seen_without_augmentation() -> None:
    training = training_of("ce", alone())
    dataset = training.dataset
    pixels = RunDatasetReducer(training).gather_noisy(lambda images, labels: images)
    mean, std = (values.view(-1, 1, 1) for values in (dataset.mean, dataset.std))
    expected = (dataset.images[dataset.noisy_index] / 255 - mean) / std
    assert torch.equal(pixels, expected)
    # Negative control: what is trained on is augmented.
    batch = training.loader.batch(0).noisy
    assert not torch.equal(batch.images, expected[batch.positions])
