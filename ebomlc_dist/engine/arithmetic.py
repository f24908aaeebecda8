"""What `train.precision` means: the numbers that the networks' passes compute in.

    no     float32 as IEEE 754 has it, in convolutions and in matrix products
    tf32   float32 whose factors a GPU rounds to 10 bits of mantissa (TensorFloat-32), in both; on a CPU the same as no
    bf16   the main models' passes in bfloat16 by autocast; the rest as in no
    fp16   in float16, with a loss scale; the rest as in no
    auto   no or bf16, whichever `trials` finds to be quicker

torch's own choice is neither: convolutions in tf32 and products in IEEE float32. A one-sided finite difference loses
one to five per cent to tf32, so it is no default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from ebomlc_dist.config import Precision
from ebomlc_dist.errors import InputError

Float32 = Literal["ieee", "tf32"]


@dataclass(frozen=True)
class Arithmetic:
    """How a run computes.

    Attributes:
        autocast: dtype of the main models' passes; None for float32.
        float32: what float32 means on a GPU.
        loss_scaled: whether objectives are scaled before their backward passes.
    """

    autocast: torch.dtype | None = None
    float32: Float32 = "ieee"
    loss_scaled: bool = False


_ARITHMETIC: dict[str, Arithmetic] = {
    "no": Arithmetic(),
    "tf32": Arithmetic(float32="tf32"),
    "bf16": Arithmetic(torch.bfloat16),
    "fp16": Arithmetic(torch.float16, loss_scaled=True),
}


def arithmetic_of(precision: Precision) -> Arithmetic:
    """Return what a precision stands for: the one place that decides.

    Raises:
        InputError: ``auto``, which a run settles for its machine before (`trials`).
    """
    if precision == "auto":
        raise InputError(
            "precision auto is chosen by a run for its machine; choose no or bf16 here (--precision no), so that all "
            "are computed alike"
        )
    return _ARITHMETIC[precision]


def float32_in_force() -> dict[str, str]:
    """Return what float32 means on a GPU of this process, by the kind of work: ``ieee``, ``tf32``, or torch's word."""
    return {"matmul": torch.backends.cuda.matmul.fp32_precision, "conv": _convolutions().fp32_precision}


def put_in_force(float32: Float32) -> None:
    """Have this process compute float32 so on a GPU, convolutions and matrix products alike."""
    put_back({"matmul": float32, "conv": float32})


def put_back(words: Mapping[str, str]) -> None:
    """Put in force what `float32_in_force` gave."""
    torch.backends.cuda.matmul.fp32_precision = words["matmul"]
    _convolutions().fp32_precision = words["conv"]


def _convolutions() -> Any:
    # torch's own annotations leave it out.
    return torch.backends.cudnn.conv  # type: ignore[attr-defined]
