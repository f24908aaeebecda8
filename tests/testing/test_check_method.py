"""`check_method` passes what keeps the contract, and says what another method breaks."""

from typing import ClassVar

import pytest
import torch
from pydantic import ConfigDict
from torch import Tensor

from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import Method, MethodConfig, Networks, PairedBatch, Reducer, Rules, StepResult, Task
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.numerics.network import gradients
from ebomlc_dist.testing import ContractError, check_method
from tests.methods.rows import ROWS


@pytest.mark.parametrize("name", ROWS)
def test_every_built_in_method_keeps_it(name: str) -> None:
    check_method(name, epoch=ROWS[name].epoch)


class Config(MethodConfig):
    share: float = 1.0


class Good(Method):
    """Cross entropy."""

    Config: ClassVar[type[MethodConfig]] = Config

    def step(self, networks: Networks, rules: Rules, batch: PairedBatch, reducer: Reducer) -> StepResult:
        loss_sum = self.loss(networks, batch)
        (direction,) = reducer.mean_of_sums(gradients(loss_sum, [networks["main"]]), batch.noisy.count).wait()
        return StepResult({"main": direction}, {"lower": direction.norm()})

    def loss(self, networks: Networks, batch: PairedBatch) -> Tensor:
        return batch.noisy.sum(cross_entropy(networks["main"](batch.noisy.images)[0], batch.noisy.labels))


def changed(result: StepResult, **changes: object) -> StepResult:
    return StepResult(**(vars(result) | changes))


class OpenConfig(Config):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")


class TakesAnything(Good):
    Config: ClassVar[type[MethodConfig]] = OpenConfig


class OwnMean(Good):
    def step(self, networks, rules, batch, reducer):
        mean = self.loss(networks, batch) / max(batch.noisy.count, 1)
        (direction,) = reducer.mean_of_sums(gradients(mean, [networks["main"]]), 1).wait()
        return StepResult({"main": direction}, {})


class NonLinearFirst(Good):
    def step(self, networks, rules, batch, reducer):
        (gradient,) = gradients(self.loss(networks, batch), [networks["main"]])
        (direction,) = reducer.mean_of_sums([gradient.clamp(-1e-3, 1e-3)], batch.noisy.count).wait()
        return StepResult({"main": direction}, {})


class NeverReduced(Good):
    def step(self, networks, rules, batch, reducer):
        (gradient,) = gradients(self.loss(networks, batch), [networks["main"]])
        return StepResult({"main": gradient / batch.noisy.global_size}, {})


class CountsBorrowed(Good):
    def loss(self, networks, batch):
        return cross_entropy(networks["main"](batch.noisy.images)[0], batch.noisy.labels).sum()


class HidesNaN(Good):
    def step(self, networks, rules, batch, reducer):
        result = super().step(networks, rules, batch, reducer)
        return changed(result, directions={"main": result.directions["main"].nan_to_num()})


class Infinite(Good):
    def step(self, networks, rules, batch, reducer):
        result = super().step(networks, rules, batch, reducer)
        return changed(result, directions={"main": result.directions["main"] / 0})


class Short(Good):
    def step(self, networks, rules, batch, reducer):
        result = super().step(networks, rules, batch, reducer)
        return changed(result, directions={"main": result.directions["main"][:-1]})


class Elsewhere(Good):
    def step(self, networks, rules, batch, reducer):
        result = super().step(networks, rules, batch, reducer)
        return changed(result, directions={"meta": result.directions["main"]})


class FloatLabels(Good):
    def step(self, networks, rules, batch, reducer):
        result = super().step(networks, rules, batch, reducer)
        return changed(result, corrected=batch.noisy.labels.float())


class LabelsBeyond(Good):
    def step(self, networks, rules, batch, reducer):
        result = super().step(networks, rules, batch, reducer)
        return changed(result, corrected=batch.noisy.labels + 4)


class MovesItself(Good):
    def step(self, networks, rules, batch, reducer):
        result = super().step(networks, rules, batch, reducer)
        with torch.no_grad():
            networks["main"].vector.sub_(0.1 * result.directions["main"])
        return result


class Draws(Good):
    def loss(self, networks, batch):
        return super().loss(networks, batch) * torch.rand(())


class Waits(Good):
    def step(self, networks, rules, batch, reducer):
        result = super().step(networks, rules, batch, reducer)
        return result if float(result.metrics["lower"]) > 0 else changed(result, metrics={})


class Counts(Good):
    """Its step depends on how many there were, which nothing stores."""

    steps = 0

    def loss(self, networks, batch):
        self.steps += 1
        return super().loss(networks, batch) / self.steps


class MemoryInPlace(Good):
    def allocate(self, networks: Networks, task: Task) -> None:
        self.state = {"steps": torch.zeros(())}

    def loss(self, networks, batch):
        self.state["steps"] += 1
        return super().loss(networks, batch)


class MemoryFromNowhere(Good):
    def begin_epoch(self, networks, interlude):
        self.state = {"late": torch.zeros(())}


class NoProbabilities(Good):
    def corrected_probabilities(self, networks, logits, features, labels):
        return logits


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (TakesAnything, "settings: a setting that the method does not have is taken"),
        (OwnMean, "two shards: unequal shares: main.vector is"),
        (NonLinearFirst, "two shards: unequal shares: main.vector is"),
        (NeverReduced, "two shards: unequal shares: ranks differ in main.vector"),
        (CountsBorrowed, "two shards: empty-noisy shares: main.vector is"),
        (HidesNaN, "fault: a NaN in an image of rank 1 at step 2: rank 0 skips the steps []"),
        (Infinite, "proposal: 'main' is not finite"),
        (Short, "proposal: the direction of 'main' has the shape"),
        (Elsewhere, "proposal: a direction for 'meta', which is not among the trained networks main"),
        (FloatLabels, "proposal: corrected has the shape (11,) and torch.float32; it is (11,) int64"),
        (LabelsBeyond, "proposal: corrected has labels beyond 0…3"),
        (MovesItself, "no trace: a step moves the parameters of 'main' itself"),
        (Draws, "no trace: a step draws from torch's generator"),
        (Waits, "no wait: a step makes the host wait for the device: aten._local_scalar_dense"),
        (Counts, "round trip: a continued run takes other steps"),
        (MemoryInPlace, "no trace: a step changes its state itself"),
        (MemoryFromNowhere, "round trip: state that `allocate` does not make: late"),
        (NoProbabilities, "corrector: corrected_probabilities are no probabilities"),
    ],
)
def test_what_breaks_the_contract_is_told(method: type[Method], said: str) -> None:
    with pytest.raises(ContractError) as caught:
        check_method(method)
    assert f"{method.__qualname__} fails\n" in str(caught.value)
    assert said in str(caught.value)


def test_what_keeps_it_passes_with_its_settings() -> None:
    assert check_method(Good) is None
    assert check_method(Good, share=0.5, epoch=2) is None


def test_what_is_no_method_is_refused() -> None:
    with pytest.raises(InputError, match="is no subclass of"):
        check_method(dict)
    with pytest.raises(InputError, match="unknown method 'cee'"):
        check_method("cee")
