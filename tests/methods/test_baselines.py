"""Baselines that use the trusted images without any rule: a fixed weight, and fine-tuning at the end."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.optimizers import make_main_optimizer
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.fine_tuning import FineTuning, FineTuningConfig
from ebomlc_dist.recipes.assemble import Request, resolve
from ebomlc_dist.testing.problem import EPOCHS, local_batch, make_learner, propose, run_steps
from tests.methods.reference import grads
from tests.support.runs import alone, tiny_config, train_until
from tests.support.vectors import joined

CPU = torch.device("cpu")


@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_the_weighted_direction_is_that_of_the_equation(weight: float) -> None:
    learner = make_learner("ce-weighted", Communicator(CPU), clean_weight=weight)
    batch, main = local_batch(learner.method, 3, 0, 1), copy.deepcopy(learner.networks["main"].module)
    assert batch.clean is not None
    assert len(batch.clean.labels) != len(batch.noisy.labels), "a mean over both together would pass"
    clean, noisy = (functional.cross_entropy(main(part.images)[0], part.labels) for part in (batch.clean, batch.noisy))
    expected = joined(learner.networks["main"], grads(weight * clean + (1 - weight) * noisy, main))
    result = propose(learner, 3)
    torch.testing.assert_close(result.directions["main"], expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(result.metrics["upper"], clean.detach())
    torch.testing.assert_close(result.metrics["lower"], noisy.detach())


@pytest.mark.parametrize(("weight", "same", "other"), [(0.0, "ce", "ce-clean"), (1.0, "ce-clean", "ce")])
def test_at_its_ends_the_weighted_sum_is_one_of_its_parts(weight: float, same: str, other: str) -> None:
    def moved(method: str, **settings: float) -> Tensor:
        learner = make_learner(method, Communicator(CPU), batch_norm=False, **settings)
        run_steps(learner, 4)
        return learner.networks["main"].vector.detach()

    found = moved("ce-weighted", clean_weight=weight)
    torch.testing.assert_close(found, moved(same), rtol=1e-12, atol=1e-14)
    assert (found - moved(other)).norm() > 1e-3 * found.norm()


@pytest.mark.parametrize("epoch", range(EPOCHS))
def test_fine_tuning_is_ce_and_then_ce_on_trusted_images_bit_for_bit(epoch: int) -> None:
    def moved(method: str) -> Tensor:
        learner = make_learner(method, Communicator(CPU), epoch=epoch)
        run_steps(learner, 3)
        return torch.cat([learner.networks["main"].vector.detach(), learner.networks["main"].statistics])

    found, noisy, clean = moved("ce-finetune"), moved("ce"), moved("ce-clean")
    assert torch.equal(found, clean if epoch == EPOCHS - 1 else noisy)
    assert not torch.equal(noisy, clean)


@pytest.mark.parametrize(
    ("share", "epochs", "first"),
    [(1 / 3, 2, 1), (1 / 3, 8, 5), (1 / 3, 60, 40), (1 / 3, 120, 80), (0.01, 8, 7), (0.99, 8, 1), (0.25, 8, 6)],
)
def test_the_last_share_of_the_epochs_is_on_trusted_images(share: float, epochs: int, first: int) -> None:
    method = FineTuning(FineTuningConfig(finetune_share=share))
    served = []
    for epoch in range(epochs):
        method.enter_epoch(epoch, epochs)
        served.append(method.streams.noisy_images)
    assert served == ["noisy"] * first + ["clean"] * (epochs - first)


@pytest.mark.parametrize("recipe", ["digits", "cifar10-uniform40", "cifar10-quick-uniform40", "folder"])
def test_fine_tuning_starts_where_the_common_schedule_first_reduces_the_rate(recipe: str) -> None:
    (run,) = resolve(Request(recipe=recipe, methods=("ce-finetune",)))
    optim, epochs = run.config.optim, run.config.train.epochs
    optimizer = make_main_optimizer(make_learner("ce", Communicator(CPU)).networks["main"], optim, epochs)
    method = FineTuning(run.config.method)
    direction, apply = torch.zeros_like(optimizer.network.vector), torch.ones(())
    rates: dict[str, list[float]] = {"noisy": [], "clean": []}
    for epoch in range(epochs):
        method.enter_epoch(epoch, epochs)
        rates[method.streams.noisy_images].append(float(optimizer.rate) / optim.main_lr)
        optimizer.apply(direction, apply)
        optimizer.end("epoch")
    assert rates["noisy"] == pytest.approx([1.0] * len(rates["noisy"]))
    assert rates["clean"][0] == pytest.approx(0.1)
    assert rates["clean"][-1] == pytest.approx(0.01)


def test_a_run_without_room_for_both_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ce-finetune needs two epochs.*has 1; set at least 2"):
        train_until(tiny_config("ce-finetune", train={"epochs": 1}), tmp_path / "run", alone())


def test_every_epoch_of_fine_tuning_is_evaluated_and_the_trusted_images_are_learnt(tmp_path: Path) -> None:
    tuned = train_until(tiny_config("ce-finetune", train={"epochs": 6}), tmp_path / "tuned", alone())
    plain = train_until(tiny_config("ce", train={"epochs": 6}), tmp_path / "plain", alone())
    assert tuned is not None
    assert plain is not None
    assert tuned["epochs"] == plain["epochs"] == 6
    assert tuned["steps"] == plain["steps"]
    assert tuned["accuracy_last"] != plain["accuracy_last"]
