"""The noise process by moments, where it is known."""

import pytest
import torch
from torch import Tensor

from ebomlc_dist.noise.matrices import uniform_matrix
from ebomlc_dist.noise.moments import (
    blind_transition,
    draw_labels,
    transition_by_counts,
    transition_by_mean_softmax,
    transition_by_moments,
)
from ebomlc_dist.numerics.draws import keys_of, uniform

CLASSES = 6


def counts(confusion: Tensor, transition: Tensor, prior: Tensor, noisy: int, clean: int) -> tuple[Tensor, Tensor]:
    """Counts drawn from a classifier with ``confusion`` on labels with ``transition``."""
    generator = torch.Generator().manual_seed(0)
    joint = confusion.t() @ (prior[:, None] * transition)
    drawn = torch.multinomial(joint.flatten(), noisy, replacement=True, generator=generator)
    rows = [torch.multinomial(row, clean // CLASSES, replacement=True, generator=generator) for row in confusion]
    return (
        drawn.bincount(minlength=CLASSES**2).view(CLASSES, CLASSES),
        torch.stack([row.bincount(minlength=CLASSES) for row in rows]),
    )


def case(accuracy: float) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    spread = torch.rand(CLASSES, CLASSES, generator=generator, dtype=torch.float64).fill_diagonal_(0)
    confusion = (1 - accuracy) * spread / spread.sum(dim=1, keepdim=True) + accuracy * torch.eye(CLASSES).double()
    transition = 0.55 * torch.eye(CLASSES).double() + 0.45 * torch.eye(CLASSES).double().roll(1, dims=1)
    prior = torch.tensor([1.0, 2, 3, 1, 2, 3], dtype=torch.float64)
    return confusion, transition, prior / prior.sum()


@pytest.mark.parametrize("accuracy", [0.6, 0.9])
def test_it_is_recovered_from_an_imperfect_classifier_and_unequal_classes(accuracy: float) -> None:
    confusion, transition, prior = case(accuracy)
    joint, held_out = counts(confusion, transition, prior, 60_000, 1_200)
    found = transition_by_moments(joint, held_out)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(CLASSES, dtype=torch.float64))
    assert float((found - transition).abs().max()) < 0.12
    # What carries the classifier's own errors is farther off: the labels' distribution by predicted class.
    naive = joint.double() / joint.sum(dim=1, keepdim=True)
    assert float((naive - transition).abs().max()) > 0.15 if accuracy < 0.9 else True


def test_a_perfect_classifier_gives_the_counted_matrix() -> None:
    _, transition, prior = case(1.0)
    joint, held_out = counts(torch.eye(CLASSES).double(), transition, prior, 60_000, 6_000)
    counted = joint.double() / joint.sum(dim=1, keepdim=True)
    torch.testing.assert_close(transition_by_moments(joint, held_out), counted, rtol=0, atol=5e-3)


def test_without_any_evidence_it_is_the_blind_one() -> None:
    nothing = torch.zeros(CLASSES, CLASSES)
    blind = blind_transition(CLASSES)
    torch.testing.assert_close(transition_by_moments(nothing, nothing), blind)
    torch.testing.assert_close(blind, uniform_matrix(CLASSES, 0.5))
    torch.testing.assert_close(blind.diagonal(), torch.full((CLASSES,), 0.5, dtype=torch.float64))


def test_labels_are_drawn_from_their_rows() -> None:
    matrix = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0], [0.2, 0.3, 0.5]], dtype=torch.float64)
    labels = torch.arange(3).repeat(20_000)
    numbers = uniform(keys_of(torch.tensor(3), torch.arange(len(labels))), 1, 0)[:, 0]
    drawn = draw_labels(labels, matrix, numbers)
    for label in range(3):
        shares = drawn[labels == label].bincount(minlength=3) / 20_000
        torch.testing.assert_close(shares.double(), matrix[label], rtol=0, atol=0.015)
        assert (shares > 0).tolist() == (matrix[label] > 0).tolist()


def test_pairs_are_counted_and_rare_classes_take_after_the_others() -> None:
    pairs = torch.tensor([[60, 40, 0], [0, 50, 50], [0, 0, 0]])
    found = transition_by_counts(pairs)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert 0.55 < float(found[0, 0]) < 0.6
    assert float(found[0, 2]) < 0.01
    assert float(found[2, 2]) == pytest.approx(0.55, abs=0.05)


def test_a_mean_of_soft_predictions_carries_the_classifiers_uncertainty_and_moments_do_not() -> None:
    """The truth keeps 55 % of the labels; an unsure classifier that is right on 60 % makes it look like less."""
    confusion, transition, prior = case(0.6)
    joint, held_out = counts(confusion, transition, prior, 60_000, 1_200)
    soft = transition_by_mean_softmax(joint, held_out)
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(CLASSES, dtype=torch.float64))
    assert float(soft.diagonal().mean()) < 0.4
    assert float(transition_by_moments(joint, held_out).diagonal().mean()) == pytest.approx(0.55, abs=0.05)
    # A sure and perfect classifier leaves no difference.
    joint, held_out = counts(torch.eye(CLASSES).double(), transition, prior, 60_000, 6_000)
    torch.testing.assert_close(transition_by_mean_softmax(joint, held_out), transition, rtol=0, atol=0.02)
