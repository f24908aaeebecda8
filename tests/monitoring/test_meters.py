"""Figures gathered on the device against plain counting."""

import math

import torch

from ebomlc_dist.monitoring.meters import LabelMeter, StepMeter, label_figures

CPU = torch.device("cpu")


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value)


def test_means_and_maxima_leave_skipped_steps_out() -> None:
    meter = StepMeter(CPU, ["loss"], ["beta"])
    for loss, beta, skipped in [(1.0, 0.5, False), (math.nan, math.inf, True), (3.0, 0.2, False)]:
        meter.add({"loss": scalar(loss)}, {"beta": scalar(beta)}, torch.tensor(skipped))
    means, skipped, longest = meter.read()
    assert means == {"loss": 2.0, "beta_max": 0.5}
    assert (skipped, longest) == (1, 1)


def test_a_row_of_skips_is_counted_over_intervals() -> None:
    meter = StepMeter(CPU, ["loss"], [])
    for skipped in (False, True, True):
        meter.add({"loss": scalar(1.0)}, {}, torch.tensor(skipped))
    meter.reset()
    meter.add({"loss": scalar(1.0)}, {}, torch.tensor(True))
    means, skipped, longest = meter.read()
    assert math.isnan(means["loss"])
    assert (skipped, longest) == (1, 3)


def test_the_latest_values_are_of_one_step_that_was_not_skipped() -> None:
    meter = StepMeter(CPU, ["dot", "norm"], [])
    for dot, norm, skipped in [(1.0, 2.0, False), (3.0, 4.0, False), (math.nan, 5.0, True)]:
        meter.add({"dot": scalar(dot), "norm": scalar(norm)}, {}, torch.tensor(skipped))
    meter.reset()
    assert meter.latest() == {"dot": 3.0, "norm": 4.0}


def test_label_figures_are_those_of_plain_counting() -> None:
    generator = torch.Generator().manual_seed(0)
    believed, given, truth = (torch.randint(3, (200,), generator=generator) for _ in range(3))
    meter = LabelMeter(CPU, 3)
    for part in range(0, 200, 50):
        rows = slice(part, part + 50)
        meter.add(believed[rows], given[rows], truth[rows], keep=torch.tensor(True))
    meter.add(believed, given, truth, keep=torch.tensor(False))
    figures = label_figures(meter.counts, 3)
    wrong = given != truth
    assert figures["wrong_labels_corrected"] == 100 * float((believed == truth)[wrong].double().mean())
    assert figures["right_labels_kept"] == 100 * float((believed == truth)[~wrong].double().mean())
    expected = [[int(((truth == t) & (believed == b)).sum()) for b in range(3)] for t in range(3)]
    assert figures["correction_matrix"] == expected


def test_no_wrong_labels_have_no_share() -> None:
    meter = LabelMeter(CPU, 2)
    meter.add(torch.tensor([0, 1]), torch.tensor([0, 0]), torch.tensor([0, 0]))
    figures = label_figures(meter.counts, 2)
    assert figures["wrong_labels_corrected"] is None
    assert figures["right_labels_kept"] == 50.0
