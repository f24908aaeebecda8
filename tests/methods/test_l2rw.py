"""L2RW on a linear model by hand, with equal weights, and where nothing agrees."""

import pytest
import torch
from torch import Tensor, nn

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.methods import l2rw
from ebomlc_dist.methods.contract import Batch, PairedBatch
from ebomlc_dist.methods.l2rw import L2rw, L2rwConfig
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.testing.problem import local_batch, make_learner, propose, run_steps

CPU = torch.device("cpu")
MODES = ("forward_mode", "double_backward", "finite_difference")


class Linear(nn.Module):
    """Two logits, (0, ⟨w, x⟩), from two pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.5, -0.25], dtype=torch.float64))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.flatten(1)
        logit = pixels @ self.weight
        return torch.stack([torch.zeros_like(logit), logit], dim=1), pixels


def batch_of(pixels: list[list[float]], labels: list[int]) -> Batch:
    images = torch.tensor(pixels, dtype=torch.float64).view(-1, 1, 1, 2)
    return Batch(images, torch.tensor(labels), len(labels))


NOISY = batch_of([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 2.0]], [1, 0, 0, 1])
CLEAN = batch_of([[1.0, -1.0], [2.0, 1.0]], [1, 1])


def gradient(batch: Batch, weight: Tensor) -> Tensor:
    """(n, 2): ∇ℓ_i = (σ(⟨w, x⟩) − y)·x."""
    pixels = batch.images.flatten(1)
    return ((pixels @ weight).sigmoid() - batch.labels)[:, None] * pixels


@pytest.mark.parametrize("mode", MODES)
def test_weights_of_a_linear_model(mode: str) -> None:
    main = FlatNetwork(Linear())
    method = L2rw(L2rwConfig(hypergradient=mode))
    result = method.step({"main": main}, {}, PairedBatch(NOISY, CLEAN), Communicator(CPU))

    own, clean = gradient(NOISY, main.vector.detach()), gradient(CLEAN, main.vector.detach()).mean(dim=0)
    weights = (own @ clean).clamp(min=0)
    assert 0 < int((weights == 0).sum()) < 4
    expected = (weights / weights.sum()) @ own
    # One-sided differences of length 0.01 leave an error of that order.
    bound = 2e-2 if mode == "finite_difference" else 1e-12
    torch.testing.assert_close(result.directions["main"], expected, rtol=bound, atol=bound * float(expected.norm()))
    assert not bool(result.skip_update["main"])
    plain = own.mean(dim=0)
    assert (expected - plain).norm() > 0.1 * plain.norm()


def test_where_no_sample_agrees_no_step_is_made() -> None:
    main = FlatNetwork(Linear())
    opposite = Batch(CLEAN.images, 1 - CLEAN.labels, CLEAN.count)
    result = L2rw(L2rwConfig()).step({"main": main}, {}, PairedBatch(opposite, CLEAN), Communicator(CPU))
    own = gradient(opposite, main.vector.detach()) @ gradient(CLEAN, main.vector.detach()).mean(dim=0)
    assert bool(result.skip_update["main"]) == bool((own <= 0).all())
    assert torch.isfinite(result.directions["main"]).all()

    learner = make_learner("l2rw", Communicator(CPU))
    run_steps(learner, 1)
    before = {name: t for name, t in learner.state().items() if not name.endswith("statistics")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(l2rw.Hypergradient, "slopes", lambda self, terms, here, vector: -torch.ones_like(here))
        assert not bool(learner.step(local_batch(learner.method, 1, 0, 1)).skipped)
    assert all(torch.equal(learner.state()[name], tensor) for name, tensor in before.items())


def test_with_equal_weights_it_is_cross_entropy_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, reference = make_learner("ce", Communicator(CPU)), make_learner("l2rw", Communicator(CPU))
    run_steps(reference, 4)
    monkeypatch.setattr(l2rw.Hypergradient, "slopes", lambda self, terms, here, vector: torch.ones_like(here))
    learner = make_learner("l2rw", Communicator(CPU))
    for each in (learner, plain):
        run_steps(each, 4)
    main = plain.networks["main"]
    assert torch.equal(learner.networks["main"].vector, main.vector)
    assert torch.equal(learner.networks["main"].statistics, main.statistics)
    assert not torch.equal(reference.networks["main"].vector, main.vector)


def test_modes_agree_and_only_the_noisy_pass_moves_statistics() -> None:
    learners = {mode: make_learner("l2rw", Communicator(CPU), hypergradient=mode) for mode in MODES}
    exact, classic, near = (propose(learner).directions["main"] for learner in learners.values())
    torch.testing.assert_close(exact, classic, rtol=1e-10, atol=1e-14)
    assert torch.cosine_similarity(near, exact, dim=0) > 0.999
    control = make_learner("ce", Communicator(CPU))
    propose(control)
    for learner in learners.values():
        assert torch.equal(learner.networks["main"].statistics, control.networks["main"].statistics)
