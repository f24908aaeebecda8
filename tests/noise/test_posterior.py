"""The posterior of the noise process: near the truth where the most likely matrix is not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import betaln
from torch import Tensor

from ebomlc_dist.noise.alike_rows import RATES, STRENGTHS
from ebomlc_dist.noise.matrices import flip_matrix, uniform_matrix
from ebomlc_dist.noise.moments import transition_by_counts, transition_by_moments
from ebomlc_dist.noise.posterior import above_chance, transition_by_posterior

CLASSES = 10
NOISY, HELD_OUT = 10_000, 20
FLIPS = flip_matrix(CLASSES, 0.4, np.random.default_rng(3))
NOISE = {
    "none": torch.eye(CLASSES, dtype=torch.float64),
    "uniform 20": uniform_matrix(CLASSES, 0.2),
    "uniform 60": uniform_matrix(CLASSES, 0.6),
    "uniform 80": uniform_matrix(CLASSES, 0.8),
    "flips 40": FLIPS,
}
LIMITS = {"none": 0.3, "uniform 20": 0.23, "uniform 60": 0.1, "uniform 80": 0.08, "flips 40": 0.2}
"""Mean distance of a row from the truth, in total variation."""


def weak_confusion() -> Tensor:
    """C of a classifier that is right on 15 to 70 % of a class and errs to some classes more than to others."""
    rng = np.random.default_rng(5)
    accuracy = np.linspace(0.15, 0.7, CLASSES)
    wrong = rng.gamma(0.7, size=(CLASSES, CLASSES)) * (1 - np.eye(CLASSES))
    wrong *= ((1 - accuracy) / wrong.sum(axis=1))[:, None]
    return torch.from_numpy(wrong + np.diag(accuracy))


def tables(confusion: Tensor, transition: Tensor, held_out: int = HELD_OUT, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Counts of ``NOISY`` noisy images and of ``held_out`` trusted ones a class."""
    rng, size = np.random.default_rng(seed), len(confusion)
    joint = (confusion.t() @ transition / size).numpy()
    return (
        torch.from_numpy(rng.multinomial(NOISY, joint.ravel() / joint.sum()).reshape(size, size)),
        torch.from_numpy(np.stack([rng.multinomial(held_out, row / row.sum()) for row in confusion.numpy()])),
    )


def distance(found: Tensor, truth: Tensor) -> float:
    return float((found - truth).abs().sum(dim=1).mean() / 2)


@pytest.mark.parametrize("name", NOISE)
def test_it_is_nearer_to_the_truth_than_the_most_likely_matrix(name: str) -> None:
    truth = NOISE[name]
    far: dict[Callable, list[float]] = {transition_by_posterior: [], transition_by_moments: []}
    for seed in range(2):
        joint, held_out = tables(weak_confusion(), truth, seed=seed)
        for estimate, distances in far.items():
            found = estimate(joint, held_out)
            torch.testing.assert_close(found.sum(dim=1), torch.ones(CLASSES, dtype=torch.float64))
            assert float(found.min()) >= 0
            distances.append(distance(found, truth))
    posterior, moments = (np.mean(distances) for distances in far.values())
    assert posterior < LIMITS[name]
    # Without noise and with flips the most likely matrix has nothing to be wrong about but the rate.
    assert moments > (2 * posterior if name.startswith("uniform") else posterior)


@pytest.mark.parametrize(("name", "limit"), [("none", 0.15), ("uniform 20", 0.15), ("flips 40", 0.27)])
def test_five_images_a_class_do_where_classes_lend_each_other_their_accuracy(name: str, limit: float) -> None:
    joint, held_out = tables(weak_confusion(), NOISE[name], held_out=5)
    assert distance(transition_by_posterior(joint, held_out), NOISE[name]) < limit


def test_with_more_images_held_out_it_comes_nearer() -> None:
    few, many = (
        distance(transition_by_posterior(*tables(weak_confusion(), FLIPS, held_out=count)), FLIPS)
        for count in (10, 2_000)
    )
    assert many < 0.06 < few


