"""Distributed training on noisy labels: EBOMLC and its peers, on one process and on many.

``fit`` and ``load`` are for Python; the command is ``ebomlc``.

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
  from outside; ``errors``
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
