"""What a step costs: forward units counted by torch's own counter, operator launches, and no wait for the host."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.optimizers import MAKERS
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.methods import METHODS, method_class
from ebomlc_dist.methods.contract import Batch, PairedBatch, Task
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.meta import build_meta_model
from ebomlc_dist.numerics.flat import FlatModule
from tests.methods.rows import ROWS
from tests.support.problem import EPOCHS

CPU = torch.device("cpu")
BATCH = 4


def make_step(method: str, batch_size: int = BATCH, **settings: object) -> tuple[TrainStep, PairedBatch]:
    """The method on ResNet-32 with equal noisy and clean batches, and half a clean batch more where it asks for one."""
    method_type = method_class(method)
    instance = method_type(method_type.Config.model_validate({"name": method, **settings}))
    networks = {}
    for name in instance.networks:
        if name == "meta":
            module: nn.Module = build_meta_model(instance.meta_model, num_classes=10, feature_dim=64)
        else:
            module = build_main_model("resnet32", num_classes=10, in_channels=3, norm="batch").train()
        networks[name] = FlatModule(module)
    optimizers = {name: MAKERS[name](network, OptimConfig(), 10) for name, network in networks.items()}
    instance.enter_epoch(ROWS[method].epoch, EPOCHS)
    instance.allocate(networks, Task(num_classes=10, num_noisy=100, num_clean=20))
    positions = torch.arange(batch_size)
    batch = Batch(torch.randn(batch_size, 3, 32, 32), positions % 10, batch_size, positions=positions)
    streams = instance.streams
    paired = PairedBatch(
        noisy=replace(batch, trusted=batch.labels < 5) if streams.noisy_images == "union" else batch,
        clean=batch if streams.clean else None,
        selected=dict.fromkeys(instance.selections(), (batch, batch)),
        key=torch.tensor(0),
    )
    return TrainStep(instance, networks, optimizers, Communicator(CPU), None), paired


def forward_flops() -> int:
    main = FlatModule(build_main_model("resnet32", num_classes=10, in_channels=3, norm="batch"))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        main(torch.randn(BATCH, 3, 32, 32))
    return counter.get_total_flops()


@pytest.mark.parametrize("method", ROWS)
def test_forward_units_of_a_step(method: str) -> None:
    assert METHODS[method].units == ROWS[method].forward_units
    step, batch = make_step(method)
    with FlopCounterMode(display=False) as counter:
        step(batch)
    units = counter.get_total_flops() / forward_flops()
    # A backward is a little less than two forwards, as nothing flows back into the images.
    assert units == pytest.approx(ROWS[method].forward_units, rel=0.02)


@pytest.mark.parametrize(
    ("method", "settings", "expected"),
    [
        ("mlc", {"hypergradient": "double_backward"}, 10),
        ("mlc", {"hypergradient": "finite_difference"}, 7),
        ("mlc", {"look_ahead_steps": 2}, 12),
        ("l2rw", {"hypergradient": "double_backward"}, 12),
        ("l2rw", {"hypergradient": "finite_difference"}, 7),
        ("mw-net", {"hypergradient": "double_backward"}, 12),
        ("mw-net", {"hypergradient": "finite_difference"}, 9),
        ("mw-net", {"weights": "current"}, 9),
        ("dividemix", {"warm_up_epochs": 100}, 6),
    ],
    ids=str,
)
def test_forward_units_of_other_settings(method: str, settings: dict, expected: float) -> None:
    step, batch = make_step(method, **settings)
    with FlopCounterMode(display=False) as counter:
        step(batch)
    assert counter.get_total_flops() / forward_flops() == pytest.approx(expected, rel=0.02)


class Launches(TorchDispatchMode):
    """Counts operators that are not views, and those that make the host wait for the device."""

    WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.is_nonzero", "aten.unique")

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.waits: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        if name.startswith(self.WAITING):
            self.waits.append(name)
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", ROWS)
def test_a_step_never_waits_for_the_host(method: str) -> None:
    step, batch = make_step(method)
    step(batch)
    with Launches() as launches:
        step(batch)
    assert launches.waits == []


def test_the_watch_for_waits_can_fail() -> None:
    with Launches() as launches:
        float(torch.ones(3).sum())
    assert launches.waits


def test_operator_launches_of_the_default_step() -> None:
    step, batch = make_step("ebomlc")
    step(batch)
    with Launches() as launches:
        step(batch)
    assert launches.count <= 900, launches.count
