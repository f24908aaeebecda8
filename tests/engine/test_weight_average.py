"""A run that predicts by the average of its weights, by mirrored views, and whose rate moves with every step."""

from pathlib import Path

import pytest
import torch

from ebomlc_dist.config import OptimConfig, RunConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.build import Training, build, make_method
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.evaluate import evaluate_test_set, images_of, outputs, predicting
from ebomlc_dist.engine.load_run import load_trained, stored_config
from ebomlc_dist.engine.optimizers import make_main_optimizer
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.weight_average import WeightAverage
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.models.hub import load_model
from ebomlc_dist.numerics.flat import FlatNetwork
from tests.support.pool import RankPool
from tests.support.runs import alone, assert_same, outcome, runtime_of, same_tensors, tiny_config, train_until

DECAY = 0.9
STEPWISE = {"schedule": "linear", "schedule_unit": "step", "warmup": 0.3, "milestones": ()}


def averaging(method: str = "ebomlc-s", **train: object) -> RunConfig:
    """Five steps an epoch: step 7 lies in the middle of one."""
    fields = {"epochs": 3, "global_noisy_batch_size": 60, "weight_average": DECAY, "evaluation_views": "flip", **train}
    return tiny_config(method, train=fields, optim=STEPWISE)


def begun(config: RunConfig) -> Training:
    dataset = load_dataset(config.data, config.noise, config.seeds)
    training = build(config, dataset, alone())
    begin_epoch(training, 0)
    return training


def test_the_average_is_the_equation_and_a_skipped_step_is_not_in_it() -> None:
    network = FlatNetwork(torch.nn.Linear(2, 2))
    average, expected = WeightAverage(network, DECAY), network.vector.detach().clone()
    torch.manual_seed(0)
    done = 0
    for step in range(150):
        with torch.no_grad():
            network.vector.copy_(torch.randn_like(network.vector))
        skipped = step % 3 == 2
        average.update(torch.tensor(skipped))
        if not skipped:
            decay = min(DECAY, (1 + done) / (10 + done))
            expected = decay * expected + (1 - decay) * network.vector.detach()
            done += 1
    assert (1 + done) / (10 + done) > DECAY
    assert torch.allclose(average.vector, expected, atol=1e-6)
    assert float(average.steps) == done


def test_training_never_sees_the_average(tmp_path: Path) -> None:
    train(averaging(), tmp_path / "with", runtime=alone(), quiet=True)
    train(averaging(weight_average=None), tmp_path / "without", runtime=alone(), quiet=True)
    own = outcome(tmp_path / "with")[0]
    kept = {name: tensor for name, tensor in own.items() if "average" not in name}
    assert any(name.startswith("average-main/") for name in own)
    assert same_tensors(kept, outcome(tmp_path / "without")[0])


def test_what_is_reported_and_exported_is_the_average(tmp_path: Path) -> None:
    summary = train(averaging(), tmp_path / "run", runtime=alone(), quiet=True)
    paths = RunFolder(tmp_path / "run")
    config = stored_config(paths)
    training = load_trained(config, paths, load_dataset(config.data, config.noise, config.seeds), alone())
    assert evaluate_test_set(training)["accuracy"] == summary["accuracy_last"]
    exported = load_model(paths.model)[0].state_dict()
    averaged = training.networks["main"].named(training.averages["main"].vector)
    current = training.networks["main"].named(training.networks["main"].vector.detach())
    for name, tensor in averaged.items():
        assert torch.equal(exported[name], tensor)
    assert not all(torch.equal(exported[name], tensor) for name, tensor in current.items())


def test_the_networks_own_weights_come_back_bit_for_bit() -> None:
    training = begun(averaging())
    training.step(training.loader.batch(0))
    network = training.networks["main"]
    before = network.vector.detach().clone(), network.statistics.clone()
    with predicting(training):
        assert torch.equal(network.vector, training.averages["main"].vector)
        assert not torch.equal(network.vector, before[0])
    assert torch.equal(network.vector, before[0])
    assert torch.equal(network.statistics, before[1])


@pytest.mark.parametrize("views", ["plain", "flip"])
def test_mirrored_views_are_the_mean_of_two_logits(views: str) -> None:
    training = begun(averaging(evaluation_views=views))
    images = images_of(training, training.dataset.test_images[:8])
    with predicting(training):
        one, other = (training.networks["main"](view)[0] for view in (images, images.flip(-1)))
        logits, _ = outputs(training, images)
    assert torch.equal(logits, (one + other) / 2 if views == "flip" else one)
    assert not torch.equal(one, other)


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    train_until(averaging(), tmp_path / "straight", alone())
    for stop in (3, 7):
        assert train_until(averaging(), tmp_path / "stopped", alone(), stop_after=stop) is None
    train_until(averaging(), tmp_path / "stopped", alone())
    assert_same(tmp_path / "stopped", tmp_path / "straight")


def _train(communicator: Communicator, folder: Path, stop_after: int | None = None) -> None:
    train_until(averaging(), folder, runtime_of(communicator), stop_after)


