"""What a recipe sets for each method, and runs framed as in each method's own paper."""

from typing import Any

import pytest

from ebomlc_dist.engine.build import make_method
from ebomlc_dist.errors import InputError
from ebomlc_dist.keys import plain
from ebomlc_dist.methods import METHODS
from ebomlc_dist.recipes.assemble import Request, resolve


def values(recipe: str, method: str, **asked: Any) -> dict[str, Any]:
    (run,) = resolve(Request(recipe=recipe, methods=(method,), **asked))
    return plain(run.config)


@pytest.mark.parametrize(
    ("recipe", "weight", "warm_up"),
    [
        ("cifar10-uniform20", 0.0, 10),
        ("cifar10-uniform40", 25.0, 10),
        ("cifar10-flip40", 0.0, 10),
        ("cifar100-uniform20", 25.0, 30),
        ("cifar100-uniform80", 150.0, 30),
        ("cifar10-quick-uniform80", 25.0, 2),
    ],
)
def test_dividemix_by_setting(recipe: str, weight: float, warm_up: int) -> None:
    found = values(recipe, "dividemix")
    assert (found["method.unlabelled_weight"], found["method.warm_up_epochs"]) == (weight, warm_up)
    assert (found["method.warm_up_penalty"] == "negative_entropy") == ("flip" in recipe)


def test_coteaching_forgets_the_noise_rate_where_it_is_known() -> None:
    assert values("cifar10-uniform40", "coteaching-plus")["method.forget_rate"] == 0.4
    assert values("cifar10-uniform40", "coteaching-plus")["method.init_epochs"] == 20
    assert values("cifar100-uniform40", "coteaching-plus")["method.init_epochs"] == 5
    assert values("folder", "coteaching-plus")["method.forget_rate"] == 0.2
    asked = values("cifar10-uniform40", "coteaching-plus", assignments=("method.forget_rate=0.1",))
    assert asked["method.forget_rate"] == 0.1


@pytest.mark.parametrize("method", METHODS)
def test_the_common_frame_is_the_same_for_all(method: str) -> None:
    frame = ("model.name", "train.epochs", "train.global_noisy_batch_size", "data.clean_size")
    optim = ("optim.main_optimizer", "optim.main_lr", "optim.weight_decay", "optim.schedule", "optim.milestones")
    found, expected = values("cifar10-uniform40", method), values("cifar10-uniform40", "ebomlc")
    assert [found[key] for key in (*frame, *optim)] == [expected[key] for key in (*frame, *optim)]
    assert expected["train.epochs"] == 120
    assert expected["optim.milestones"] == [80 / 120, 100 / 120]


def test_meta_optimisers_have_their_papers_defaults_unless_somebody_sets_them() -> None:
    keys = ("optim.meta_lr", "optim.meta_weight_decay", "optim.meta_amsgrad")
    assert [values("digits", "mw-net")[key] for key in keys] == [1e-3, 1e-4, False]
    assert [values("digits", "mlc")[key] for key in keys] == [3e-4, 0.0, True]
    assert [values("digits", "ebomlc")[key] for key in keys] == [3e-4, 0.0, False]
    assert values("digits", "mw-net", assignments=("optim.meta_lr=0.5",))["optim.meta_lr"] == 0.5


def test_own_frames() -> None:
    glc, pair = values("cifar10-own-uniform40", "glc"), values("cifar10-own-uniform40", "coteaching-plus")
    assert (glc["train.epochs"], glc["optim.schedule"], glc["optim.nesterov"]) == (75, "cosine", True)
    assert (pair["optim.main_optimizer"], pair["train.epochs"], pair["optim.late_beta1"]) == ("adam", 200, 0.1)
    assert values("cifar10-own-uniform40", "ebomlc")["train.epochs"] == 120
    assert values("cifar10-uniform40", "glc")["optim.schedule"] == "step"
    assert values("cifar10-own-uniform40", "glc", assignments=("train.epochs=3",))["train.epochs"] == 3
    assert values("cifar10-own-uniform40:tiny", "coteaching-plus")["train.epochs"] == 2


def test_the_common_frame_is_that_of_mlcs_authors() -> None:
    """The commands of their README for CIFAR, and what their code leaves at its default there."""
    theirs = {
        "model.name": "resnet32",
        "data.clean_size": 1000,
        "train.epochs": 120,
        "train.global_noisy_batch_size": 100,
        "train.global_clean_batch_size": 100,
        "optim.main_optimizer": "sgd",
        "optim.main_lr": 0.1,
        "optim.momentum": 0.9,
        "optim.weight_decay": 5e-4,
        "optim.nesterov": False,
        "optim.schedule": "step",
        "optim.milestones": [80 / 120, 100 / 120],
        "optim.decay": 0.1,
        "optim.meta_lr": 3e-4,
        "optim.meta_weight_decay": 0.0,
        "optim.meta_amsgrad": True,
        "optim.meta_schedule": "constant",
        "meta_model.embedding_dim": 128,
        "meta_model.hidden_dim": 128,
        "method.look_ahead": "sgd",
        "method.look_ahead_steps": 1,
        "method.lower_objective": "with_clean",
    }
    found = values("cifar10-own-uniform40", "mlc")
    assert {key: found[key] for key in theirs} == theirs


def test_adam_is_refused_where_a_step_needs_sgd() -> None:
    for method in METHODS:
        (run,) = resolve(Request(recipe="digits", methods=(method,), assignments=("optim.main_optimizer=adam",)))
        if method in ("glc", "l2rw", "dividemix", "coteaching-plus") or method.startswith("ce"):
            make_method(run.config)
        else:
            with pytest.raises(InputError, match="whose step needs sgd"):
                make_method(run.config)
