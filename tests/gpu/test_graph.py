"""Steps in a real CUDA graph: the eager ones, without a wait, beside others and with compiled passes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.cuda_graph import CudaGraph, EagerProgram, RecordedProgram, make_program, mutable_tensors
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.packed import train_packed
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.run import steps_of, train
from ebomlc_dist.methods import config_from_mapping
from tests.gpu.waits import waits_are_errors
from tests.methods.rows import ROWS
from tests.support.runs import alone, outcome, tiny_config, train_until

pytestmark = pytest.mark.gpu
# Kernels that add in whatever order differ from one run to the next; float32, and a few steps.
BOUND = 1e-3


@pytest.fixture
def runtime() -> Runtime:
    return alone("cuda")


def config_of(method: str, seed: int = 0, **train: object) -> RunConfig:
    train = {"epochs": 3, "global_noisy_batch_size": 60, "log_interval": 5, "cuda_graph": True, **train}
    config = tiny_config(method, train=train, meta_model={"dropout": 0.2})
    own = config_from_mapping({"name": method, **ROWS[method].short_run})
    return config.model_copy(update={"method": own, "seeds": config.seeds.model_copy(update={"seed": seed})})


def moved(config: RunConfig, runtime: Runtime, steps: int = 5) -> tuple[Training, dict[str, Tensor]]:
    """How far the networks go in the first steps of the epoch that the method's row names."""
    training = build(config, load_everywhere(config, runtime), runtime)
    epoch = {"glc": config.train.epochs, "dividemix": 1, "coteaching-plus": 1}.get(config.method.name, 0)
    begin_epoch(training, epoch)
    before = {name: network.vector.detach().clone() for name, network in training.networks.items()}
    program, first = make_program(training), epoch * training.loader.steps_per_epoch
    assert isinstance(program, RecordedProgram if config.train.cuda_graph else EagerProgram)
    for step in range(first, first + steps):
        program(step)
    found = {name: network.vector.detach() - before[name] for name, network in training.networks.items()}
    return training, found | {f"{name}.statistics": n.statistics for name, n in training.networks.items()}


def distance(first: Tensor, second: Tensor) -> float:
    return float((first - second).norm() / second.norm().clamp_min(1e-30))


@pytest.mark.parametrize(
    ("method", "precision"), [*((name, "no") for name in ROWS), ("ebomlc", "bf16"), ("mlc", "fp16")]
)
def test_a_captured_step_is_the_eager_one(method: str, precision: str, runtime: Runtime) -> None:
    expected = moved(config_of(method, cuda_graph=False, precision=precision), runtime)[1]
    found = moved(config_of(method, precision=precision), runtime)[1]
    other = moved(config_of(method, seed=1, precision=precision), runtime)[1]
    bound = BOUND if precision == "no" else 0.05
    for name, value in expected.items():
        if value.numel():
            assert distance(found[name], value) < bound, name
    assert distance(other["main"], expected["main"]) > 5 * bound


def test_recording_leaves_no_trace(runtime: Runtime) -> None:
    config = config_of("ebomlc-s")
    training = build(config, load_everywhere(config, runtime), runtime)
    begin_epoch(training, 0)
    before = [tensor.clone() for tensor in mutable_tensors(training)]
    draws = torch.cuda.get_rng_state(runtime.device)
    program = RecordedProgram(training, lambda: CudaGraph(runtime.device))
    program._record(training.loader.inputs(0))
    assert all(torch.equal(a, b) for a, b in zip(mutable_tensors(training), before, strict=True))
    assert torch.equal(torch.cuda.get_rng_state(runtime.device), draws)


@pytest.mark.parametrize("method", ROWS)
def test_a_replay_never_waits_for_the_host(method: str, runtime: Runtime) -> None:
    config = config_of(method)
    training = build(config, load_everywhere(config, runtime), runtime)
    begin_epoch(training, 0)
    program = make_program(training)
    program(0)
    with waits_are_errors():
        program(1)
        program(2)


def test_a_learning_rate_reaches_the_recording(runtime: Runtime) -> None:
    config = config_of("ce")
    training = build(config, load_everywhere(config, runtime), runtime)
    begin_epoch(training, 0)
    program = make_program(training)
    assert isinstance(program, RecordedProgram)
    program(0)
    before = training.networks["main"].vector.detach().clone()
    training.optimizers["main"].rate.zero_()
    program(1)
    assert torch.equal(training.networks["main"].vector, before)
    assert program.recordings == 1


@pytest.mark.parametrize("method", ["ebomlc", "ebomlc-released", "mlc-d"])
def test_two_streams_give_what_one_gives(method: str, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    two = moved(config_of(method), runtime)[1]

    def in_turn(device: torch.device, forward: Callable[[], Tensor], backward: Callable[[Tensor], object]) -> object:
        done = backward(forward())
        return lambda: done

    monkeypatch.setattr(f"ebomlc_dist.methods.{method.replace('-', '_')}.overlap", in_turn)
    one = moved(config_of(method), runtime)[1]
    for name, value in one.items():
        assert distance(two[name], value) < BOUND, name


def test_compiled_passes_in_a_graph(runtime: Runtime) -> None:
    expected = moved(config_of("ebomlc", cuda_graph=False), runtime)[1]
    found = moved(config_of("ebomlc", compile=True), runtime)[1]
    # TF32 in the convolutions of one and not of the other would show as 1e-3.
    assert distance(found["main"], expected["main"]) < 0.01


def test_a_captured_run_that_is_stopped_and_continued_ends_where_the_eager_one_does(
    tmp_path: Path, runtime: Runtime
) -> None:
    assert train_until(config_of("ebomlc"), tmp_path / "captured", runtime, stop_after=7) is None
    assert train_until(config_of("ebomlc"), tmp_path / "captured", runtime) is not None
    train(config_of("ebomlc", cuda_graph=False), tmp_path / "eager", quiet=True, runtime=runtime)
    found, expected = outcome(tmp_path / "captured")[0], outcome(tmp_path / "eager")[0]
    assert found.keys() == expected.keys()
    assert distance(found["main/head.weight"], expected["main/head.weight"]) < 0.05


def test_packed_runs_are_the_runs_that_they_are_alone(tmp_path: Path, runtime: Runtime) -> None:
    configs = {"ebomlc": config_of("ebomlc"), "seed": config_of("ebomlc", seed=1), "mlc": config_of("mlc")}
    for name, config in configs.items():
        train(config, tmp_path / "solo" / name, quiet=True, runtime=runtime)

    def begin(name: str) -> tuple:
        folder = tmp_path / "packed" / name
        return folder, lambda place, signals: steps_of(
            configs[name], folder, quiet=True, runtime=place, signals=signals
        )

    assert [ended.error for ended in train_packed([begin(name) for name in configs], runtime)] == [None] * 3
    for name in configs:
        found, expected = (outcome(tmp_path / kind / name)[0] for kind in ("packed", "solo"))
        assert distance(found["main/head.weight"], expected["main/head.weight"]) < 0.05, name
