"""MLC's step against F differentiated through the look-ahead itself, its window of K steps, and its place beside CE."""

import pytest
import torch
from torch import Tensor, nn

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.optimizers import make_meta_optimizer
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.methods.contract import Streams
from ebomlc_dist.methods.mlc import Mlc, MlcConfig
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.testing.problem import NUM_CLASSES, Learner, local_batch, make_learner, propose, run_steps
from tests.methods.reference import mlc_directions
from tests.support.vectors import joined

CPU = torch.device("cpu")
BARE = {"lower_objective": "noisy", "look_ahead": "plain"}
OPTIONS = [
    {},
    {"hypergradient": "double_backward"},
    {"look_ahead": "plain"},
    {"lower_objective": "noisy"},
    BARE,
    {**BARE, "hypergradient": "double_backward"},
]


def test_the_defaults_are_those_of_the_authors_code() -> None:
    """Half of each clean batch in the lower objective, w' by SGD's own rule, AMSGrad for the corrector."""
    config = MlcConfig()
    assert (config.lower_objective, config.look_ahead, config.look_ahead_steps) == ("with_clean", "sgd", 1)
    assert config.optim_defaults == {"meta_amsgrad": True}
    assert Mlc(config).streams == Streams(clean=True, lower_clean=True)


def use_nesterov(learner: Learner) -> None:
    learner.optimizers["main"].optimizer.param_groups[0]["nesterov"] = True


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("settings", OPTIONS, ids=str)
def test_directions_are_those_of_the_equations(settings: dict, nesterov: bool) -> None:
    learner = make_learner("mlc", Communicator(CPU), **settings)
    if nesterov:
        use_nesterov(learner)
    run_steps(learner, 2)
    main, meta = mlc_directions(learner, local_batch(learner.method, 7, 0, 1))
    result = propose(learner, 7)
    torch.testing.assert_close(
        result.directions["main"], joined(learner.networks["main"], main), rtol=1e-10, atol=1e-12
    )
    torch.testing.assert_close(result.directions["meta"], meta, rtol=1e-8, atol=1e-8 * float(meta.norm()))


@pytest.mark.parametrize("other", [{"look_ahead": "plain"}, {"lower_objective": "noisy"}], ids=str)
def test_the_comparison_with_the_equations_can_fail(other: dict) -> None:
    learner, changed = (make_learner("mlc", Communicator(CPU), **settings) for settings in ({}, other))
    run_steps(learner, 2)
    run_steps(changed, 2)
    _, meta = mlc_directions(changed, local_batch(changed.method, 7, 0, 1))
    assert (propose(learner, 7).directions["meta"] - meta).norm() > 1e-3 * meta.norm()


def test_the_difference_is_near_the_derivative_and_not_equal() -> None:
    exact = propose(make_learner("mlc", Communicator(CPU))).directions["meta"]
    near = propose(make_learner("mlc", Communicator(CPU), hypergradient="finite_difference")).directions["meta"]
    assert torch.cosine_similarity(near, exact, dim=0) > 0.9999
    assert not torch.equal(near, exact)


def test_a_window_of_steps_carries_the_hypergradient_and_moves_the_corrector_once() -> None:
    """K = 3: D_t = γD_{t−1} − η∇⟨∇G, v⟩ from zero, α moves at every third step, by D_3."""
    learner = make_learner("mlc", Communicator(CPU), look_ahead_steps=3)
    left: Tensor | None = None
    for step in range(7):
        _, expected = mlc_directions(learner, local_batch(learner.method, step, 0, 1), left)
        result = propose(learner, step)
        bound = {"rtol": 1e-8, "atol": 1e-8 * float(expected.norm())}
        torch.testing.assert_close(result.directions["meta"], expected, **bound)
        before = learner.networks["meta"].vector.detach().clone()
        run_steps(learner, 1, first=step)
        last = step % 3 == 2
        assert torch.equal(learner.networks["meta"].vector, before) == (not last)
        if left is not None:
            _, alone = mlc_directions(learner, local_batch(learner.method, step, 0, 1))
            assert (expected - alone).norm() > 1e-2 * alone.norm()
        left = None if last else expected
    assert float(learner.optimizers["meta"].state()["step"]) == 2


def test_a_skipped_step_leaves_the_window_as_it_was() -> None:
    learner, control = (make_learner("mlc", Communicator(CPU), look_ahead_steps=3) for _ in range(2))
    run_steps(learner, 1)
    bad = local_batch(learner.method, 1, 0, 1)
    bad.noisy.images[0] = torch.nan
    before = learner.state()
    assert bool(learner.step(bad).skipped)
    assert all(torch.equal(before[name], value) for name, value in learner.state().items())
    assert float(learner.method.state["steps"]) == 1
    run_steps(learner, 4, first=2)
    run_steps(control, 1)
    run_steps(control, 4, first=2)
    assert all(torch.equal(control.state()[name], value) for name, value in learner.state().items())


@pytest.mark.parametrize("settings", [*OPTIONS[3:], {"lower_objective": "noisy", "look_ahead_steps": 2}], ids=str)
def test_only_the_noisy_pass_moves_statistics_and_nothing_moves_parameters(settings: dict) -> None:
    learner, control = (make_learner("mlc", Communicator(CPU), **settings) for _ in range(2))
    propose(learner)
    main = control.networks["main"]
    assert torch.equal(learner.networks["main"].vector, main.vector)
    assert not torch.equal(learner.networks["main"].statistics, main.statistics)
    main(local_batch(learner.method, 0, 0, 1).noisy.images)
    assert torch.equal(learner.networks["main"].statistics, main.statistics)


class FixedCorrector(nn.Module):
    """Answers with the given label, the surer the larger ``sharpness``."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness = nn.Parameter(torch.tensor([sharpness], dtype=torch.float64))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return self.sharpness * nn.functional.one_hot(labels, NUM_CLASSES)


@pytest.mark.parametrize("mode", ["double_backward", "forward_mode", "finite_difference"])
def test_with_a_corrector_that_returns_its_label_it_is_cross_entropy_bit_for_bit(mode: str) -> None:
    def after(sharpness: float) -> Tensor:
        learner = make_learner("mlc", Communicator(CPU), hypergradient=mode, lower_objective="noisy")
        networks = {"main": learner.networks["main"], "meta": FlatNetwork(FixedCorrector(sharpness))}
        meta = make_meta_optimizer(networks["meta"], OptimConfig(), 10)
        optimizers = {"main": learner.optimizers["main"], "meta": meta}
        learner.step = TrainStep(learner.method, networks, optimizers, Communicator(CPU), None)
        run_steps(learner, 4)
        return torch.cat([networks["main"].vector.detach(), networks["main"].statistics])

    plain = make_learner("ce", Communicator(CPU))
    run_steps(plain, 4)
    expected = torch.cat([plain.networks["main"].vector.detach(), plain.networks["main"].statistics])
    assert torch.equal(after(1e4), expected)
    assert not torch.equal(after(4.0), expected)
