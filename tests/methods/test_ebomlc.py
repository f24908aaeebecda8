"""EBOMLC's step against the equations written down a second time, and its place among its neighbours."""

import pytest
import torch

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.testing.problem import Sizes, local_batch, make_learner, propose, run_steps
from tests.methods.reference import ebomlc_directions, flat
from tests.support.vectors import joined

CPU = torch.device("cpu")
OPTIONS = [
    {},
    {"value_gradient": "difference"},
    {"mixture_kind": "logit"},
    {"mixture_kind": "released"},
    {"mixture_kind": "loss"},
    {"inner_steps": 3},
    {"inner_steps": 3, "value_gradient": "difference"},
    {"lower_objective": "with_clean"},
    {"lower_objective": "with_clean", "value_gradient": "difference", "inner_steps": 2, "barrier_strength": 2.0},
    {"mixture": 1.0},
    {"mixture": 0.0, "barrier_strength": 2.0, "noisy_scale": 1.0},
]


@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_directions_are_those_of_the_equations(settings: dict) -> None:
    learner = make_learner("ebomlc", Communicator(CPU), **settings)
    run_steps(learner, 2)
    main, meta, beta = ebomlc_directions(learner, local_batch(learner.method, 7, 0, 1))
    result = propose(learner, 7)
    assert beta > 0
    torch.testing.assert_close(
        result.directions["main"], joined(learner.networks["main"], main), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(result.directions["meta"], flat(meta), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(result.metrics["barrier_coefficient"], beta, rtol=1e-10, atol=0)


def test_the_comparison_with_the_equations_can_fail() -> None:
    learner = make_learner("ebomlc", Communicator(CPU))
    other = make_learner("ebomlc", Communicator(CPU), barrier_strength=0.26)
    main, _, _ = ebomlc_directions(other, local_batch(other.method, 7, 0, 1))
    difference = propose(learner, 7).directions["main"] - joined(learner.networks["main"], main)
    assert difference.norm() > 1e-4 * joined(learner.networks["main"], main).norm()


@pytest.mark.parametrize("settings", [{}, {"value_gradient": "difference", "inner_steps": 2}], ids=str)
def test_a_proposal_leaves_parameters_untouched_and_statistics_moved_by_two_passes_only(settings: dict) -> None:
    learner = make_learner("ebomlc", Communicator(CPU), **settings)
    main = learner.networks["main"]
    before = main.vector.detach().clone()
    start = main.statistics.clone()
    propose(learner)
    assert torch.equal(main.vector, before)

    control = make_learner("ebomlc", Communicator(CPU), **settings).networks["main"]
    batch = local_batch(learner.method, 0, 0, 1)
    control(batch.clean.images)
    control(batch.noisy.images)
    assert torch.equal(main.statistics, control.statistics)
    assert not torch.equal(main.statistics, start)


def test_without_noisy_weight_and_with_all_mixture_on_the_main_model_it_is_cross_entropy_on_clean_images() -> None:
    clean_is_noisy = Sizes(noisy=7, clean=7)
    ebomlc = make_learner("ebomlc", Communicator(CPU), batch_norm=False, mixture=1.0, barrier_strength=0.0)
    reference = make_learner("ce-clean", Communicator(CPU), batch_norm=False)
    # β is not zero where the two gradients conflict; a vanishing ξ takes the noisy part out in either case.
    small = ebomlc.method.config.model_copy(update={"noisy_scale": 1e-300})
    ebomlc.method.config = small
    run_steps(ebomlc, 5, sizes=clean_is_noisy)
    run_steps(reference, 5, sizes=clean_is_noisy)
    torch.testing.assert_close(
        ebomlc.networks["main"].vector, reference.networks["main"].vector, rtol=1e-12, atol=1e-14
    )

    with_noise = make_learner("ebomlc", Communicator(CPU), batch_norm=False, mixture=1.0, barrier_strength=0.25)
    run_steps(with_noise, 5, sizes=clean_is_noisy)
    assert (with_noise.networks["main"].vector - reference.networks["main"].vector).norm() > 1e-3


def test_a_mixture_of_one_reduces_to_the_plain_barrier_with_one_inner_step() -> None:
    """ρ = 1: F does not depend on α, so (10) is δ‖∇Q‖² and (11) is (7)."""
    learner = make_learner("ebomlc", Communicator(CPU), mixture=1.0)
    result = propose(learner)
    assert result.metrics["alignment"] == 0
    assert propose(make_learner("ebomlc", Communicator(CPU), mixture=0.5)).metrics["alignment"] != 0


def test_the_corrected_labels_are_the_meta_models_most_likely_ones() -> None:
    learner = make_learner("ebomlc", Communicator(CPU))
    result = propose(learner)
    batch = local_batch(learner.method, 0, 0, 1)
    _, features = make_learner("ebomlc", Communicator(CPU)).networks["main"](batch.noisy.images)
    expected = learner.networks["meta"](features, batch.noisy.labels).argmax(dim=1)
    assert torch.equal(result.corrected, expected)
