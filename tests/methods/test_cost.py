"""What a step costs: forward units counted by torch's own counter, operator launches, and no wait for the host."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.optimizers import MAKERS
from ebomlc_dist.engine.step import TrainStep
from ebomlc_dist.methods import METHODS, method_class
from ebomlc_dist.methods.contract import Batch, PairedBatch, Task
from ebomlc_dist.models import build_main_model
from ebomlc_dist.models.meta import build_meta_model
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.hypergradient import takes_channels_last
from ebomlc_dist.profiling.counters import Launches, count_flops, peak_bytes
from ebomlc_dist.testing.problem import EPOCHS
from tests.methods.rows import ROWS

CPU = torch.device("cpu")
BATCH = 4


def make_step(
    method: str, batch_size: int = BATCH, clean_size: int | None = None, **settings: object
) -> tuple[TrainStep, PairedBatch]:
    """The method on ResNet-32, noisy and clean batch equal unless said, the clean one in halves where it asks."""
    clean_size = batch_size if clean_size is None else clean_size
    method_type = method_class(method)
    instance = method_type(method_type.Config.model_validate({"name": method, **settings}))
    networks = {}
    for name in instance.networks:
        if name == "meta":
            module: nn.Module = build_meta_model(instance.meta_model, num_classes=10, feature_dim=64)
        else:
            module = build_main_model("resnet32", num_classes=10, in_channels=3, norm="batch").train()
        networks[name] = FlatNetwork(module, channels_last=takes_channels_last(instance.backward_twice, CPU))
    optimizers = {name: MAKERS[name](network, OptimConfig(), 10) for name, network in networks.items()}
    instance.enter_epoch(ROWS[method].epoch, EPOCHS)
    instance.allocate(networks, Task(num_classes=10, num_noisy=100, num_clean=20))
    positions = torch.arange(batch_size)
    # In the layout that loaders give.
    images = torch.randn(batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    batch = Batch(images, positions % 10, batch_size, positions=positions)
    streams = instance.streams
    half = clean_size // 2
    clean, upper, lower = (_part(batch, slice(*ends)) for ends in ((0, clean_size), (0, half), (half, clean_size)))
    paired = PairedBatch(
        noisy=replace(batch, trusted=batch.labels < 5) if streams.noisy_images == "union" else batch,
        clean=(upper if streams.lower_clean else clean) if streams.clean else None,
        lower_clean=lower if streams.lower_clean else None,
        selected=dict.fromkeys(instance.selections(), (batch, batch)),
        key=torch.tensor(0),
    )
    return TrainStep(instance, networks, optimizers, Communicator(CPU), None), paired


def _part(batch: Batch, piece: slice) -> Batch:
    labels = batch.labels[piece]
    return Batch(batch.images[piece], labels, len(labels), positions=batch.positions[piece])


def forward_flops() -> int:
    main = FlatNetwork(build_main_model("resnet32", num_classes=10, in_channels=3, norm="batch"))
    with torch.no_grad():
        return count_flops(lambda: main(torch.randn(BATCH, 3, 32, 32)))


@pytest.mark.parametrize("method", ROWS)
@pytest.mark.parametrize("clean_size", [BATCH, BATCH // 2])
def test_forward_units_of_a_step(method: str, clean_size: int) -> None:
    info = METHODS[method]
    assert info.units_at(1) == ROWS[method].forward_units
    step, batch = make_step(method, clean_size=clean_size)
    units = count_flops(lambda: step(batch)) / forward_flops()
    # A backward is a little less than two forwards, as nothing flows back into the images.
    assert units == pytest.approx(info.units_at(clean_size / BATCH), rel=0.02)


@pytest.mark.parametrize(
    ("method", "settings", "expected"),
    [
        ("mlc", {"hypergradient": "double_backward"}, 10),
        ("mlc", {"hypergradient": "finite_difference"}, 7),
        ("mlc", {"look_ahead_steps": 2}, 10.5),
        ("mlc", {"lower_objective": "noisy", "look_ahead": "plain"}, 9),
        ("mlc", {"lower_objective": "noisy", "look_ahead_steps": 2}, 12),
        ("ebomlc", {"lower_objective": "with_clean"}, 7.5),
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
    assert count_flops(lambda: step(batch)) / forward_flops() == pytest.approx(expected, rel=0.02)


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


def launches_of(method: str, **settings: object) -> Launches:
    step, batch = make_step(method, **settings)
    step(batch)
    with Launches() as launches:
        step(batch)
    return launches


def test_operator_launches_of_the_default_step() -> None:
    assert launches_of("ebomlc").count <= 700


@pytest.mark.parametrize("method", ROWS)
def test_no_convolution_copies_what_it_is_given_into_order(method: str) -> None:
    settings = method_class(method).Config.model_validate({"name": method})
    # A forward-mode pass is given zeros for the images' own derivative, one number that torch expands.
    zeros = getattr(settings, "hypergradient", None) == "forward_mode"
    assert launches_of(method).relayouts == int(zeros)


def test_weights_in_torchs_own_order_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: each is copied in three passes and two ways back, its gradient afterwards."""
    monkeypatch.setitem(globals(), "takes_channels_last", lambda backward_twice, device: False)
    found = launches_of("ebomlc")
    # 31 weights; nothing goes back into the images of the first one.
    assert found.relayouts == 3 * 31 + 2 * 30
    monkeypatch.undo()
    assert found.operators == launches_of("ebomlc").operators + 2 * 31


def test_peak_memory_of_the_default_step_is_that_of_cross_entropy() -> None:
    """Its passes follow one another, and each gives its activations back."""
    peaks = {}
    for method, settings in (("ce", {}), ("ebomlc", {}), ("mlc", {"hypergradient": "double_backward"})):
        step, batch = make_step(method, 16, **settings)
        step(batch)
        peaks[method] = peak_bytes(partial(step, batch), CPU)
    assert peaks["ebomlc"] <= 1.1 * peaks["ce"]
    assert peaks["mlc"] > 2 * peaks["ce"], "a graph that is kept does not show"