def test_two_processes_stop_and_go_on_bit_for_bit(tmp_path: Path, two_ranks: RankPool) -> None:
    two_ranks.run(_train, tmp_path / "straight")
    two_ranks.run(_train, tmp_path / "stopped", 7)
    two_ranks.run(_train, tmp_path / "stopped")
    assert_same(tmp_path / "stopped", tmp_path / "straight")


def test_a_method_that_trains_twice_averages_anew() -> None:
    training = begun(averaging("glc"))
    for step in range(3):
        training.step(training.loader.batch(step))
    begin_epoch(training, training.config.train.epochs)
    average, network = training.averages["main"], training.networks["main"]
    assert float(average.steps) == 0
    assert torch.equal(average.vector, network.vector)


def test_the_rate_moves_with_every_step_in_a_line_up_and_a_line_down() -> None:
    config = OptimConfig(main_lr=1.0, **STEPWISE)
    optimizer = make_main_optimizer(FlatNetwork(torch.nn.Linear(2, 2)), config, 10)
    found = []
    for step in range(10):
        found.append(float(optimizer.rate))
        optimizer.apply(torch.ones_like(optimizer.network.vector), torch.zeros(()))
        optimizer.end("epoch")
        optimizer.end("step")
        if step == 4:
            state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
    expected = [0.2, 0.2 + 0.8 / 3, 0.2 + 1.6 / 3, *(1 - place / 7 for place in range(7))]
    assert found == pytest.approx(expected, abs=1e-6)
    optimizer.restart()
    assert float(optimizer.rate) == pytest.approx(0.2)
    optimizer.load(state, 5)
    optimizer.end("step")
    assert float(optimizer.rate) == pytest.approx(expected[6], abs=1e-6)


@pytest.mark.parametrize("schedule", ["step", "cosine"])
def test_after_a_warm_up_the_rest_of_the_run_has_the_schedule(schedule: str) -> None:
    def rates(length: int, warmup: float) -> list[float]:
        config = OptimConfig(main_lr=1.0, schedule=schedule, schedule_unit="step", warmup=warmup, milestones=(0.5,))
        optimizer = make_main_optimizer(FlatNetwork(torch.nn.Linear(2, 2)), config, length)
        found = []
        for _ in range(length):
            found.append(float(optimizer.rate))
            optimizer.apply(torch.ones_like(optimizer.network.vector), torch.zeros(()))
            optimizer.end("step")
        return found

    warm = rates(10, 0.2)
    assert warm[:2] == pytest.approx([0.2, 0.6])
    assert warm[2:] == pytest.approx(rates(8, 0.0), abs=1e-6)


def test_the_rule_of_the_released_code_does_not_go_with_steps() -> None:
    with pytest.raises(ValueError, match="get_lr goes with"):
        OptimConfig(look_ahead_rate="get_lr", schedule_unit="step")


def test_smoothed_labels_are_a_mixture_with_the_uniform_ones() -> None:
    plain, smoothed = (begun(averaging("ce", label_smoothing=share)) for share in (0.0, 0.2))
    batch = smoothed.loader.batch(0)
    assert torch.equal(batch.noisy.images, plain.loader.batch(0).noisy.images)
    logits = smoothed.networks["main"](batch.noisy.images)[0].log_softmax(dim=1)
    targets = 0.8 * torch.nn.functional.one_hot(batch.noisy.labels, 10) + 0.2 / 10
    expected = -(targets * logits).sum(dim=1).mean().detach()
    assert float(smoothed.step(batch).metrics["lower"]) == pytest.approx(float(expected), rel=1e-5)
    assert float(plain.step(plain.loader.batch(0)).metrics["lower"]) != pytest.approx(float(expected), rel=1e-3)


def test_a_method_without_given_labels_refuses_to_smooth_them() -> None:
    config = averaging("ebomlc", label_smoothing=0.1)
    with pytest.raises(InputError, match=r"train\.label_smoothing does not go with ebomlc"):
        make_method(config)


def test_the_fast_network_goes_through_every_method_on_two_ranks(two_ranks: RankPool) -> None:
    found = two_ranks.run(_fast_steps)
    assert found[0] == found[1]


def _fast_steps(communicator: Communicator) -> list[str]:
    done = []
    for name in ("ebomlc-s", "mlc-d", "glc", "dividemix", "mw-net", "ce-weighted"):
        config = averaging(name).model_copy(update={"method": config_from_mapping({"name": name})})
        config = config.model_copy(
            update={
                "model": config.model.model_copy(update={"name": "fast-cnn", "widths": (8, 8, 8)}),
                "data": config.data.model_copy(update={"image_size": 16}),
            }
        )
        dataset = load_dataset(config.data, config.noise, config.seeds)
        training = build(config, dataset, runtime_of(communicator))
        begin_epoch(training, 0)
        training.step(training.loader.batch(0))
        vector = training.networks["main"].vector
        assert bool(vector.isfinite().all())
        done.append(f"{name} {vector.double().sum().item()!r}")
    return done