def test_with_a_perfect_classifier_it_is_the_counted_matrix_with_rows_that_are_alike() -> None:
    joint, held_out = tables(torch.eye(CLASSES, dtype=torch.float64), NOISE["uniform 60"], held_out=1_000)
    found, counted = transition_by_posterior(joint, held_out), joint.double() / joint.sum(dim=1, keepdim=True)
    assert distance(found, transition_by_counts(joint)) < 0.005
    assert distance(found, NOISE["uniform 60"]) < distance(counted, NOISE["uniform 60"]) < 0.05


def test_predictions_are_rows_of_one_table_and_columns_of_the_other() -> None:
    joint, held_out = tables(weak_confusion(), FLIPS)
    assert distance(transition_by_posterior(joint, held_out), FLIPS) + 0.1 < distance(
        transition_by_posterior(joint.t(), held_out), FLIPS
    )


def test_nothing_depends_on_the_order_of_the_classes_but_the_draws() -> None:
    order = torch.randperm(CLASSES, generator=torch.Generator().manual_seed(1))
    far = {}
    for name in ("uniform 60", "flips 40"):
        joint, held_out = tables(weak_confusion(), NOISE[name])
        found = transition_by_posterior(joint, held_out)
        renamed = transition_by_posterior(joint[order][:, order], held_out[order][:, order])
        far[name] = distance(renamed, found[order][:, order]), distance(renamed, found)
    assert far["uniform 60"][0] < 0.03
    # In another order flips are another noise.
    assert far["flips 40"][0] < far["flips 40"][1] / 2


def test_the_same_counts_give_the_same_bits_whatever_else_is_drawn() -> None:
    joint, held_out = tables(weak_confusion(), FLIPS)
    first = transition_by_posterior(joint, held_out)
    np.random.seed(0)
    torch.manual_seed(0)
    assert torch.equal(transition_by_posterior(joint.double(), held_out.float()), first)
    assert not torch.equal(transition_by_posterior(joint, held_out + 1), first)


@pytest.mark.parametrize("size", [2, 30])
def test_without_any_evidence_no_class_is_special(size: int) -> None:
    nothing = torch.zeros(size, size)
    found = transition_by_posterior(nothing, nothing)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(size, dtype=torch.float64))
    kept = found.diagonal()
    assert 0.2 < float(kept.mean()) < 0.8
    assert float((kept - kept.mean()).abs().max()) < 0.2


def test_it_is_the_mean_that_integration_finds_where_the_true_classes_are_known() -> None:
    """Two classes: beta-binomial likelihoods over the grid of ε and s."""
    right, wrong = np.array([9, 3]), np.array([1, 2])
    joint = torch.tensor([[right[0], wrong[0]], [wrong[1], right[1]]])
    found = transition_by_posterior(joint, torch.eye(2) * 1e6)
    strength, rate = np.meshgrid(STRENGTHS, RATES, indexing="ij")
    a, b = (strength * (1 - rate))[..., None], (strength * rate)[..., None]
    weight = np.exp((betaln(a + right, b + wrong) - betaln(a, b)).sum(axis=-1))
    mean = (weight[..., None] * (a + right) / (a + b + right + wrong)).sum(axis=(0, 1)) / weight.sum()
    np.testing.assert_allclose(found.diagonal().numpy(), mean, atol=0.03)
    # The classes do lend each other strength.
    alone = (right + 1) / (right + wrong + 2)
    assert np.abs(alone - mean).max() > 0.06


def test_two_classes_and_a_class_that_nobody_is_given() -> None:
    sure = torch.tensor([[0.8, 0.2], [0.3, 0.7]], dtype=torch.float64)
    truth = torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64)
    assert distance(transition_by_posterior(*tables(sure, truth, held_out=500)), truth) < 0.06
    joint, held_out = tables(weak_confusion(), NOISE["uniform 20"])
    joint[:, 3] = 0
    assert bool(torch.isfinite(transition_by_posterior(joint, held_out)).all())


def test_a_classifier_is_above_chance_where_luck_would_not_explain_it() -> None:
    lucky, known = torch.zeros(10, 10), torch.zeros(10, 10)
    lucky[:, 0], known[:, 0] = 2, 1
    known += torch.eye(10)
    assert not above_chance(torch.zeros(10, 10))
    assert not above_chance(lucky)
    assert above_chance(known)
    # Two classes, and the same share of right answers, are no evidence.
    assert not above_chance(torch.tensor([[6, 5], [5, 6]]))
