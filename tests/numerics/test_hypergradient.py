"""Three ways to one hypergradient, against numerical differences of F(w'(α)) in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ebomlc_dist.models.label_corrector import LabelCorrector
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.hypergradient import (
    ONE_SIDED_LENGTH,
    Hypergradient,
    central_slopes,
    forward_slopes,
    in_layout,
    one_sided_slopes,
)
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.testing.problem import NUM_CLASSES, SmallNet

RATE = 0.05
MODES = ("double_backward", "forward_mode", "finite_difference")


class WeightNet(nn.Module):
    """A weight for each sample from its features and label."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(SmallNet.feature_dim, NUM_CLASSES)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return self.layer(features).gather(1, labels[:, None])


class Problem:
    """One step's data; ``kind``: soft labels from a corrector, or weights of per-sample losses."""

    def __init__(self, kind: str, batch_norm: bool) -> None:
        torch.manual_seed(0)
        self.main = FlatNetwork(SmallNet(batch_norm).double().train())
        corrector = LabelCorrector(NUM_CLASSES, SmallNet.feature_dim) if kind == "soft" else WeightNet()
        self.meta = FlatNetwork(corrector.double())
        self.kind = kind
        self.images, self.clean_images = torch.randn(2, 9, 1, 6, 6, dtype=torch.float64)
        self.labels, self.clean_labels = torch.randint(NUM_CLASSES, (2, 9))
        self.features = torch.randn(9, SmallNet.feature_dim, dtype=torch.float64)

    def coefficients(self) -> Tensor:
        logits = self.meta(self.features, self.labels)
        return logits.softmax(dim=1) if self.kind == "soft" else logits.sigmoid().squeeze(1)

    def terms_of(self, logits: Tensor) -> Tensor:
        if self.kind == "soft":
            return -logits.log_softmax(dim=1)
        return functional.cross_entropy(logits, self.labels, reduction="none")

    def terms(self, point: Tensor) -> Tensor:
        return self.terms_of(self.main.at(point, self.images)[0])

    def upper(self, point: Tensor) -> Tensor:
        return functional.cross_entropy(self.main.at(point, self.clean_images)[0], self.clean_labels)

    def upper_after_a_step(self) -> Tensor:
        """F(w'(α)) at the meta model's present parameters."""
        point = self.main.vector.detach().requires_grad_()
        lower = (self.coefficients().detach() * self.terms(point)).sum() / 9
        return self.upper(point.detach() - RATE * torch.autograd.grad(lower, point)[0]).detach()

    def hypergradient(self, mode: str, looking_ahead: bool = True) -> Tensor:
        """−η∇_α⟨∇_wG, v⟩ as a method forms it; v = ∇_wF(w) where it does not look ahead."""
        coefficients = self.coefficients()
        through = Hypergradient(mode, self.main, coefficients)
        terms = self.terms_of(self.main(self.images)[0])
        lower = through.lower_gradient((through.coefficients * terms).sum()) / 9
        ahead = (self.main.vector.detach() - RATE * lower * looking_ahead).requires_grad_()
        direction = self.main.gradient_at(self.upper(ahead), ahead)
        slopes = through.slopes(self.terms, terms.detach(), direction)
        return -RATE * gradients((slopes * coefficients).sum(), [self.meta])[0] / 9

    def numerical(self, along: Tensor, step: float = 1e-4) -> Tensor:
        """The derivative of F(w'(α)) along ``along`` (P_meta,) by a central difference."""
        start = self.meta.vector.detach().clone()
        values = []
        for sign in (1, -1):
            self.meta.vector.detach().copy_(start + sign * step * along)
            values.append(self.upper_after_a_step())
        self.meta.vector.detach().copy_(start)
        return (values[0] - values[1]) / (2 * step)


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.fixture(params=[("soft", True), ("soft", False), ("weights", True), ("weights", False)], ids=str)
def problem(request: pytest.FixtureRequest) -> Problem:
    return Problem(*request.param)


