"""Bounds on the rate of wrong labels from agreement with a classifier of known accuracy."""

import numpy as np
import pytest

from ebomlc_dist.noise.agreement import TOGETHER, rate_bounds


def test_with_all_known_only_errors_on_the_same_images_leave_the_rate_open() -> None:
    """a = 0.8, r = 0.3, o = 1/9: P(p = g) = 0.56 + 0.06/9."""
    agreeing = round(10**7 * (0.56 + 0.06 / 9))
    low, high = rate_bounds(agreeing, 10**7, 8 * 10**6, 10**7, (1 / 9, 1 / 9), 0.95)
    assert low == pytest.approx(0.3, abs=2e-3)
    assert high == pytest.approx(0.3 / TOGETHER, abs=2e-3)
    assert low < 0.3 < high


def test_people_and_a_model_that_err_on_the_same_images_are_allowed_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the images are hard: 55 % of their labels and predictions are wrong, of the others 25 % and 5 %."""
    rng, size = np.random.default_rng(0), 40_000
    hard = rng.random(size) < 0.5

    def said(on_hard: float, on_easy: float) -> np.ndarray:
        return np.where(rng.random(size) < np.where(hard, on_hard, on_easy), rng.integers(1, 10, size), 0)

    given, predicted = said(0.55, 0.25), said(0.55, 0.05)
    counts = int((given == predicted).sum()), size, int((predicted[:2000] == 0).sum()), 2000
    low, high = rate_bounds(*counts, (1 / 9, 1 / 9), 0.95)
    assert low <= (given != 0).mean() <= high
    monkeypatch.setattr("ebomlc_dist.noise.agreement.TOGETHER", 1.0)
    assert rate_bounds(*counts, (1 / 9, 1 / 9), 0.95)[1] < (given != 0).mean()


@pytest.mark.parametrize(("accuracy", "rate"), [(0.5, 0.0), (0.5, 0.4), (0.8, 0.2)])
def test_they_hold_the_rate_about_as_often_as_stated(accuracy: float, rate: float) -> None:
    rng, held = np.random.default_rng(0), 0
    agreement = accuracy * (1 - rate) + (1 - accuracy) * rate / 9
    for _ in range(200):
        right, agreeing = rng.binomial(200, accuracy), rng.binomial(10_000, agreement)
        low, high = rate_bounds(agreeing, 10_000, right, 200, (1 / 9, 1 / 9), 0.95)
        held += low <= rate <= high
    assert held >= 0.94 * 200


def test_few_held_out_images_leave_much_open_and_none_leave_everything() -> None:
    widths = [
        np.ptp(rate_bounds(5_000, 10_000, held_out // 2, held_out, (0.1, 0.2), 0.95)) for held_out in (20, 200, 2_000)
    ]
    assert widths[0] > 2 * widths[1] > 4 * widths[2]
    assert rate_bounds(0, 0, 5, 10, (0.1, 0.2), 0.95) == rate_bounds(9, 10, 0, 0, (0.1, 0.2), 0.95) == (0.0, 1.0)
    # Errors of two classes always name the same one: a classifier at chance says nothing.
    assert rate_bounds(5_000, 10_000, 10, 20, (1.0, 1.0), 0.95) == (0.0, 1.0)
