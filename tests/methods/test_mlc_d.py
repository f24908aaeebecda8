"""MLC-D's step against Algorithm 1 written a second time, and its place beside EBOMLC."""

import pytest
import torch

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.testing.problem import local_batch, make_learner, propose, run_steps
from tests.methods.reference import flat, mlc_d_directions
from tests.support.vectors import joined

CPU = torch.device("cpu")
OPTIONS = [
    {},
    {"value_gradient": "difference"},
    {"inner_steps": 1},
    {"inner_steps": 2, "value_gradient": "difference", "lower_objective": "with_clean", "barrier_strength": 2.0},
]


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_directions_are_those_of_the_equations(settings: dict) -> None:
    learner = make_learner("mlc-d", Communicator(CPU), **settings)
    run_steps(learner, 2)
    main, meta, beta = mlc_d_directions(learner, local_batch(learner.method, 7, 0, 1))
    result = propose(learner, 7)
    assert beta > 0
    torch.testing.assert_close(
        result.directions["main"], joined(learner.networks["main"], main), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(result.directions["meta"], flat(meta), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(result.metrics["barrier_coefficient"], beta, rtol=1e-10, atol=0)


def test_the_comparison_with_the_equations_can_fail() -> None:
    learner = make_learner("mlc-d", Communicator(CPU), barrier_strength=2.0)
    other = make_learner("mlc-d", Communicator(CPU), barrier_strength=2.0, inner_steps=4)
    _, meta, beta = mlc_d_directions(other, local_batch(other.method, 7, 0, 1))
    difference = propose(learner, 7).directions["meta"] - flat(meta)
    assert beta > 0
    assert difference.norm() > 1e-3 * flat(meta).norm()


@pytest.mark.parametrize("value_gradient", ["stop_gradient", "difference"])
def test_one_inner_step_is_ebomlc_with_all_mixture_on_the_main_model(value_gradient: str) -> None:
    """ρ = 1, ξ = 1 and equal δ: the same bits, over several steps."""
    shared = {"inner_steps": 1, "value_gradient": value_gradient, "barrier_strength": 0.5}
    mlc_d = make_learner("mlc-d", Communicator(CPU), **shared)
    ebomlc = make_learner("ebomlc", Communicator(CPU), **shared, mixture=1.0, noisy_scale=1.0)
    run_steps(mlc_d, 4)
    run_steps(ebomlc, 4)
    assert all(torch.equal(mlc_d.state()[name], value) for name, value in ebomlc.state().items())

    other = make_learner("mlc-d", Communicator(CPU), **{**shared, "inner_steps": 2})
    run_steps(other, 4)
    assert not torch.equal(other.networks["meta"].vector, ebomlc.networks["meta"].vector)