# A one-sided difference of length 0.01 is off by its length times a curvature over a slope, here of order one.
@pytest.mark.parametrize(("mode", "bound"), [(MODES[0], 1e-6), (MODES[1], 1e-6), (MODES[2], 1e-2)])
def test_it_is_the_derivative_of_the_upper_objective_after_a_step(problem: Problem, mode: str, bound: float) -> None:
    hypergradient = problem.hypergradient(mode)
    along = hypergradient / hypergradient.norm()
    assert torch.dot(hypergradient, along) == pytest.approx(float(problem.numerical(along)), rel=bound)
    for seed in range(3):
        random = torch.randn(along.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        # Along a random direction little of the gradient is left: the bound is relative to all of it.
        error = torch.dot(hypergradient, random) - problem.numerical(random)
        assert abs(error) < bound * hypergradient.norm() * random.norm()


def test_a_gradient_without_the_look_ahead_is_not_the_derivative(problem: Problem) -> None:
    wrong = problem.hypergradient("forward_mode", looking_ahead=False)
    along = wrong / wrong.norm()
    assert torch.dot(wrong, along) != pytest.approx(float(problem.numerical(along)), rel=1e-4)


def test_the_exact_modes_agree_to_rounding_and_the_difference_does_not(problem: Problem) -> None:
    classic, forward, difference = (problem.hypergradient(mode) for mode in MODES)
    assert relative(forward, classic) < 1e-12
    assert 1e-8 < relative(difference, classic) < 1e-2
    assert torch.cosine_similarity(difference, classic, dim=0) > 0.9999


def slopes_error(problem: Problem, slopes: Callable[[Tensor, float], Tensor], lengths: Tensor) -> Tensor:
    torch.manual_seed(1)
    direction = torch.randn_like(problem.main.vector)
    direction = direction / direction.norm()
    exact = forward_slopes(problem.terms, problem.main.vector.detach(), direction)
    return torch.tensor([relative(slopes(direction, float(length)), exact) for length in lengths])


def test_differences_err_by_the_order_they_claim(problem: Problem) -> None:
    point = problem.main.vector.detach()
    here = problem.terms(point).detach()
    lengths = torch.tensor([0.04, 0.02, 0.01])
    one_sided = slopes_error(
        problem, lambda along, length: one_sided_slopes(problem.terms, point, along, length, here), lengths
    )
    central = slopes_error(problem, lambda along, length: central_slopes(problem.terms, point, along, length), lengths)
    for errors, order in ((one_sided, 1.0), (central, 2.0)):
        measured = torch.diff(errors.log()) / torch.diff(lengths.log())
        assert torch.allclose(measured, torch.full((2,), order), atol=0.1), (order, measured)
    assert one_sided[lengths == ONE_SIDED_LENGTH] < 0.02


@pytest.mark.parametrize("mode", MODES)
def test_one_pass_moves_the_running_statistics_and_nothing_moves_the_parameters(mode: str) -> None:
    problem, control = Problem("soft", True), Problem("soft", True)
    problem.hypergradient(mode)
    assert torch.equal(problem.main.vector, control.main.vector)
    assert not torch.equal(problem.main.statistics, control.main.statistics)
    control.main(control.images)
    assert torch.equal(problem.main.statistics, control.main.statistics)


@pytest.mark.parametrize("mode", MODES)
def test_a_vanishing_upper_gradient_gives_zero(mode: str) -> None:
    problem = Problem("soft", True)
    problem.upper = lambda point: 0.0 * point.sum()
    assert torch.equal(problem.hypergradient(mode), torch.zeros_like(problem.meta.vector))


def test_half_precision_takes_the_longer_central_difference() -> None:
    torch.manual_seed(0)
    module = SmallNet(True).train()
    full, half = FlatNetwork(module), FlatNetwork(module, autocast=torch.bfloat16)
    images, direction = torch.randn(64, 1, 6, 6), torch.randn_like(full.vector)
    exact = forward_slopes(lambda point: full.at(point, images)[0], full.vector.detach(), direction)

    def cosine(mode: str) -> float:
        through = Hypergradient(mode, half, torch.ones(64, NUM_CLASSES))
        logits, _ = half(images)
        through.lower_gradient((through.coefficients * logits).sum())
        slopes = through.slopes(lambda point: half.at(point, images)[0], logits.detach(), direction)
        return float(torch.cosine_similarity(slopes.flatten(), exact.flatten(), dim=0))

    assert all(cosine(mode) > 0.98 for mode in MODES), {mode: cosine(mode) for mode in MODES}
    with torch.no_grad():
        here = half.at(full.vector, images)[0]
    unit = direction / direction.norm()
    coarse = one_sided_slopes(lambda point: half.at(point, images)[0], half.vector.detach(), unit, 1e-2, here)
    assert torch.cosine_similarity(coarse.flatten(), exact.flatten(), dim=0) < 0.98


def test_only_a_double_backward_asks_for_another_layout() -> None:
    images = torch.randn(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    assert in_layout("double_backward", images).is_contiguous()
    assert torch.equal(in_layout("double_backward", images), images)
    assert in_layout("forward_mode", images) is images
    assert in_layout("finite_difference", images) is images
