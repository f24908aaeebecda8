"""Warnings that torch raises as this package uses it, from torch 2.10 on, and that nobody can heed: raised as there."""

import runpy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad

from ebomlc_dist.numerics import hypergradient
from ebomlc_dist.numerics.flat import FlatNetwork


@pytest.mark.parametrize("kind", [FutureWarning, DeprecationWarning])
def test_derivatives_that_are_compiled_by_what_is_deprecated(
    kind: type[Warning], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = forward_ad.dual_level

    @contextmanager
    def warning() -> Iterator[None]:
        warnings.warn("`torch.jit.script` is deprecated. Please switch to `torch.compile`.", kind, stacklevel=1)
        with original():
            yield

    monkeypatch.setattr(forward_ad, "dual_level", warning)
    runpy.run_path(hypergradient.__file__)
    with pytest.raises(kind), forward_ad.dual_level():
        pass


def inductor_asks_for_another_precision() -> None:
    warnings.warn(
        "TensorFloat32 tensor cores for float32 matrix multiplication available but not enabled. Consider setting "
        "`torch.set_float32_matmul_precision('high')` for better performance.",
        UserWarning,
        stacklevel=1,
    )


def test_a_compiler_that_asks_for_another_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    FlatNetwork(nn.Linear(2, 2), compiled=False)
    with pytest.raises(UserWarning, match="TensorFloat32"):
        inductor_asks_for_another_precision()
    FlatNetwork(nn.Linear(2, 2), compiled=True)
    inductor_asks_for_another_precision()
