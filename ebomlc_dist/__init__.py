"""Distributed training on noisy labels: EBOMLC and its peers, on one process and on many.

``fit`` and ``load`` are for Python, with the classes of what they give and raise; the command is ``ebomlc``.

The package, from what a user meets down to what everything stands on. Imports run downwards alone:

- ``cli``: the verbs of ``ebomlc``, words in and exit codes out
- ``fitting`` and ``api``: ``fit``, ``load``, a trained run
- ``reports``: ``figures``, ``paper_tables`` and ``comparison`` of finished runs
- ``sweeps``: many runs, shared out among workers; ``recipes``: from words to a complete configuration
- ``testing``: the contract of every method, to be run on anybody's
- ``audit``: which labels look wrong, what they should be, and the page that shows it
- ``engine``: the loop, one step of any method, evaluation, checkpoints, resume, export
- ``data``: ``inputs`` (files of strangers), ``datasets``, noise and split, ``loaders`` (the batches of a step)
- ``distributed``: collectives and sharding; ``profiling``: what a step costs; ``monitoring``: what a run tells
- ``launch``: starting processes, meeting, watching them, ending them in order
- ``config``: a run as one typed value; ``methods``: one file a method, its equations at the top
- ``noise``: the noise process T and how many labels are wrong; ``numerics``: barrier, hypergradients, flat networks
- ``models``: main models, label correctors, weight nets
- ``files``: whatever is written, and whatever is not trusted; ``pages``: what HTML pages share; ``plugins``: names
  from outside; ``gpu``: what is done otherwise on one; ``errors``
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ebomlc_dist.api import LabelIssues, Prediction, TrainedRun, load
    from ebomlc_dist.audit.run_audit import Options as AuditOptions
    from ebomlc_dist.errors import InputError, TrainingFault
    from ebomlc_dist.fitting import fit

    __version__: str

_PUBLIC = {
    "AuditOptions": "audit.run_audit:Options",
    "InputError": "errors:InputError",
    "LabelIssues": "api:LabelIssues",
    "Prediction": "api:Prediction",
    "TrainedRun": "api:TrainedRun",
    "TrainingFault": "errors:TrainingFault",
    "fit": "fitting:fit",
    "load": "api:load",
}

__all__ = [
    "AuditOptions",
    "InputError",
    "LabelIssues",
    "Prediction",
    "TrainedRun",
    "TrainingFault",
    "__version__",
    "fit",
    "load",
]


def __getattr__(name: str) -> Any:
    # Imported when first used: the package itself must load without torch, for `ebomlc --help` and `ebomlc status`.
    if name == "__version__":
        return _version()
    if name in _PUBLIC:
        module, _, attribute = _PUBLIC[name].partition(":")
        return getattr(import_module(f"{__name__}.{module}"), attribute)
    raise AttributeError(f"module 'ebomlc_dist' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def _version() -> str:
    """The installed version; "unknown" for a checkout that was not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ebomlc_dist")
    except PackageNotFoundError:
        return "unknown"
