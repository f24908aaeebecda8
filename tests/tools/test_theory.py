"""EBOMLC's convergence theorems on a problem that meets their assumptions: where they hold, and where they do not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ebomlc_dist.numerics.barrier import barrier_coefficient
from tools.theory import problem
from tools.theory.__main__ import run
from tools.theory.problem import ALPHA_0, GRADIENT_BOUND, LIPSCHITZ, Rule, squared_gradients, upper
from tools.theory.theorems import CASES, averages, bound, norms, slope

LENGTHS = np.array([100, 300, 1000, 3000])
HOLDING = [case for case in CASES if case.holds]
FAILING = [case for case in CASES if not case.holds]


@pytest.mark.parametrize("case", HOLDING, ids=lambda case: case.name)
def test_theorem_1_the_mean_squared_gradient_falls_as_one_over_the_root_of_the_steps(case) -> None:
    measured = averages(case.rule, LENGTHS)
    assert slope(LENGTHS, measured) == pytest.approx(-0.5, abs=0.02)
    assert (measured <= bound(case.rule, LENGTHS)).all()
    assert slope(LENGTHS, bound(case.rule, LENGTHS)) == pytest.approx(-0.5, abs=0.02)


@pytest.mark.parametrize("case", HOLDING, ids=lambda case: case.name)
def test_theorem_2_the_gradient_vanishes(case) -> None:
    found = norms(case.rule, 3000)
    assert found[-1] < 2e-3 < 0.1 < found[9]
    assert found[-1] < found[299] / 10


@pytest.mark.parametrize("case", FAILING, ids=lambda case: case.name)
def test_beyond_their_conditions_both_theorems_fail(case) -> None:
    """At ξ = 1, and with ∇_wQ read as ∇_wG(w), the gradient settles at a length that more steps do not shorten."""
    found = norms(case.rule, 3000)
    assert found[-1] > 0.3
    assert found[-1] == pytest.approx(found[999], rel=0.02)
    assert slope(LENGTHS[1:], averages(case.rule, LENGTHS[1:])) > -0.35


def test_theorem_2_needs_rates_of_the_main_model_that_are_not_summable() -> None:
    assert norms(Rule(), 3000, main_power=2.0)[-1] > 0.5


def test_the_problems_gradients_and_constants_are_those_of_its_functions() -> None:
    """Central differences, and gradients drawn at random against the stated bounds."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        w = 6 * torch.rand(3, generator=generator, dtype=torch.float64) - 3
        alpha = 6 * torch.rand(3, generator=generator, dtype=torch.float64) - 3

        def objectives(point: torch.Tensor) -> torch.Tensor:
            w, alpha = point[:3], point[3:]
            lower = (1 - torch.cos(w - problem.A - alpha)).sum()
            above = (1 - torch.cos(w - problem.B)).sum() + problem.R * (1 - torch.cos(alpha - w)).sum()
            return torch.stack([above, lower])

        point = torch.cat([w, alpha])
        assert float(objectives(point)[0]) == pytest.approx(upper(w, alpha))
        assert (torch.autograd.functional.jacobian(objectives, point).norm(dim=1) <= GRADIENT_BOUND).all()
        for row in range(2):
            hessian = torch.autograd.functional.hessian(lambda p, row=row: objectives(p)[row], point)
            assert torch.linalg.matrix_norm(hessian, 2) <= LIPSCHITZ + 1e-12


def test_the_measured_gradient_is_the_upper_objectives(monkeypatch: pytest.MonkeyPatch) -> None:
    first = squared_gradients(Rule(), 1, lambda _: 0.1, lambda _: 0.1)[0]
    w = problem.W_0.clone().requires_grad_()
    value = (1 - torch.cos(w - problem.B)).sum() + problem.R * (1 - torch.cos(ALPHA_0 - w)).sum()
    (gradient,) = torch.autograd.grad(value, w)
    assert float(first) == pytest.approx(float(gradient.square().sum()))


def test_the_measurement_goes_through_the_librarys_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the barrier switched off plain descent is left, which even `stop_gradient` cannot disturb."""
    monkeypatch.setattr(problem, "barrier_coefficient", lambda *rest: 0 * barrier_coefficient(*rest))
    assert norms(Rule("stop_gradient"), 3000)[-1] < 2e-3


def test_the_tool_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--steps", "1000", "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "-0.50" in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["theory.json", "theory.png", "theory.svg"]
    cases = json.loads((tmp_path / "out" / "theory.json").read_text())["cases"]
    assert [case["theorems_hold"] for case in cases] == [True, True, False, False]
    assert run(["--steps", "10"]) == 2
