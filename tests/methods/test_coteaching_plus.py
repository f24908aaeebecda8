"""Co-teaching+: what each model learns on, from the whole batch, and where it is cross entropy."""

import pytest
import torch
from torch import Tensor

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.methods.coteaching_plus import CoteachingPlusConfig, forget_share, smallest
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.testing.lockstep import LockstepReducer, over_shards
from ebomlc_dist.testing.problem import Learner, local_batch, make_learner, propose, run_steps
from tests.support.vectors import joined

CPU = torch.device("cpu")


def test_the_share_to_forget_rises_in_a_line_and_stays() -> None:
    config = CoteachingPlusConfig(forget_rate=0.4, forget_epochs=10)
    curve = [forget_share(config, epoch) for epoch in range(14)]
    assert curve == pytest.approx([0.04 * epoch for epoch in range(11)] + [0.4] * 3)


def test_smallest_takes_candidates_alone_and_index_0_too() -> None:
    losses = torch.tensor([0.1, 0.5, 0.2, 0.1, 0.0])
    candidates = torch.tensor([True, True, True, True, False])
    assert smallest(losses, candidates, torch.tensor(1.0)).tolist() == [True, False, False, False, False]
    assert smallest(losses, candidates, torch.tensor(2.0)).tolist() == [True, False, False, True, False]
    assert smallest(losses, candidates, torch.tensor(9.0)).tolist() == [True, True, True, True, False]
    assert not smallest(losses, candidates, torch.tensor(0.0)).any()


def expected_directions(learner: Learner, step: int, epoch: int) -> dict[str, Tensor]:
    """Each model's gradient of the mean cross entropy, divided once, over what the other picked, by a plain loop."""
    config, batch = learner.method.config, local_batch(learner.method, step, 0, 1).noisy
    outputs = {name: network(batch.images)[0] for name, network in learner.networks.items()}
    losses = {name: cross_entropy(logits, batch.labels) for name, logits in outputs.items()}
    disagree = outputs["main"].argmax(1) != outputs["peer"].argmax(1)
    rows = [i for i in range(len(batch.labels)) if epoch < config.init_epochs or disagree[i]]
    number = int((1 - forget_share(config, epoch)) * len(rows))
    found = {}
    for name, other in (("main", "peer"), ("peer", "main")):
        picked = sorted(rows, key=lambda i, other=other: float(losses[other][i].detach()))[:number]
        mean = losses[name][picked].mean()
        found[name] = joined(learner.networks[name], torch.autograd.grad(mean, learner.networks[name].parameters))
    return found


@pytest.mark.parametrize("epoch", [0, 5, 20, 30])
def test_each_learns_on_what_the_other_picks(epoch: int) -> None:
    learner = make_learner("coteaching-plus", Communicator(CPU), epoch=epoch, forget_rate=0.5)
    run_steps(learner, 2)
    result = propose(learner, 7)
    for name, expected in expected_directions(learner, 7, epoch).items():
        torch.testing.assert_close(result.directions[name], expected, rtol=1e-10, atol=1e-13)
    if epoch:
        plain = torch.autograd.grad(
            cross_entropy(
                learner.networks["main"](local_batch(learner.method, 7, 0, 1).noisy.images)[0],
                local_batch(learner.method, 7, 0, 1).noisy.labels,
            ).mean(),
            learner.networks["main"].parameters,
        )
        assert not torch.allclose(result.directions["main"], joined(learner.networks["main"], plain), rtol=1e-3)


def test_the_batch_that_is_ranked_is_the_global_one() -> None:
    """Two shards pick together what one process picks; each ranking its own shard would pick otherwise."""

    def on_a_shard(rank: int, reducer: LockstepReducer) -> Tensor:
        learner = make_learner("coteaching-plus", reducer, batch_norm=False, epoch=5, forget_rate=0.6)
        batch = local_batch(learner.method, 0, rank, 2)
        rules = {name: optimizer.rule() for name, optimizer in learner.optimizers.items()}
        return learner.method.step(learner.networks, rules, batch, reducer).directions["main"]

    whole = make_learner("coteaching-plus", Communicator(CPU), batch_norm=False, epoch=5, forget_rate=0.6)
    expected = propose(whole, 0).directions["main"]
    for found in over_shards(2, on_a_shard):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-13)
    alone = [on_a_shard(rank, Communicator(CPU)) for rank in range(2)]
    assert not torch.allclose(sum(alone) / 2, expected, rtol=1e-3)


def test_where_they_agree_on_all_no_step_is_made() -> None:
    learner = make_learner("coteaching-plus", Communicator(CPU), epoch=30)
    run_steps(learner, 1)
    learner.networks["peer"].vector.detach().copy_(learner.networks["main"].vector)
    before = {name: t for name, t in learner.state().items() if not name.endswith("statistics")}
    learner.networks["peer"].statistics.copy_(learner.networks["main"].statistics)
    (outcome,) = run_steps(learner, 1, first=1)
    assert float(outcome.metrics["disagreement"]) == 0
    assert all(torch.equal(learner.state()[name], tensor) for name, tensor in before.items())


def test_with_nothing_to_forget_both_are_cross_entropy_bit_for_bit() -> None:
    def after(**settings: object) -> Learner:
        learner = make_learner("coteaching-plus", Communicator(CPU), epoch=5, **settings)
        run_steps(learner, 4)
        return learner

    learner, plain = after(forget_rate=0.0), make_learner("ce", Communicator(CPU))
    run_steps(plain, 4)
    assert torch.equal(learner.networks["main"].vector, plain.networks["main"].vector)
    other = make_learner("ce", Communicator(CPU))
    peer = make_learner("coteaching-plus", Communicator(CPU)).networks["peer"]
    other.networks["main"].vector.detach().copy_(peer.vector)
    run_steps(other, 4)
    assert torch.equal(learner.networks["peer"].vector, other.networks["main"].vector)
    assert not torch.equal(after(forget_rate=0.5).networks["main"].vector, plain.networks["main"].vector)
