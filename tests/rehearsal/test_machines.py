"""What is asked of a machine's GPUs before a run, with two that are played."""

from types import SimpleNamespace

import pytest
import torch

from ebomlc_dist.cli import doctor
from ebomlc_dist.distributed import runtime
from ebomlc_dist.errors import InputError, LoneError
from ebomlc_dist.launch import processes
from ebomlc_dist.monitoring.versions import environment
from ebomlc_dist.sweeps.local_workers import visible_gpus


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: SimpleNamespace(uuid=f"id-{number}"))
    for name in ("CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_they_are_counted_and_named(two_gpus: pytest.MonkeyPatch) -> None:
    assert environment()["devices"] == ["GPU 0", "GPU 1"]
    assert [processes._gpus(device) for device in ("auto", "cuda", "cpu")] == [2, 2, None]
    assert [visible_gpus(device) for device in ("auto", "cpu")] == [["0", "1"], []]
    two_gpus.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5")
    assert visible_gpus("cuda") == ["3", "GPU-5"]


def test_a_process_takes_the_one_of_its_rank(two_gpus: pytest.MonkeyPatch) -> None:
    for rank in (0, 1):
        two_gpus.setenv("LOCAL_RANK", str(rank))
        assert runtime._gpu() == f"id-{rank}"
    two_gpus.setenv("LOCAL_RANK", "2")
    with pytest.raises(LoneError, match=r"process 2 of this machine finds 2 GPU\(s\)"):
        runtime._gpu()


def test_they_are_taken_unless_the_user_says_otherwise(two_gpus: pytest.MonkeyPatch) -> None:
    assert [runtime._choose_cpu(device) for device in ("auto", "cuda", "cpu")] == [False, False, True]
    two_gpus.setenv("ACCELERATE_USE_CPU", "true")
    assert [runtime._choose_cpu(device) for device in ("auto", "cuda")] == [True, False]
    two_gpus.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cuda"):
        runtime._choose_cpu("cuda")


def test_the_doctor_lets_two_of_them_add(two_gpus: pytest.MonkeyPatch) -> None:
    two_gpus.setattr(doctor, "_reduced", lambda name, device: (name, device))
    assert doctor._nccl("NCCL") == ("NCCL", "cuda")
    two_gpus.setattr(torch.cuda, "device_count", lambda: 1)
    assert doctor._nccl("NCCL").result == "absent"
