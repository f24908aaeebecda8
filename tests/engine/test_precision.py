"""Mixed precision changes the passes, not the mathematics made of them."""

from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.arithmetic import float32_in_force, put_back
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.packed import train_packed
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.run import Steps, steps_of, train
from ebomlc_dist.engine.step import StepOutcome, TrainStep
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.launch.signals import Signals
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.methods.contract import Batch, PairedBatch
from tests.methods.rows import ROWS
from tests.support.runs import alone, tiny_config
from tests.support.vectors import in_order


def make_training(precision: str) -> Training:
    config = tiny_config(train={"precision": precision})
    runtime = alone()
    return build(config, load_everywhere(config, runtime), runtime)


def proposal(training: Training, step: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Directions of the main and the meta model, and β; nothing moves, the running statistics included."""
    method, main = training.method, training.networks["main"]
    rules, statistics = {"main": training.optimizers["main"].rule()}, main.statistics.clone()
    result = method.step(training.networks, rules, training.loader.batch(step), training.runtime.communicator)
    main.statistics.copy_(statistics)
    # Weights in fp16 lie otherwise on a CPU.
    return in_order(main, result.directions["main"]), result.directions["meta"], result.metrics["barrier_coefficient"]


def farthest_from_float32(
    training: Training, steps: int, coarser: torch.dtype | None = None
) -> tuple[float, float, float]:
    """Along a run in half precision: the least cosine of each direction, and the largest difference of β.

    Each step is proposed twice from the same state, as the run takes it and in float32.

    Args:
        coarser: dtype that the main model's weights are rounded to for the run's own proposals.
    """
    main, cosines, differences = training.networks["main"], [], []
    for step in range(steps):
        exact = main.vector.detach().clone()
        main.vector.data.copy_(exact.to(coarser or exact.dtype))
        found = proposal(training, step)
        main.vector.data.copy_(exact)
        settings = main.autocast, main.loss_scale
        main.autocast = main.loss_scale = None
        expected = proposal(training, step)
        main.autocast, main.loss_scale = settings
        cosines.append([float(torch.cosine_similarity(found[i], expected[i], dim=0)) for i in range(2)])
        differences.append(abs(float(found[2] - expected[2])))
        training.step(training.loader.batch(step))
    of_main, of_meta = zip(*cosines, strict=True)
    return min(of_main), min(of_meta), max(differences)


# bf16 rounds at 2⁻⁹, fp16 at 2⁻¹²; the errors of some twenty layers add up.
@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.99), ("fp16", 0.9999)])
def test_directions_are_float32_and_near_those_of_float32(precision: str, least: float) -> None:
    main, meta, beta = proposal(make_training(precision))
    expected_main, expected_meta, expected_beta = proposal(make_training("no"))
    assert main.dtype == meta.dtype == torch.float32
    assert torch.cosine_similarity(main, expected_main, dim=0) > least
    assert torch.cosine_similarity(meta, expected_meta, dim=0) > least
    assert abs(float(beta - expected_beta)) < 0.02
    assert not torch.equal(main, expected_main)


@pytest.mark.parametrize(("precision", "least"), [("bf16", 0.98), ("fp16", 0.995)])
def test_fifty_steps_stay_near_float32(precision: str, least: float) -> None:
    main, meta, beta = farthest_from_float32(make_training(precision), 50)
    assert main > least
    assert meta > 0.9999
    # β is some 0.2 to 0.4 here.
    assert beta < 0.006


def test_weights_rounded_to_three_bits_do_not_stay_near_float32() -> None:
    main, meta, beta = farthest_from_float32(make_training("bf16"), 20, coarser=torch.float8_e5m2)
    assert main < 0.95
    assert meta < 0.9999
    assert beta > 0.006


@pytest.mark.parametrize(
    ("precision", "float32"), [("no", "ieee"), ("tf32", "tf32"), ("bf16", "ieee"), ("fp16", "ieee")]
)
def test_float32_is_what_the_precision_says_whatever_was_in_force(tmp_path: Path, precision: str, float32: str) -> None:
    """torch itself computes convolutions in tf32 and products in IEEE float32."""
    before = float32_in_force()
    try:
        put_back({"matmul": "tf32", "conv": "ieee"})
        train(tiny_config("ce", train={"precision": precision, "epochs": 1}), tmp_path, quiet=True, runtime=alone())
        assert float32_in_force() == {"matmul": float32, "conv": float32}
        assert read_json(tmp_path / "environment.json")["float32"] == {"matmul": float32, "conv": float32}
    finally:
        put_back(before)


def test_packed_runs_have_an_arithmetic_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, set[str]] = {}
    step = TrainStep.__call__

    def watched(self: TrainStep, batch: PairedBatch) -> StepOutcome:
        seen.setdefault(str(self.method.config.name), set()).add(str(float32_in_force()["conv"]))
        return step(self, batch)

    monkeypatch.setattr(TrainStep, "__call__", watched)
    before = float32_in_force()
    runs = []
    for method, precision in (("ce", "no"), ("ce-clean", "tf32")):
        config = tiny_config(method, train={"precision": precision, "epochs": 1})

        def begin(
            runtime: Runtime, signals: Signals, config: RunConfig = config, folder: Path = tmp_path / method
        ) -> Steps:
            return steps_of(config, folder, runtime=runtime, signals=signals, quiet=True)

        runs.append((tmp_path / method, begin))
    assert [ended.error for ended in train_packed(runs, alone())] == [None, None]
    assert seen == {"ce": {"ieee"}, "ce-clean": {"tf32"}}
    assert float32_in_force() == before


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_run_in_half_precision_ends_with_finite_weights(tmp_path: Path, precision: str) -> None:
    summary = train(tiny_config(train={"precision": precision}), tmp_path, quiet=True, runtime=alone())
    assert summary["finished"]
    assert summary["skipped_steps"] == 0


class Told:
    """The first run's assembled values, given to every later one, step by step.

    By them Co-teaching+ chooses the images it trains on. Where rounding swaps images at the border, the steps are of
    other images, and how near they are says nothing about the passes.
    """

    def __init__(self) -> None:
        self.steps: list[Tensor] = []

    def hand_to(self, training: Training) -> None:
        communicator, place = training.runtime.communicator, count()
        assemble = communicator.assemble

        def assembled(values: Tensor, batch: Batch) -> SimpleNamespace:
            own, step = assemble(values, batch).wait(), next(place)
            if step == len(self.steps):
                self.steps.append(own[0].clone())
            return SimpleNamespace(wait=lambda: [self.steps[step]])

        communicator.assemble = assembled  # type: ignore[method-assign, assignment]


@pytest.mark.parametrize("method", ROWS)
def test_every_methods_steps_in_half_precision_are_near_those_in_float32(method: str) -> None:
    """Three steps from the same start; where an fp16 step overflows, the scale has halved and the next ones go on."""
    told = Told()

    def moved(precision: str) -> tuple[Tensor, int]:
        config = tiny_config(method, train={"precision": precision})
        config = config.model_copy(update={"method": config_from_mapping({"name": method, **ROWS[method].short_run})})
        training = build(config, load_everywhere(config, alone()), alone())
        epoch = config.train.epochs if method == "glc" else 3
        begin_epoch(training, epoch)
        if method == "coteaching-plus":
            told.hand_to(training)
        start = training.networks["main"].vector.detach().clone()
        first = epoch * training.loader.steps_per_epoch
        outcomes = [training.step(training.loader.batch(step)) for step in range(first, first + 3)]
        main = training.networks["main"]
        return in_order(main, main.vector.detach() - start), sum(bool(o.skipped) for o in outcomes)

    expected, _ = moved("no")
    found, skipped = moved("bf16")
    assert skipped == 0
    assert torch.cosine_similarity(found, expected, dim=0) > 0.99
    assert not torch.equal(found, expected)
    found, skipped = moved("fp16")
    assert skipped <= 1
    assert torch.cosine_similarity(found, expected, dim=0) > (0.999 if skipped == 0 else 0.9)


def test_an_overflow_skips_the_step_and_halves_the_scale() -> None:
    training = make_training("fp16")
    scale = training.loss_scale
    assert scale is not None
    scale.value.fill_(2.0**24)
    before = training.networks["main"].vector.detach().clone()
    outcome = training.step(training.loader.batch(0))
    assert bool(outcome.skipped)
    assert torch.equal(training.networks["main"].vector, before)
    assert float(scale.value) == 2.0**23
    scale.value.fill_(2.0**10)
    assert not bool(training.step(training.loader.batch(0)).skipped)
