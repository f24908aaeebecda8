"""MW-Net and PMW-Net: derivatives, constant weights, the prior that lasts, and what a trained net says of labels."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.evaluate import evaluating, images_of, outputs
from ebomlc_dist.engine.optimizers import make_meta_optimizer
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.numerics.draws import beta, keys_of
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.losses import beta_divergence, cross_entropy
from ebomlc_dist.testing.problem import WholeDatasetReducer, local_batch, make_learner, propose, run_steps
from tests.support.runs import alone, tiny_config
from tests.support.vectors import joined

CPU = torch.device("cpu")
METHODS = ("mw-net", "pmw-net")


def upper_after_a_step(learner, batch, meta_vector: Tensor) -> Tensor:
    """F(w'(θ)) and the prior's term, with whole graphs: w' = w − η∇ mean v_i(θ)ℓ_i."""
    main = copy.deepcopy(learner.networks["main"].module)
    net = copy.deepcopy(learner.networks["meta"].module)
    rate = float(learner.optimizers["main"].rate)
    pieces = learner.networks["meta"].named(meta_vector)
    losses = functional.cross_entropy(main(batch.noisy.images)[0], batch.noisy.labels, reduction="none")
    told = functional_call(net, pieces, (losses.detach(),))
    weights, extra = told, torch.zeros(())
    if learner.method.config.name == "pmw-net":
        weights = beta(*told, keys_of(batch.key, torch.arange(len(losses))), 0)
        prior = learner.method.state["prior"]
        divergence = beta_divergence(*told, prior[0], prior[1]).mean()
        extra = learner.method.config.prior_weight * rate * divergence
    parameters = dict(main.named_parameters())
    lower = torch.autograd.grad((weights * losses).mean(), list(parameters.values()), create_graph=True)
    ahead = {name: p - rate * g for (name, p), g in zip(parameters.items(), lower, strict=True)}
    logits = functional_call(main, ahead, (batch.clean.images,))[0]
    return functional.cross_entropy(logits, batch.clean.labels) + extra


@pytest.mark.parametrize("mode", ["forward_mode", "double_backward"])
@pytest.mark.parametrize("method", METHODS)
def test_the_meta_direction_is_the_derivative_through_the_look_ahead(method: str, mode: str) -> None:
    settings = {"prior_weight": 5.0} if method == "pmw-net" else {}
    learner = make_learner(method, Communicator(CPU), hypergradient=mode, **settings)
    run_steps(learner, 2)
    batch = local_batch(learner.method, 7, 0, 1)
    vector = learner.networks["meta"].vector.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(upper_after_a_step(learner, batch, vector), vector)
    found = propose(learner, 7).directions["meta"]
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9 * float(expected.norm()))
    assert expected.norm() > 0


@pytest.mark.parametrize("method", METHODS)
def test_the_main_model_learns_with_the_weights_after_the_nets_own_step(method: str) -> None:
    """The weights are read off the net as the optimiser really leaves it."""
    learner = make_learner(method, Communicator(CPU))
    run_steps(learner, 2)
    batch = local_batch(learner.method, 2, 0, 1)
    result = propose(learner, 2)
    before = learner.networks["meta"].vector.detach().clone()
    learner.optimizers["meta"].apply(result.directions["meta"], torch.zeros(()))
    after = learner.networks["meta"].vector.detach()
    assert not torch.equal(before, after)

    main = learner.networks["main"]
    losses = cross_entropy(main(batch.noisy.images)[0], batch.noisy.labels)
    with torch.no_grad():
        weights = learner.method.weigh(learner.networks["meta"], losses.detach(), batch, 1)
    expected = joined(main, torch.autograd.grad((weights * losses).mean(), main.parameters))
    torch.testing.assert_close(result.directions["main"], expected, rtol=1e-9, atol=1e-12)

    current = make_learner(method, Communicator(CPU), weights="current")
    run_steps(current, 2)
    assert not torch.allclose(propose(current, 2).directions["main"], expected, rtol=1e-6)


