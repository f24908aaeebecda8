"""DivideMix: the split of two groups, targets and losses by hand, and the warm-up that is cross entropy."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.methods import dividemix
from ebomlc_dist.methods.dividemix import DivideMix
from ebomlc_dist.noise.gaussian_mixture import small_loss_probability, unit_range
from ebomlc_dist.numerics.draws import permutation
from ebomlc_dist.testing.problem import (
    NUM_CLEAN,
    NUM_NOISY,
    Learner,
    WholeDatasetReducer,
    local_batch,
    make_learner,
    propose,
    run_steps,
)
from tests.support.vectors import joined

CPU = torch.device("cpu")
EPOCH = 18


def test_two_separated_groups_are_told_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    small, large = torch.randn(700, generator=generator), torch.randn(300, generator=generator) + 8.0
    losses = unit_range(torch.cat([small, large]))
    assert (float(losses.min()), float(losses.max())) == (0.0, 1.0)
    probability = small_loss_probability(losses)
    assert (probability[:700] > 0.5).all()
    assert (probability[700:] < 0.5).all()
    # Order and scale of the samples do not matter.
    assert torch.allclose(small_loss_probability(losses.flip(0)).flip(0), probability, atol=1e-6)
    one_group = small_loss_probability(unit_range(small))
    assert ((one_group > 0.01) & (one_group < 0.99)).double().mean() > 0.3


def test_equal_losses_give_a_split_all_the_same() -> None:
    assert torch.isfinite(small_loss_probability(unit_range(torch.full((9,), 2.0)))).all()


def test_each_model_learns_from_the_others_split() -> None:
    learner = make_learner("dividemix", Communicator(CPU), epoch=EPOCH)
    method, interlude = learner.method, WholeDatasetReducer(learner.networks)
    rows = slice(0, NUM_NOISY)
    for index, other in enumerate(("peer", "main")):
        network = learner.networks[other]
        network.module.eval()
        with torch.no_grad():
            logits, _ = network(interlude.images[rows])
        losses = functional.cross_entropy(logits, interlude.labels[rows], reduction="none")
        expected = small_loss_probability(unit_range(losses))
        torch.testing.assert_close(method.state["clean_probability"][index], expected)
    found = method.selections()
    for name, probability in zip(("main", "peer"), method.state["clean_probability"], strict=True):
        assert found[f"{name}_labelled"].tolist() == [i for i in range(NUM_NOISY) if probability[i] > 0.5]
        assert found[f"{name}_unlabelled"].tolist() == [i for i in range(NUM_NOISY) if probability[i] <= 0.5]


def test_no_selection_is_empty_and_trusted_images_join_the_labelled() -> None:
    learner = make_learner("dividemix", Communicator(CPU), epoch=EPOCH, clean_images="labelled")
    method = learner.method
    method.state["clean_probability"].copy_(torch.stack([torch.full((NUM_NOISY,), value) for value in (0.2, 0.9)]))
    method.state["clean_probability"][0, 7], method.state["clean_probability"][1, 3] = 0.3, 0.8
    found, trusted = method.selections(), list(range(NUM_NOISY, NUM_NOISY + NUM_CLEAN))
    assert found["main_labelled"].tolist() == [7, *trusted]
    assert len(found["main_unlabelled"]) == NUM_NOISY
    assert found["peer_unlabelled"].tolist() == [3]
    assert found["peer_labelled"].tolist() == [*range(NUM_NOISY), *trusted]


def test_losses_of_several_epochs_are_averaged() -> None:
    learner = make_learner("dividemix", Communicator(CPU), epoch=EPOCH, loss_epochs=2)
    method, interlude = learner.method, WholeDatasetReducer(learner.networks)
    assert float(method.state["splits"]) == 1
    first = method.state["losses"][0].clone()
    run_steps(learner, 2)
    method.begin_epoch(learner.networks, interlude)
    assert torch.equal(method.state["losses"][1], first)
    second = method.state["losses"][0]
    expected = torch.stack([small_loss_probability(row) for row in ((first + second) / 2).flip(0)])
    torch.testing.assert_close(method.state["clean_probability"], expected.to(torch.float64))


def test_the_weight_of_the_unlabelled_rises() -> None:
    found = []
    for epoch in (10, 14, 26, 40):
        learner = make_learner("dividemix", Communicator(CPU), epoch=epoch)
        found.append(float(learner.method.state["ramp"]))
    assert found == pytest.approx([0.0, 25 * 4 / 16, 25.0, 25.0])


def reference_loss(learner: Learner, step: int, index: int) -> Tensor:
    """The whole loss of one model, written from the paper's formulas with one pass over the mixed batch."""
    method: DivideMix = learner.method
    names = ("main", "peer")
    own, other = (learner.networks[name].module for name in (names[index], names[1 - index]))
    batch = local_batch(method, step, 0, 1)
    (x1, x2), (u1, u2) = (batch.selected[f"{names[index]}_{part}"] for part in ("labelled", "unlabelled"))

    def p(model, view) -> Tensor:
        return model(view.images)[0].softmax(1)

    with torch.no_grad():
        w = method.state["clean_probability"][index][x1.positions][:, None]
        refined = w * functional.one_hot(x1.labels, 4) + (1 - w) * (p(own, x1) + p(own, x2)) / 2
        guess = (p(own, u1) + p(own, u2) + p(other, u1) + p(other, u2)) / 4
        sharp = [q**2 / (q**2).sum(1, keepdim=True) for q in (refined, guess)]
    images = torch.cat([x1.images, x2.images, u1.images, u2.images])
    targets = torch.cat([sharp[0], sharp[0], sharp[1], sharp[1]])
    shape = torch.full((), method.config.mixup_shape, dtype=torch.float64)
    share = dividemix.beta(shape, shape, batch.key, index)
    share = max(float(share), 1 - float(share))
    order = permutation(batch.key, len(images), 100 + index)
    mixed, mixed_targets = (share * part + (1 - share) * part[order] for part in (images, targets))
    logits = own(mixed)[0]
    half = len(logits) // 2
    labelled = -(mixed_targets[:half] * logits[:half].log_softmax(1)).sum(1).mean()
    unlabelled = (logits[half:].softmax(1) - mixed_targets[half:]).square().mean()
    mean = logits.softmax(1).mean(0)
    penalty = (0.25 * (0.25 / mean).log()).sum()
    return labelled + method.state["ramp"] * unlabelled + penalty


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("index", [0, 1])
def test_directions_are_those_of_the_papers_loss(index: int, batch_norm: bool) -> None:
    learner = make_learner("dividemix", Communicator(CPU), epoch=EPOCH, batch_norm=batch_norm)
    run_steps(learner, 1)
    name = ("main", "peer")[index]
    found = propose(learner, 7).directions[name]
    gradient = torch.autograd.grad(reference_loss(learner, 7, index), learner.networks[name].parameters)
    expected = joined(learner.networks[name], gradient)
    # With batch statistics the order of the mixed samples within a batch is a matter of rounding.
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10 * float(expected.norm()))
    learner.method.state["ramp"].fill_(0.0)
    assert not torch.allclose(propose(learner, 7).directions[name], expected, rtol=1e-4)


