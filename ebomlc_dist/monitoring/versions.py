"""What a result depends on besides the configuration: versions, device, threads, some environment variables."""

import contextlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("ebomlc_dist", "torch", "torchvision", "accelerate", "deepspeed", "ffcv", "numpy", "safetensors")
# By name only: anything else may hold a token or a home path.
VARIABLES = (
    "ACCELERATE_MIXED_PRECISION",
    "ACCELERATE_USE_CPU",
    "CUDA_VISIBLE_DEVICES",
    "NCCL_NVLS_ENABLE",
    "OMP_NUM_THREADS",
    "SLURM_JOB_ID",
    "SLURM_JOB_NUM_NODES",
    "SLURM_RESTART_COUNT",
    "WORLD_SIZE",
)


def environment() -> dict[str, Any]:
    """Return plain values for ``environment.json`` and ``ebomlc env``. No paths, no tokens, no host name."""
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "packages": {name: version for name in PACKAGES if (version := _version(name)) is not None},
        "cuda": torch.version.cuda,
        "devices": devices or ["cpu"],
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def _processor() -> str:
    """Return the processor's model as the system names it, or its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