class Constant(nn.Module):
    """Weight 1 whatever the loss, or another one."""

    def __init__(self, weight: float, pair: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([weight], dtype=torch.float64))
        self.pair = pair

    def forward(self, losses: Tensor):
        weight = self.weight + 0 * losses
        return (1e6 * weight, 1e-100 + 0 * weight) if self.pair else weight


@pytest.mark.parametrize("method", METHODS)
def test_with_constant_weights_it_is_cross_entropy_bit_for_bit(method: str) -> None:
    def after(weight: float) -> Tensor:
        settings = {"prior_weight": 0.0} if method == "pmw-net" else {}
        learner = make_learner(method, Communicator(CPU), weights="current", **settings)
        pair = method == "pmw-net"
        networks = {"main": learner.networks["main"], "meta": FlatNetwork(Constant(weight, pair))}
        meta = make_meta_optimizer(networks["meta"], OptimConfig(meta_lr=1e-300), 10)
        optimizers = {"main": learner.optimizers["main"], "meta": meta}
        learner.step = TrainStep(learner.method, networks, optimizers, Communicator(CPU), None)
        run_steps(learner, 4)
        return torch.cat([networks["main"].vector.detach(), networks["main"].statistics])

    plain = make_learner("ce", Communicator(CPU))
    run_steps(plain, 4)
    expected = torch.cat([plain.networks["main"].vector.detach(), plain.networks["main"].statistics])
    assert torch.equal(after(1.0), expected)
    if method == "mw-net":
        assert not torch.equal(after(0.5), expected)
    else:
        learned = make_learner(method, Communicator(CPU))
        run_steps(learned, 4)
        assert not torch.equal(learned.networks["main"].vector, plain.networks["main"].vector)


def test_the_prior_is_the_last_epochs_mean_and_lasts() -> None:
    learner = make_learner("pmw-net", Communicator(CPU))
    told = []
    for step in range(3):
        batch = local_batch(learner.method, step, 0, 1)
        with torch.no_grad():
            logits = copy.deepcopy(learner.networks["main"].module)(batch.noisy.images)[0]
            shapes = learner.networks["meta"](cross_entropy(logits, batch.noisy.labels))
        told.append(torch.stack([part.mean() for part in shapes]))
        run_steps(learner, 1, first=step)
    assert learner.method.state["prior"].tolist() == [1.0, 1.0]
    learner.method.enter_epoch(1, 4)
    learner.method.begin_epoch(learner.networks, WholeDatasetReducer(learner.networks))
    prior = learner.method.state["prior"].clone()
    torch.testing.assert_close(prior, torch.stack(told).mean(dim=0))
    run_steps(learner, 1, first=3)
    assert torch.equal(learner.method.state["prior"], prior)
    # An epoch in which nothing was learnt keeps the prior it had.
    learner.method.state["shapes"].zero_()
    learner.method.begin_epoch(learner.networks, WholeDatasetReducer(learner.networks))
    assert torch.equal(learner.method.state["prior"], prior)


def test_wrongly_labelled_digits_weigh_less_after_training() -> None:
    """40 % uniform noise, 30 epochs; before training the net hardly tells them apart."""
    config = tiny_config(
        "mw-net", train={"epochs": 30, "global_noisy_batch_size": 100}, data={"noisy_size": None, "clean_size": 100}
    )
    dataset = load_dataset(config.data, config.noise, config.seeds)
    training = build(config, dataset, alone())

    def ratio() -> float:
        """Mean weight of the wrong labels over that of the right ones."""
        with evaluating(training.networks):
            logits, _ = outputs(training, images_of(training, dataset.images[dataset.noisy_index]))
            weights = training.networks["meta"](cross_entropy(logits, dataset.noisy_labels))
        wrong = dataset.noisy_labels != dataset.true_labels
        return float(weights[wrong].mean() / weights[~wrong].mean())

    assert abs(ratio() - 1) < 0.1
    steps = training.loader.steps_per_epoch
    for epoch in range(config.train.epochs):
        begin_epoch(training, epoch)
        for step in range(epoch * steps, (epoch + 1) * steps):
            training.step(training.loader.batch(step))
        for optimizer in training.optimizers.values():
            optimizer.end("epoch")
    assert ratio() < 0.9
