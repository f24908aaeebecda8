"""What is done otherwise on a GPU beside the steps, on one that is played: evaluation, lanes, generators, clocks."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ebomlc_dist.data.loaders.auto_select import choose_loader
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine import dry_run, trials
from ebomlc_dist.engine.build import fresh_module
from ebomlc_dist.engine.evaluate import evaluate_clean_set, evaluate_noisy_set, evaluate_test_set
from ebomlc_dist.engine.packed import train_packed
from ebomlc_dist.engine.preflight import check_device
from ebomlc_dist.engine.state import capture, restore
from ebomlc_dist.launch.signals import Signals
from ebomlc_dist.profiling.clock import DeviceClock
from ebomlc_dist.profiling.counters import peak_bytes
from ebomlc_dist.profiling.resident import peak_growth
from tests.rehearsal.runs import config_of, digits, make_trainer, make_training
from tests.support.border import DEVICE
from tests.support.fake_gpu import FakeGpu
from tests.support.runs import alone


@pytest.mark.parametrize("method", ["ebomlc", "dividemix"])
def test_evaluation_waits_once(method: str, fake_gpu: FakeGpu) -> None:
    training = make_training(config_of(method))
    fake_gpu.border.watching = True
    for evaluate, reads in ((evaluate_test_set, 1), (evaluate_clean_set, 1), (evaluate_noisy_set, 6)):
        fake_gpu.border.seen.clear()
        evaluate(training)
        kinds = [note.split(":")[0] for note in fake_gpu.border.seen]
        assert "mixed" not in kinds
        assert kinds.count("out") + kinds.count("wait") <= reads, evaluate.__name__


def test_a_dry_run_takes_its_steps_and_lets_go_of_them(fake_gpu: FakeGpu) -> None:
    rows = dict(dry_run._estimates(make_training(config_of("ebomlc", train={"cuda_graph": True}))))
    assert "about 3.00 GiB" in rows["memory"]
    assert fake_gpu.notes.count("replay") == 7
    assert fake_gpu.notes[-1] == "reset graph"
    assert dry_run.device_name(alone(DEVICE.type)) == "a GPU"


def test_a_generator_of_the_device_is_stored_and_put_back(fake_gpu: FakeGpu) -> None:
    trainer = make_trainer(config_of("ebomlc"))
    groups = capture(trainer.training, None, None)
    assert groups["ranks"]["cuda_generator"].shape == (1, 16)
    groups["ranks"] = {name: torch.zeros(value.shape, dtype=value.dtype) for name, value in groups["ranks"].items()}
    groups["ranks"]["cpu_generator"] = torch.get_rng_state()[None]
    before = len(fake_gpu.notes)
    restore(trainer.training, groups, {"epoch": 0, "step": 0}, None)
    assert fake_gpu.notes[before:] == ["set generator"]


def test_a_fresh_network_leaves_the_generators_alone(fake_gpu: FakeGpu) -> None:
    training = make_training(config_of("ce"))
    before = len(fake_gpu.notes)
    assert not next(fresh_module(training, "main").parameters()).is_meta
    assert fake_gpu.notes[before:] == ["set generator"]


def test_each_lane_has_a_stream_and_a_state_of_the_generator(tmp_path: Path, fake_gpu: FakeGpu) -> None:
    seen: list[tuple[str, int, int]] = []

    def begin(name: str) -> tuple:
        def steps(runtime: Runtime, signals: Signals) -> Iterator[None]:
            for _ in range(2):
                seen.append((name, fake_gpu.current.cuda_stream, fake_gpu.generator.state))
                yield
            return {"run": name}

        return tmp_path / name, steps

    ended = train_packed([begin("a"), begin("b")], alone(DEVICE.type))
    assert [one.summary for one in ended] == [{"run": "a"}, {"run": "b"}]
    assert [name for name, *_ in seen] == ["a", "b", "a", "b"]
    places = {name: set(place) for name in ("a", "b") for place in [{one[1:] for one in seen if one[0] == name}]}
    assert len(places["a"]) == len(places["b"]) == 1
    (stream_a, state_a), (stream_b, state_b) = (*places["a"], *places["b"])
    assert stream_a != stream_b
    assert state_a != state_b
    assert (fake_gpu.current.cuda_stream, fake_gpu.generator.state) == (-1, 0)


def test_clocks_and_counters_ask_the_device(fake_gpu: FakeGpu) -> None:
    clock = DeviceClock(DEVICE)
    assert clock.between([clock.mark(), clock.mark()]) == [1.0]
    assert fake_gpu.notes == ["event", "event", "synchronize"]
    assert peak_bytes(lambda: None, DEVICE) == peak_growth(lambda: None, DEVICE) == 2 * 2**30
    alone(DEVICE.type).synchronise()
    assert fake_gpu.notes[-1] == "synchronize stream"


def test_images_stay_on_a_device_that_has_room(fake_gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of("ce")
    assert choose_loader(digits(), config.data, DEVICE).name == "resident"
    monkeypatch.setattr("ebomlc_dist.data.loaders.auto_select._SHARE", 0.0)
    assert choose_loader(digits(), config.data, DEVICE).name == "dataloader"


def test_a_graph_is_taken_there(fake_gpu: FakeGpu) -> None:
    check_device(config_of("ce", train={"cuda_graph": True}), DEVICE)


@pytest.mark.parametrize(("has", "found"), [(True, "bf16"), (False, "no")])
def test_auto_is_bf16_where_the_device_computes_in_it(
    has: bool, found: str, fake_gpu: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    monkeypatch.setattr(trials, "_ends", lambda value, runtime: (float(value), float(value)))
    config = config_of("ce", train={"precision": "auto"})
    settled, notes = trials.settle(config, digits(), alone(DEVICE.type))
    assert settled.train.precision == found
    assert "GPU" in notes["train.precision"]
