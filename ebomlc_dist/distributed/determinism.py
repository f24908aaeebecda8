"""Bitwise repeatable kernels, for who asks for them."""

import os

import torch


def make_deterministic() -> None:
    """Choose repeatable kernels on CPU and GPU, cuBLAS and NCCL included. Call it before the first CUDA call."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("NCCL_NVLS_ENABLE", "0")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
