"""The recipes of the released code against the released code: the same steps from the same numbers, to the floor."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.optimizers import MAKERS, FlatOptimizer
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.keys import nest, plain
from ebomlc_dist.methods import config_from_mapping, method_class
from ebomlc_dist.methods.contract import Batch, PairedBatch
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.label_corrector import ReleasedCorrector
from ebomlc_dist.models.meta import build_meta_model
from ebomlc_dist.noise.matrices import released_pairs
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.recipes import recipe
from tests.methods.released_trace import BATCH, NUM_CLASSES, TRACE, Masks, initialise, projections, samples
from tests.support.vectors import in_order, joined

FLOOR = 1e-8
HALF = BATCH // 2


def our_steps(config: RunConfig, patch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """As many steps of a recipe as the trace has, one an epoch, its milestones after two and four."""
    patch.setattr(functional, "dropout", Masks())
    epochs = len(TRACE["steps"]["cifar10"])
    optim = config.optim.model_copy(update={"milestones": (2 / epochs, 4 / epochs)})
    modules: dict[str, nn.Module] = {
        "main": build_main_model("resnet8", num_classes=NUM_CLASSES, in_channels=3, norm=config.model.norm),
        "meta": build_meta_model(
            "label-corrector", num_classes=NUM_CLASSES, feature_dim=64, **config.meta_model.model_dump()
        ),
    }
    for name, first in (("main", 100), ("meta", 500)):
        modules[name].double()
        initialise(modules[name], first)
    networks = {name: FlatNetwork(module.train()) for name, module in modules.items()}
    optimizers = {name: MAKERS[name](networks[name], optim, epochs) for name in networks}
    for optimizer in optimizers.values():
        _as_double(optimizer, optim.main_lr if optimizer is optimizers["main"] else optim.meta_lr)
    method = method_class(config.method.name)(config.method)
    step = TrainStep(method, networks, optimizers, Communicator(torch.device("cpu")), None)
    rows = []
    for number in range(epochs):
        rates = {"look_ahead_rate": float(optimizers["main"].rule().rate), "rate": float(optimizers["main"].rate)}
        noisy, clean = (Batch(*samples(number, which), BATCH) for which in range(2))
        upper, lower = (
            replace(clean, images=clean.images[half], labels=clean.labels[half], count=HALF) for half in _HALVES
        )
        outcome = step(PairedBatch(noisy, upper, lower))
        assert not outcome.skipped
        figures = {name: float(outcome.metrics[name]) for name in ("upper", "lower", "barrier_coefficient")}
        vectors = {name: in_order(network, network.vector) for name, network in networks.items()}
        vectors |= {f"{name}_statistics": networks[name].statistics for name in networks}
        vectors["velocity"] = in_order(networks["main"], optimizers["main"].state()["momentum_buffer"])
        if "max_exp_avg_sq" in optimizers["meta"].state():
            vectors["largest_square"] = in_order(networks["meta"], optimizers["meta"].state()["max_exp_avg_sq"])
        rows.append(rates | figures | {name: projections(vector) for name, vector in vectors.items()})
        for optimizer in optimizers.values():
            optimizer.end("epoch")
    return rows


_HALVES = (slice(0, HALF), slice(HALF, BATCH))


def _as_double(optimizer: FlatOptimizer, rate: float) -> None:
    """A rate held in float32 is 1.5e-8 from the decimal number, above the floor."""
    optimizer.optimizer.param_groups[0]["lr"] = torch.tensor(rate, dtype=torch.float64)


def released(dataset: str, **changes: Any) -> RunConfig:
    """The recipe; ``changes``: dotted keys with ``__`` for the dot."""
    values = plain(recipe(f"{dataset}-released-uniform40").config)
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    nested = nest(values)
    return RunConfig.model_validate({**nested, "method": config_from_mapping(nested["method"])})


def distance(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> float:
    """The largest difference of two figures, relative where they are above 1."""
    worst = 0.0
    for own, given in zip(ours, theirs, strict=True):
        for name, value in given.items():
            pairs = zip(
                *(x if isinstance(x, list) else [x] for x in (own.get(name, float("inf")), value)), strict=False
            )
            worst = max(worst, *(abs(a - b) / max(1.0, abs(b)) for a, b in pairs))
    return worst


@pytest.mark.parametrize("dataset", ["cifar10", "cifar100"])
def test_the_recipe_takes_the_released_codes_steps(dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = TRACE["steps"][dataset]
    assert len(theirs) == 6
    assert distance(our_steps(released(dataset), monkeypatch), theirs) < FLOOR


@pytest.mark.parametrize(
    "changes",
    [
        {"method__look_ahead_statistics": "kept"},
        {"method__gap_as_step": True},
        {"method__mixture_kind": "logit"},
        {"method__barrier_strength": 0.2501},
        {"meta_model__architecture": "plain"},
        {"meta_model__dropout": 0.25},
        {"optim__meta_amsgrad": False},
        {"optim__look_ahead_rate": "current"},
        {"optim__momentum": 0.8999},
    ],
    ids=str,
)
def test_one_setting_that_is_not_theirs_is_seen(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Far above the floor."""
    assert distance(our_steps(released("cifar10", **changes), monkeypatch), TRACE["steps"]["cifar10"]) > 100 * FLOOR


def test_a_wrong_sign_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """w ascends F in their code; with a descent in its place the trace is missed."""
    from ebomlc_dist.methods import ebomlc_released

    original = ebomlc_released.gram

    def descending(upper: torch.Tensor, *others: Any) -> Any:
        return original(-upper, *others)

    monkeypatch.setattr(ebomlc_released, "gram", descending)
    assert distance(our_steps(released("cifar10"), monkeypatch), TRACE["steps"]["cifar10"]) > 100 * FLOOR


def test_w_ascends_the_upper_objective_by_the_square_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without noise, momentum and decay a step at w' is +η²∇_wF."""
    config = released("cifar10", method__noisy_scale=1e-300, optim__momentum=0.0, optim__weight_decay=0.0)
    monkeypatch.setattr(functional, "dropout", Masks())
    module = build_main_model("resnet8", num_classes=NUM_CLASSES, in_channels=3, norm="group").double()
    meta = ReleasedCorrector(NUM_CLASSES, 64).double()
    initialise(module, 100)
    initialise(meta, 500)
    networks = {"main": FlatNetwork(module), "meta": FlatNetwork(meta)}
    optimizers = {name: MAKERS[name](networks[name], config.optim, 6) for name in networks}
    rules = {name: optimizer.rule() for name, optimizer in optimizers.items()}
    noisy, clean = (Batch(*samples(0, which), BATCH) for which in range(2))
    method = method_class(config.method.name)(config.method)
    result = method.step(networks, rules, PairedBatch(noisy, clean, clean), Communicator(torch.device("cpu")))
    monkeypatch.setattr(functional, "dropout", Masks())
    total = method.objectives.upper_sum(networks, clean, clean.labels, config.method.mixture)  # type: ignore[attr-defined]
    gradient = joined(networks["main"], torch.autograd.grad(total / BATCH, list(module.parameters())))
    rate = float(optimizers["main"].rate)
    torch.testing.assert_close(-rate * result.directions["main"], rate**2 * gradient, rtol=1e-6, atol=1e-12)
    assert gradient.norm() > 1e-2


@pytest.mark.parametrize("num_classes", [10, 100])
def test_classes_flip_as_in_the_released_code(num_classes: int) -> None:
    assert released_pairs(num_classes).tolist() == TRACE["flip_pairs"][str(num_classes)]
