"""Whole runs in a second or two, and what must be equal between two of them."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine import stop
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.journal import read_records
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.recipes import recipe


def tiny_config(method: str = "ebomlc", **changes: dict[str, Any]) -> RunConfig:
    """The tiny digits recipe without trackers; ``changes``: section → fields."""
    config = recipe("digits:tiny").config
    changes = {"train": {"trackers": (), **changes.pop("train", {})}, **changes}
    updates = {name: getattr(config, name).model_copy(update=fields) for name, fields in changes.items()}
    return config.model_copy(update={"method": config_from_mapping({"name": method}), **updates})


def runtime_of(communicator: Communicator) -> Runtime:
    """A runtime around ranks that exist already."""
    rank = communicator.rank
    return Runtime(
        communicator=communicator,
        patient=communicator,
        device=communicator.device,
        rank=rank,
        world_size=communicator.world_size,
        local_rank=rank,
        under_launcher=False,
    )


def alone(device: str = "cpu") -> Runtime:
    """A runtime of one process."""
    return runtime_of(Communicator(torch.device(device)))


def train_until(config: RunConfig, folder: Path, runtime: Runtime, stop_after: int | None = None) -> dict | None:
    """Train, or continue what the folder holds; with ``stop_after``, ask for a stop once that many steps are done."""
    from ebomlc_dist.monitoring.record import RunRecord

    original = RunRecord.step

    def step(self: RunRecord, done: int) -> None:
        original(self, done)
        if done == stop_after:
            RunFolder(folder).stop.touch()

    RunRecord.step = step  # type: ignore[method-assign]
    looks, stop.LOOK_S = stop.LOOK_S, 0.0
    try:
        return train(config, folder, resume=True, quiet=True, runtime=runtime)
    except Stopped:
        return None
    finally:
        RunRecord.step = original  # type: ignore[method-assign]
        stop.LOOK_S = looks


def outcome(folder: Path) -> tuple[dict[str, Tensor], list[dict], dict]:
    """What a repeated run must repeat: every tensor of the last checkpoint, metric lines and summary without speed."""
    checkpoint = CheckpointStore(folder / "checkpoints").load()
    assert checkpoint is not None
    tensors = {f"{g}/{n}": t for g in checkpoint.groups for n, t in checkpoint.tensors(g).items()}
    lines = [
        {k: v for k, v in line.items() if not k.startswith("perf/")} for line in read_records(folder / "metrics.jsonl")
    ]
    path = folder / "summary.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    for key in ("run", "train_seconds", "images_per_second", "goodput"):
        summary.pop(key, None)
    return tensors, lines, summary


def same_tensors(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """Bit equality, NaN included."""
    return first.keys() == second.keys() and all(
        first[name].numpy().tobytes() == second[name].numpy().tobytes() for name in first
    )


def assert_same(folder: Path, control: Path) -> None:
    """A finished run that must equal an undisturbed one."""
    tensors, lines, summary = outcome(folder)
    expected_tensors, expected_lines, expected_summary = outcome(control)
    assert same_tensors(tensors, expected_tensors)
    assert lines == expected_lines
    assert summary == expected_summary
    assert summary["finished"] is True
