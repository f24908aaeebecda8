"""Per-sample losses against their plain forms."""

import math

import pytest
import torch
from torch.nn import functional

from ebomlc_dist.numerics.losses import (
    beta_divergence,
    cross_entropy,
    forward_corrected,
    mixture_cross_entropy,
    soft_cross_entropy,
)


def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    main, meta = (torch.randn(6, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    return main, meta, torch.randint(4, (6,), generator=generator)


def test_soft_labels_that_are_hard_give_cross_entropy() -> None:
    main, _, labels = case()
    hard = functional.one_hot(labels, 4).double()
    torch.testing.assert_close(soft_cross_entropy(main.log_softmax(1), hard), cross_entropy(main, labels))


def test_soft_cross_entropy_is_linear_in_the_soft_label() -> None:
    main, meta, _ = case()
    soft = meta.softmax(1).requires_grad_()
    log_p = main.log_softmax(1)
    (gradient,) = torch.autograd.grad(soft_cross_entropy(log_p, soft).sum(), soft)
    assert torch.equal(gradient, -log_p)


def test_probability_mixture_mixes_probabilities() -> None:
    main, meta, labels = case()
    mixed = 0.2 * main.softmax(1) + 0.8 * meta.softmax(1)
    expected = -mixed.gather(1, labels[:, None]).squeeze(1).log()
    torch.testing.assert_close(mixture_cross_entropy(main, meta, labels, 0.2, "probability"), expected)


@pytest.mark.parametrize("kind", ["probability", "logit", "released"])
def test_a_mixture_of_one_is_cross_entropy_of_the_main_model(kind: str) -> None:
    main, meta, labels = case()
    meta.requires_grad_()
    losses = mixture_cross_entropy(main, meta, labels, 1.0, kind)
    torch.testing.assert_close(losses, cross_entropy(main, labels))
    (gradient,) = torch.autograd.grad(losses.sum(), meta)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_three_mixtures_differ() -> None:
    main, meta, labels = case()
    losses = [
        mixture_cross_entropy(main, meta, labels, 0.3, kind).sum() for kind in ("probability", "logit", "released")
    ]
    assert len({round(float(loss), 6) for loss in losses}) == 3


def test_probability_mixture_stays_finite_where_probabilities_vanish() -> None:
    main = torch.tensor([[0.0, 2000.0]], requires_grad=True)
    meta = torch.tensor([[0.0, 1500.0]], requires_grad=True)
    loss = mixture_cross_entropy(main, meta, torch.tensor([0]), 0.2, "probability").sum()
    assert math.isfinite(float(loss.detach()))
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(loss, [main, meta]))


def test_forward_correction_is_cross_entropy_of_the_noisy_distribution() -> None:
    main, meta, labels = case()
    matrix = meta[:4].softmax(1)
    expected = functional.nll_loss((main.softmax(1) @ matrix).log(), labels, reduction="none")
    torch.testing.assert_close(forward_corrected(main.log_softmax(1), labels, matrix), expected)
    identity = torch.eye(4, dtype=torch.float64)
    assert torch.equal(forward_corrected(main.log_softmax(1), labels, identity), cross_entropy(main, labels))


def test_divergence_of_beta_distributions_is_torchs() -> None:
    a, b = (torch.tensor(values, dtype=torch.float64) for values in ([0.3, 1.0, 7.0], [2.0, 1.0, 0.6]))
    prior = torch.tensor([1.7, 0.4], dtype=torch.float64)
    expected = torch.distributions.kl_divergence(
        torch.distributions.Beta(a, b), torch.distributions.Beta(prior[0], prior[1])
    )
    torch.testing.assert_close(beta_divergence(a, b, prior[0], prior[1]), expected)
    other = torch.distributions.kl_divergence(
        torch.distributions.Beta(prior[0], prior[1]), torch.distributions.Beta(a, b)
    )
    assert not torch.allclose(other, expected)
