"""Compiled passes: near the eager ones, compiled once, with no trace in what is stored."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ebomlc_dist.config import RunConfig
from ebomlc_dist.engine import preflight
from ebomlc_dist.engine.build import Training, build, make_method
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.preflight import check_device, load_everywhere
from ebomlc_dist.engine.run import train
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.models.hub import load_model
from tests.support.runs import alone, outcome, tiny_config, train_until

CPU = torch.device("cpu")
# Sums in another order: float32 has 6e-8, some ten layers and their derivatives a few hundred times that.
ONE_STEP = 1e-4
# The first batch of another one has a value 1e-7 before a ReLU, and which side it falls on is 1e-2 of a gradient.
SEED = 2

pytestmark = pytest.mark.usefixtures("one_thread")


def config_of(method: str = "ebomlc", compiled: bool = True, seed: int = SEED, **settings: object) -> RunConfig:
    config = tiny_config(method, train={"compile": compiled, "epochs": 3})
    own = config_from_mapping({"name": method, **settings})
    return config.model_copy(update={"method": own, "seeds": config.seeds.model_copy(update={"seed": seed})})


def make_training(config: RunConfig) -> Training:
    training = build(config, load_everywhere(config, alone()), alone())
    begin_epoch(training, 0)
    return training


def test_what_cannot_be_compiled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"--compile does not go with mlc's double_backward.*forward_mode"):
        make_method(config_of("mlc", hypergradient="double_backward"))
    make_method(config_of("mlc", compiled=False, hypergradient="double_backward"))
    synchronised = config_of().model_copy(update={"model": config_of().model.model_copy(update={"norm": "sync"})})
    with pytest.raises(InputError, match="norm sync"):
        check_device(synchronised, CPU)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match="'no-such-compiler' is not there"):
        check_device(config_of(), CPU)


@pytest.mark.parametrize(("precision", "bf16", "told"), [("bf16", False, 1), ("bf16", True, 0), ("fp16", True, 1)])
def test_a_precision_that_is_slow_here_is_told(
    precision: str, bf16: bool, told: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preflight, "has_bf16", lambda: bf16)
    config = config_of(compiled=False)
    check_device(config.model_copy(update={"train": config.train.model_copy(update={"precision": precision})}), CPU)
    assert len(caplog.records) == told


def proposed(training: Training) -> dict[str, Tensor]:
    """The directions of the first step, and the statistics after it."""
    rules = {name: optimizer.rule() for name, optimizer in training.optimizers.items()}
    communicator, batch = training.runtime.communicator, training.loader.batch(0)
    found = dict(training.method.step(training.networks, rules, batch, communicator).directions)
    return found | {f"{name}.statistics": network.statistics for name, network in training.networks.items()}


def take_steps(training: Training, number: int) -> None:
    for step in range(number):
        training.step(training.loader.batch(step))


def distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).norm() / second.norm().clamp_min(1e-30))


@pytest.fixture
def compiler() -> None:
    if shutil.which("g++") is None:
        pytest.skip("there is no C++ compiler")


def graphs() -> int:
    from torch._dynamo.utils import counters

    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("ebomlc", {}),
        ("mlc", {}),
        ("mlc", {"hypergradient": "finite_difference"}),
        ("l2rw", {}),
        ("mw-net", {}),
        ("dividemix", {}),
        ("ce", {}),
    ],
    ids=str,
)
def test_a_compiled_step_is_near_the_eager_one(method: str, settings: dict) -> None:
    expected = proposed(make_training(config_of(method, False, **settings)))
    found = proposed(make_training(config_of(method, True, **settings)))
    other = proposed(make_training(config_of(method, False, seed=SEED + 1, **settings)))
    for name, value in expected.items():
        if value.numel():
            assert distance(found[name], value) < ONE_STEP, name
    assert distance(other["main"], expected["main"]) > 100 * ONE_STEP


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("default")
def test_a_compiled_step_of_the_fast_network_is_near_the_eager_one() -> None:
    def of(compiled: bool) -> dict[str, Tensor]:
        config = config_of("ebomlc-s", compiled)
        model = config.model.model_copy(update={"name": "fast-cnn", "widths": (8, 8, 16)})
        data = config.data.model_copy(update={"image_size": 16})
        return proposed(make_training(config.model_copy(update={"model": model, "data": data})))

    expected, found = of(False), of(True)
    assert all(distance(found[name], value) < ONE_STEP for name, value in expected.items() if value.numel())


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("default")
def test_passes_are_compiled_once_whatever_the_learning_rate() -> None:
    training = make_training(config_of())
    take_steps(training, 1)
    compiled = graphs()
    assert compiled > 0
    for optimizer in training.optimizers.values():
        optimizer.rate.mul_(0.1)
    take_steps(training, 3)
    training.optimizers["main"].end("epoch")
    take_steps(training, 3)
    assert graphs() == compiled


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("default")
def test_a_compiled_run_is_near_the_eager_one_and_stores_the_same_names(tmp_path: Path) -> None:
    """Three epochs: rounding grows on the way, and stays far below what another seed does."""
    train(config_of(compiled=False), tmp_path / "eager", quiet=True, runtime=alone())
    train(config_of(compiled=False, seed=SEED + 1), tmp_path / "other", quiet=True, runtime=alone())
    assert train_until(config_of(), tmp_path / "compiled", alone(), stop_after=6) is None
    assert train_until(config_of(), tmp_path / "compiled", alone()) is not None
    eager, other, compiled = (outcome(tmp_path / name)[0] for name in ("eager", "other", "compiled"))
    assert compiled.keys() == eager.keys()
    weights = [name for name in eager if name.startswith(("main/", "meta/"))]

    def apart(found: dict[str, Tensor]) -> float:
        return max(distance(found[name].double(), eager[name].double()) for name in weights)

    assert apart(compiled) < 0.02 < 0.1 * apart(other)
    model, _ = load_model(tmp_path / "compiled" / "model")
    assert list(model.state_dict()) == list(load_model(tmp_path / "eager" / "model")[0].state_dict())
