"""Rows of steps: each method once, step times, kernels, compiled passes, and methods after their warm-up."""

from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile

from ebomlc_dist.methods import METHODS, method_class
from ebomlc_dist.numerics.overlap import overlap
from tools.gpu_check.measure import GRAPH, Steps, stepping, timed
from tools.gpu_check.place import NotHeld, Place, Take

COMPILED = "train.compile=true"
BF16, TF32, IEEE = (f"train.precision={name}" for name in ("bf16", "tf32", "no"))
TOP, REPLAYS = 15, 5
OWN_FIRST = ("dividemix", "glc", "coteaching-plus")


def smoke_rows(place: Place) -> dict[str, Take]:
    """One eager and one recorded step of every method on the digits."""
    return {
        f"{name}, {way}": partial(_smoke, Steps(f"{name}{words}", side=None))
        for name in METHODS
        for way, words in (("eager", ""), ("graph", f":{GRAPH}"))
    }


def step_rows(place: Place) -> dict[str, Take]:
    """Times of a step, the most telling first; nothing is compiled."""
    graph = f":{GRAPH}"
    rows: dict[str, Take] = {
        "ebomlc, graph": partial(_time, Steps(f"ebomlc{graph}")),
        "ebomlc, eager": partial(_time, Steps("ebomlc")),
        "released EBOMLC's operations": _released,
        "ebomlc, graph, bf16": partial(_time, Steps(f"ebomlc{graph}:{BF16}")),
        "ebomlc, graph, tf32": partial(_time, Steps(f"ebomlc{graph}:{TF32}")),
        "ebomlc, graph, IEEE": partial(_time, Steps(f"ebomlc{graph}:{IEEE}")),
        "ebomlc, graph, one stream": partial(_one_stream, Steps(f"ebomlc{graph}")),
        "ce, graph": partial(_time, Steps(f"ce{graph}")),
        "ce, eager": partial(_time, Steps("ce")),
        "ce, graph, bf16": partial(_time, Steps(f"ce{graph}:{BF16}")),
        "ebomlc-s, graph": partial(_time, Steps(f"ebomlc-s{graph}", epoch=None)),
        "mlc finite_difference, graph": partial(_time, Steps(f"mlc:finite_difference{graph}")),
        "mlc forward_mode, graph": partial(_time, Steps(f"mlc:forward_mode{graph}")),
        "mlc double_backward, eager": partial(_time, Steps("mlc:double_backward")),
        "mlc-d, graph": partial(_time, Steps(f"mlc-d{graph}")),
        "ebomlc-released, graph": partial(_time, Steps(f"ebomlc-released{graph}")),
    }
    large = partial(Steps, model="torchvision/resnet50", side=224, batch=64)
    rows["ebomlc, ResNet-50 at 224, graph, bf16"] = partial(_time, large(f"ebomlc{graph}:{BF16}"))
    rows["ce, ResNet-50 at 224, graph, bf16"] = partial(_time, large(f"ce{graph}:{BF16}"))
    return rows


def kernel_rows(place: Place) -> dict[str, Take]:
    """What runs on the device in a step."""
    rows = {"ebomlc, graph": "", "ebomlc, graph, bf16": f":{BF16}"}
    return {name: partial(_kernels, Steps(f"ebomlc:{GRAPH}{words}")) for name, words in rows.items()}


def compiled_rows(place: Place) -> dict[str, Take]:
    """Steps with compiled passes. What the first one compiles is in the cache of the second."""
    if place.rehearsal:
        return {"ebomlc, compiled": partial(_time, Steps(f"ebomlc:{COMPILED}"))}
    return {
        "ebomlc, graph, compiled": partial(_time, Steps(f"ebomlc:{GRAPH}:{COMPILED}")),
        "ebomlc, compiled": partial(_time, Steps(f"ebomlc:{COMPILED}")),
        "ce, graph, compiled": partial(_time, Steps(f"ce:{GRAPH}:{COMPILED}")),
        "ebomlc, graph, compiled, bf16": partial(_time, Steps(f"ebomlc:{GRAPH}:{COMPILED}:{BF16}")),
    }


def method_rows(place: Place) -> dict[str, Take]:
    """Every method's own step, recorded, those with a warm-up first."""
    names = [*OWN_FIRST, *(name for name in METHODS if name not in OWN_FIRST)]
    return {name: partial(_time, Steps(f"{name}:{GRAPH}", epoch=None)) for name in names}


def _smoke(steps: Steps, place: Place) -> dict[str, Any]:
    with stepping(steps, place) as (training, program, numbers):
        main = next(name for name in training.networks if name != "extractor")
        before = training.networks[main].vector.detach().clone()
        program(next(numbers))
        after = training.networks[main].vector.detach()
        if not bool(after.isfinite().all()):
            raise NotHeld("the step gives what is no number")
        if torch.equal(after, before):
            raise NotHeld("the step moves nothing")
    return {}


def _time(steps: Steps, place: Place) -> dict[str, Any]:
    on_gpu = not place.rehearsal
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with stepping(steps, place) as (training, program, numbers):
        program(next(numbers))
        figures = timed(lambda: program(next(numbers)), place, training.config.train.global_noisy_batch_size)
        figures["epoch"] = training.method.epoch
    return figures | ({"peak_mb": torch.cuda.max_memory_reserved() / 2**20} if on_gpu else {})


def _one_stream(steps: Steps, place: Place) -> dict[str, Any]:
    """The pass on the trusted batch and the one on the noisy batch in turn."""

    def in_turn(device: Any, forward: Any, backward: Any) -> Any:
        done = backward(forward())
        return lambda: done

    with ExitStack() as stack:
        for name in METHODS:
            module = import_module(method_class(name).__module__)
            if getattr(module, "overlap", None) is overlap:
                stack.enter_context(patch.object(module, "overlap", in_turn))
        return _time(steps, place)


def _released(place: Place) -> dict[str, Any]:
    """A timing-only re-creation of the released research code's operations, on the device."""
    from benchmarks.released_operations import ReleasedOperations

    batch = 4 if place.rehearsal else 100
    with torch.device(place.device):
        released = ReleasedOperations(batch)
        return timed(released.ebomlc, place, batch)


def _kernels(steps: Steps, place: Place) -> dict[str, Any]:
    kind = torch.autograd.DeviceType.CPU if place.rehearsal else torch.autograd.DeviceType.CUDA
    activity = ProfilerActivity.CPU if place.rehearsal else ProfilerActivity.CUDA
    with stepping(steps, place) as (_, program, numbers):
        for _ in range(3):
            program(next(numbers))
        with profile(activities=[activity], acc_events=True) as profiler:
            for _ in range(REPLAYS):
                program(next(numbers))
            if not place.rehearsal:
                torch.cuda.synchronize()
    seen = [event for event in profiler.key_averages() if event.device_type == kind]
    spent = {
        event.key: event.self_cpu_time_total if place.rehearsal else event.self_device_time_total for event in seen
    }
    count = {event.key: event.count for event in seen}
    if not spent:
        raise NotHeld("the profiler saw no kernel")
    top = sorted(spent, key=lambda name: -spent[name])[:TOP]
    return {
        "launches": sum(count.values()) / REPLAYS,
        "busy_ms": sum(spent.values()) / REPLAYS / 1000,
        "top": [[name, count[name] / REPLAYS, spent[name] / REPLAYS] for name in top],
    }
