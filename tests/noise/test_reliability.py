"""The worth of noisy labels, and the settings that follow from it."""

import numpy as np
import pytest
import torch

from ebomlc_dist.noise.matrices import flip_matrix, uniform_matrix
from ebomlc_dist.noise.reliability import corrected_share, information_share, information_told, margin, settings_for


def share(reliability: float, num_noisy: int = 49_000, num_clean: int = 1_000, num_classes: int = 10) -> float:
    return float(information_share(torch.tensor(reliability, dtype=torch.float64), num_classes, num_noisy, num_clean))


def test_labels_at_chance_are_worth_nothing_and_right_ones_as_much_as_trusted_ones() -> None:
    assert share(0.1) == share(0.02) == 0.0
    assert share(1.0) == pytest.approx(0.98)
    assert share(0.6) < share(0.8) < share(0.9)
    assert share(0.6, num_clean=100) > share(0.6) > share(0.6, num_noisy=5_000)


@pytest.mark.parametrize("reliability", [0.3, 0.55, 0.8])
def test_the_share_is_that_of_the_best_combination(reliability: float) -> None:
    """Two unbiased means of noisy numbers, one scaled: no other weight has a smaller variance."""
    signal = (reliability - 0.1) / 0.9
    variances = {"noisy": 1 / (49_000 * signal**2), "clean": 1 / 1_000}

    def variance(weight: float) -> float:
        return weight**2 * variances["noisy"] + (1 - weight) ** 2 * variances["clean"]

    best = share(reliability)
    assert all(variance(best) < variance(best + step) for step in (-0.02, 0.02))


def test_the_settings_stay_in_their_ranges_and_the_noisy_weight_is_the_share() -> None:
    for omega in (0.0, 0.3, 1.0):
        for losses_mixed, rest in ((True, 1 - omega), (False, (1 - omega) / 2)):
            mixture, strength, scale = settings_for(torch.tensor(omega, dtype=torch.float64), losses_mixed).tolist()
            assert strength * scale == pytest.approx(omega)
            assert mixture == pytest.approx(rest)


def test_even_errors_leave_a_lead_of_the_signal_and_errors_one_way_less() -> None:
    assert float(margin(uniform_matrix(10, 0.4))) == pytest.approx((0.6 - 0.1) / 0.9)
    assert float(margin(flip_matrix(10, 0.4, np.random.default_rng(0)))) == pytest.approx(0.2)
    assert float(margin(torch.eye(10))) == 1.0
    assert float(margin(flip_matrix(10, 0.7, np.random.default_rng(0)))) == 0.0
    # A class that falls behind counts against one that leads.
    assert float(margin(torch.tensor([[0.9, 0.1], [0.6, 0.4]]))) == pytest.approx(0.3)


def test_a_label_weighs_by_its_lead_and_alike_where_nothing_leads() -> None:
    def kappa(corrected: float, given: float) -> float:
        return float(corrected_share(*torch.tensor([corrected, given], dtype=torch.float64)))

    assert kappa(0.3, 0.3) == pytest.approx(0.5)
    assert kappa(0.0, 0.0) == 0.5
    assert kappa(0.0, 0.6) == 0.0
    assert kappa(0.6, 0.0) == 1.0
    assert kappa(0.6, 0.3) == pytest.approx(0.8)


def test_labels_tell_all_where_errors_can_be_undone_and_nothing_at_chance() -> None:
    every = torch.eye(10, dtype=torch.float64)
    assert float(information_told(every)) == float(information_told(every.roll(1, dims=1))) == pytest.approx(1.0)
    assert float(information_told(uniform_matrix(10, 0.9))) == pytest.approx(0.0, abs=1e-12)
    # 0.4 right, 0.6 spread over nine: log 10 + 0.4 log 0.4 + 0.6 log(0.6 / 9), in units of log 10.
    even = 1 + (0.4 * np.log(0.4) + 0.6 * np.log(0.6 / 9)) / np.log(10)
    assert float(information_told(uniform_matrix(10, 0.6))) == pytest.approx(even)
    flips = 0.6 * every + 0.4 * every.roll(1, dims=1)
    assert float(information_told(flips)) == pytest.approx(1 + (0.4 * np.log(0.4) + 0.6 * np.log(0.6)) / np.log(10))
