"""Distributed training on noisy labels: EBOMLC and its peers, on one process and on many.

``fit`` and ``load`` are for Python; the command is ``ebomlc``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebomlc_dist.api import load
    from ebomlc_dist.fitting import fit

__all__ = ["fit", "load"]


def __getattr__(name: str) -> Any:
    # Imported when first used: the package itself must load without torch, for `ebomlc --help` and `ebomlc status`.
    if name == "fit":
        from ebomlc_dist.fitting import fit

        return fit
    if name == "load":
        from ebomlc_dist.api import load

        return load
    raise AttributeError(f"module 'ebomlc_dist' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
