"""The loop of every method on a GPU that is played: no wait, no mixed devices, no copy across from step to step."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from ebomlc_dist.engine.trainer import Trainer
from ebomlc_dist.methods.contract import StepResult
from tests.methods.rows import ROWS
from tests.rehearsal.runs import NOBODY, config_of, make_trainer
from tests.support.border import DEVICE
from tests.support.fake_gpu import FakeGpu


def take_steps(trainer: Trainer, count: int, fake_gpu: FakeGpu) -> list[str]:
    """The loop, all of it; what was seen from the second step on. An epoch begins before the first one."""
    steps = trainer.steps(NOBODY)
    next(steps)
    fake_gpu.border.watching = True
    for _ in range(count - 1):
        next(steps)
    return fake_gpu.border.seen


@pytest.mark.parametrize("method", ROWS)
def test_no_step_crosses_the_border(method: str, fake_gpu: FakeGpu) -> None:
    """Loader, augmentation, step, optimisers, meters, and the flag that asks to stop, read two steps later."""
    assert take_steps(make_trainer(config_of(method)), 4, fake_gpu) == []
    assert "wait for event" in fake_gpu.notes


@pytest.mark.parametrize("method", ROWS)
def test_neither_does_a_recording_nor_a_replay(method: str, fake_gpu: FakeGpu) -> None:
    trainer = make_trainer(config_of(method, train={"cuda_graph": True}))
    assert take_steps(trainer, 2, fake_gpu) == []
    trainer.close()
    if not trainer.training.method.backward_twice:
        notes = [note for note in fake_gpu.notes if note in ("record", "replay", "reset graph")]
        assert notes == ["record", "replay", "replay", "reset graph"]


@pytest.mark.parametrize("changes", [{"loader": "dataloader", "num_workers": 0}, {"augment": "resized-crop-flip"}])
@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator is found")
def test_neither_do_other_ways_of_the_images(changes: dict, fake_gpu: FakeGpu) -> None:
    assert take_steps(make_trainer(config_of("ebomlc", data=changes)), 3, fake_gpu) == []


@pytest.mark.parametrize("train", [{"precision": "fp16"}, {"weight_average": 0.9}, {"label_smoothing": 0.1}], ids=str)
def test_neither_do_settings_of_the_step(train: dict, fake_gpu: FakeGpu) -> None:
    assert take_steps(make_trainer(config_of("ce", train=train)), 3, fake_gpu) == []


def branch(images: Tensor, labels: Tensor) -> object:
    return images if labels.sum() > 5 else labels


def put_by_mask(images: Tensor, labels: Tensor) -> object:
    images[labels > 3] = images[0]
    return images


FAULTS: dict[str, tuple[str, Callable[[Tensor, Tensor], object]]] = {
    "item": ("wait", lambda images, labels: labels[0].item()),
    "float": ("wait", lambda images, labels: float(images.mean())),
    "if": ("wait", branch),
    "tolist": ("out", lambda images, labels: labels.cpu().tolist()),
    "factors of the host": ("mixed", lambda images, labels: images * torch.ones(len(images), 1, 1, 1)),
    "a number of the host": ("mixed", lambda images, labels: images * torch.tensor(2.0)),
    "torch.tensor(device=)": ("in", lambda images, labels: images * torch.tensor([2.0], device=DEVICE)),
    "list index": ("in", lambda images, labels: images[[0, 2]]),
    "mask index": ("wait", lambda images, labels: images[labels > 3]),
    "mask put": ("wait", put_by_mask),
    "nonzero": ("wait", lambda images, labels: (labels > 3).nonzero()),
    "where": ("wait", lambda images, labels: torch.where(labels > 3)),
    "masked_select": ("wait", lambda images, labels: labels.masked_select(labels > 3)),
    "unique": ("wait", lambda images, labels: labels.unique()),
    "bincount": ("wait", lambda images, labels: labels.bincount(minlength=10)),
    "one_hot": ("wait", lambda images, labels: functional.one_hot(labels)),
    "equal": ("wait", lambda images, labels: torch.equal(labels, labels + 1)),
    "cpu": ("out", lambda images, labels: labels.cpu()),
    "to": ("out", lambda images, labels: images.to("cpu")),
    "to, not waited for": ("out", lambda images, labels: images.to("cpu", non_blocking=True)),
    "from the host": ("in", lambda images, labels: images + torch.ones(1).to(DEVICE)),
    "from the host, not pinned": ("in", lambda images, labels: torch.ones(1).to(DEVICE, non_blocking=True)),
    "copy_": ("in", lambda images, labels: images.copy_(torch.zeros(images.shape), non_blocking=True)),
    "copy_ out": ("out", lambda images, labels: torch.zeros(labels.shape, dtype=torch.int64).copy_(labels)),
    "numpy": ("out", lambda images, labels: labels.cpu().numpy()),
}


class Operators(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def tells_of_new_tensors() -> bool:
    """Whether this torch shows a mode what `torch.tensor` and a list as an index make on the device; 2.11 does not."""
    with Operators() as operators:
        torch.tensor([2.0], device=DEVICE)
    return operators.names != []


untold = pytest.mark.skipif(not tells_of_new_tensors(), reason="this torch tells no mode of it")


@pytest.mark.parametrize(
    "fault",
    [pytest.param(name, marks=untold if name in ("torch.tensor(device=)", "list index") else ()) for name in FAULTS],
)
def test_a_planted_fault_is_seen(fault: str, fake_gpu: FakeGpu) -> None:
    kind, plant = FAULTS[fault]
    trainer = make_trainer(config_of("ce"))
    step = trainer.training.step.method.step

    def faulty(networks, rules, batch, reducer) -> StepResult:
        plant(batch.noisy.images, batch.noisy.labels)
        return step(networks, rules, batch, reducer)

    trainer.training.step.method.step = faulty  # type: ignore[method-assign]
    seen = take_steps(trainer, 2, fake_gpu)
    assert seen
    assert {note.split(":")[0] for note in seen} == {kind}


def test_numpy_of_what_lies_there_fails(fake_gpu: FakeGpu) -> None:
    with pytest.raises(TypeError, match="numpy"):
        np.asarray(torch.ones(2, device=DEVICE))


def test_copies_of_pinned_memory_are_free(fake_gpu: FakeGpu) -> None:
    fake_gpu.border.watching = True
    held = torch.ones(3).pin_memory()
    there = held.to(DEVICE, non_blocking=True)
    held.copy_(there, non_blocking=True)
    torch.empty(3, pin_memory=True).copy_(there, non_blocking=True)
    there.copy_(held, non_blocking=True)
    assert fake_gpu.border.seen == []
    held.to(DEVICE)
    there.copy_(held)
    assert [note.split(":")[0] for note in fake_gpu.border.seen] == ["in", "in"]
