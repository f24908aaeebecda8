"""GLC: its second stage is CE where nothing is corrupted, and its matrix is the noise that was put in."""

import pytest
import torch
from torch import Tensor

from ebomlc_dist.config import NoiseConfig
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.build import build
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.errors import InputError
from ebomlc_dist.numerics.losses import forward_corrected
from ebomlc_dist.testing.problem import EPOCHS, NUM_CLASSES, WholeDatasetReducer, make_learner, run_steps
from tests.support.runs import alone, tiny_config

CPU = torch.device("cpu")


def after_steps(method: str, transition: Tensor | None = None, **settings: object) -> Tensor:
    learner = make_learner(method, Communicator(CPU), **settings)
    if transition is not None:
        learner.method.state["transition"].copy_(transition)
    run_steps(learner, 4)
    return torch.cat([learner.networks["main"].vector.detach(), learner.networks["main"].statistics])


def test_with_the_identity_matrix_it_is_cross_entropy_on_both_sets_bit_for_bit() -> None:
    identity = torch.eye(NUM_CLASSES, dtype=torch.float64)
    plain = after_steps("ce", clean_images="labelled")
    assert torch.equal(after_steps("glc", identity, epoch=EPOCHS), plain)
    other = 0.9 * identity + 0.1 / NUM_CLASSES
    assert not torch.equal(after_steps("glc", other, epoch=EPOCHS), plain)


def test_the_first_stage_is_cross_entropy_on_the_noisy_set_bit_for_bit() -> None:
    assert torch.equal(after_steps("glc", epoch=0), after_steps("ce"))
    assert not torch.equal(after_steps("glc", epoch=EPOCHS), after_steps("ce"))


def test_trusted_labels_are_not_corrected() -> None:
    """The matrix swaps two classes: the loss of a noisy label is that of its partner, of a trusted one its own."""
    swap = torch.eye(4)[[1, 0, 2, 3]]
    log_probabilities = torch.randn(4, 4).log_softmax(dim=1)
    losses = forward_corrected(log_probabilities, torch.tensor([0, 1, 2, 3]), swap)
    assert torch.equal(losses, -log_probabilities[torch.arange(4), torch.tensor([1, 0, 2, 3])])


def test_the_matrix_is_the_mean_prediction_of_each_class() -> None:
    learner = make_learner("glc", Communicator(CPU), epoch=EPOCHS)
    interlude = WholeDatasetReducer(learner.networks)
    clean = slice(-12, None)
    interlude.labels[clean] = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
    learner.method.begin_epoch(learner.networks, interlude)
    main = learner.networks["main"]
    main.module.eval()
    with torch.no_grad():
        probabilities = main(interlude.images[clean])[0].softmax(dim=1)
    labels = interlude.labels[clean]
    expected = torch.stack([probabilities[labels == k].mean(dim=0) for k in range(NUM_CLASSES)])
    torch.testing.assert_close(learner.method.state["transition"], expected)
    assert interlude.restarted == ["main"]


def test_a_class_without_trusted_images_is_refused() -> None:
    learner = make_learner("glc", Communicator(CPU))
    interlude = WholeDatasetReducer(learner.networks)
    interlude.labels = interlude.labels.clamp_max(NUM_CLASSES - 2)
    learner.method.enter_epoch(EPOCHS, EPOCHS)
    with pytest.raises(InputError, match=f"none of class {NUM_CLASSES - 1}"):
        learner.method.begin_epoch(learner.networks, interlude)


def test_the_second_stage_begins_where_the_first_began_and_sees_both_sets() -> None:
    config = tiny_config("glc")
    dataset = load_dataset(config.data, config.noise, config.seeds)
    training = build(config, dataset, alone())
    main = training.networks["main"]
    first = {name: t.clone() for name, t in main.module.state_dict().items()}
    begin_epoch(training, 0)
    assert training.loader.batch(0).noisy.trusted is None
    for step in range(3):
        training.step(training.loader.batch(step))
    assert not all(torch.equal(t, first[name]) for name, t in main.module.state_dict().items())
    rate = training.optimizers["main"].rate
    rate.mul_(0.1)
    begin_epoch(training, config.train.epochs)
    assert all(torch.equal(t, first[name]) for name, t in main.module.state_dict().items())
    assert float(rate) == pytest.approx(config.optim.main_lr)
    assert not training.optimizers["main"].state()["momentum_buffer"].any()
    batch = training.loader.batch(0).noisy
    assert batch.trusted is not None
    assert training.total_steps == 2 * config.train.epochs * training.loader.steps_per_epoch
    seen = [training.loader.batch(step).noisy for step in range(8)]
    trusted = torch.cat([b.positions[b.trusted] for b in seen]) - len(dataset.noisy_labels)
    labels = torch.cat([b.labels[b.trusted] for b in seen])
    assert len(trusted) > 0
    assert torch.equal(labels, dataset.clean_labels[trusted])


def test_the_matrix_of_known_flips_is_recovered_on_digits() -> None:
    """20 % flips, 300 trusted digits: each entry within its sampling error, and the pairs are the right ones."""
    config = tiny_config(
        "glc", train={"epochs": 40, "global_noisy_batch_size": 100}, data={"noisy_size": None, "clean_size": 300}
    )
    config = config.model_copy(update={"noise": NoiseConfig(kind="flip", rate=0.2)})
    dataset = load_dataset(config.data, config.noise, config.seeds)
    training = build(config, dataset, alone())
    steps = training.loader.steps_per_epoch
    for epoch in range(config.train.epochs):
        begin_epoch(training, epoch)
        for step in range(epoch * steps, (epoch + 1) * steps):
            training.step(training.loader.batch(step))
        training.optimizers["main"].end("epoch")
    begin_epoch(training, config.train.epochs)

    estimated = training.method.state["transition"].double()
    counted = torch.zeros(10, 10, dtype=torch.float64)
    ones = torch.ones(len(dataset.noisy_labels), dtype=torch.float64)
    counted.index_put_((dataset.true_labels, dataset.noisy_labels), ones, accumulate=True)
    realised = counted / counted.sum(dim=1, keepdim=True)
    # 30 trusted images a class: a share of 0.2 has a standard error of 0.07.
    assert float((estimated - realised).abs().max()) < 3 * 0.07
    moved = [(matrix - torch.diag(matrix.diagonal())).argmax(dim=1) for matrix in (estimated, realised)]
    assert torch.equal(*moved)
    # Negative control: the identity, a matrix without noise, is farther off.
    assert float((torch.eye(10) - realised).abs().mean()) > 2 * float((estimated - realised).abs().mean())