def test_the_warm_up_is_cross_entropy_bit_for_bit() -> None:
    def after(**settings: object) -> Learner:
        learner = make_learner("dividemix", Communicator(CPU), epoch=2, **settings)
        run_steps(learner, 4)
        return learner

    plain = make_learner("ce", Communicator(CPU))
    run_steps(plain, 4)
    learner = after()
    assert torch.equal(learner.networks["main"].vector, plain.networks["main"].vector)
    assert torch.equal(learner.networks["main"].statistics, plain.networks["main"].statistics)
    assert not torch.equal(learner.networks["peer"].vector, plain.networks["main"].vector)
    penalised = after(warm_up_penalty="negative_entropy")
    assert not torch.equal(penalised.networks["main"].vector, plain.networks["main"].vector)


def test_targets_leave_no_trace_in_the_running_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the pass over the mixed batch moves them: one update, not seven."""
    mixed = []
    mix = DivideMix._mix

    def recorded(*arguments: object) -> tuple[Tensor, Tensor]:
        mixed.append(mix(*arguments))
        return mixed[-1]

    monkeypatch.setattr(DivideMix, "_mix", recorded)
    learner = make_learner("dividemix", Communicator(CPU), epoch=EPOCH)
    propose(learner, 0)
    control = make_learner("dividemix", Communicator(CPU), epoch=EPOCH)
    for (images, _), name in zip(mixed, ("main", "peer"), strict=True):
        start = control.networks[name].statistics.clone()
        control.networks[name](images.flatten(0, 1).permute(0, 3, 1, 2))
        assert torch.equal(learner.networks[name].statistics, control.networks[name].statistics)
        assert not torch.equal(learner.networks[name].statistics, start)
