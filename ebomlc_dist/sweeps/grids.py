"""Named grids. Nothing here imports torch, so that ``ebomlc list grids`` answers at once."""

from pathlib import Path

from ebomlc_dist.errors import InputError, nearest
from ebomlc_dist.methods import METHODS
from ebomlc_dist.recipes import PAPER_SETTINGS
from ebomlc_dist.sweeps.grid import Grid, Part

PAPER_METHODS = (
    *("ebomlc", "mlc", "glc", "ce", "mlc-d", "dividemix", "pmw-net", "mw-net", "l2rw"),
    *("coteaching-plus", "ce-weighted", "ce-finetune"),
)
"""The paper's nine, and baselines that are not in the paper."""
_LABELLED = ({"method.clean_images": "labelled"},)
_FULL = tuple(f"{dataset}-{kind}{percent}" for dataset, kind, percent in PAPER_SETTINGS)
_CIFAR10 = [(kind, percent) for dataset, kind, percent in PAPER_SETTINGS if dataset == "cifar10"]
_QUICK = tuple(f"cifar10-quick-{kind}{percent}" for kind, percent in _CIFAR10)
_CASES = tuple({"noise.kind": kind, "noise.rate": percent / 100} for kind, percent in _CIFAR10)

GRIDS = {
    grid.name: grid
    for grid in (
        Grid(
            name="paper",
            summary="Tables I and II of the paper at full size: its nine methods, four baselines, 3 seeds (546 runs)",
            parts=(
                Part(
                    recipes=_FULL,
                    methods=PAPER_METHODS,
                    seeds=(0, 1, 2),
                ),
                Part(recipes=_FULL, methods=("ce",), seeds=(0, 1, 2), cases=_LABELLED),
            ),
        ),
        Grid(
            name="paper-quick",
            summary="CIFAR-10 in a size for a CPU: all methods, 7 settings, 3 seeds (357 runs of minutes)",
            parts=(
                Part(
                    recipes=_QUICK,
                    methods=tuple(METHODS),
                    seeds=(0, 1, 2),
                ),
                Part(recipes=_QUICK, methods=("ce",), seeds=(0, 1, 2), cases=_LABELLED),
            ),
        ),
        Grid(
            name="paper-tiny",
            summary="the same shape on 256 digits: nothing to download, seconds a run, figures that mean nothing",
            parts=(
                Part(
                    recipes=("digits:tiny",),
                    methods=PAPER_METHODS,
                    seeds=(0, 1),
                    cases=_CASES,
                ),
            ),
        ),
    )
}
STORES = Path("sweeps")


def named_grid(name: str) -> Grid:
    """Return the grid of that name. Raises `InputError` for an unknown one."""
    if name not in GRIDS:
        raise InputError(
            f"unknown grid '{name}'{nearest(name, list(GRIDS))}; known: {', '.join(GRIDS)}; a grid of your own is a "
            "file: GRID.yaml, GRID.json or GRID.py"
        )
    return GRIDS[name]


def default_store(grid: str) -> Path:
    """Return the default folder of a grid's results."""
    return STORES / grid


def find_store(word: str) -> Path:
    """Return the store that a folder, a named grid or a grid's file stands for.

    Raises:
        InputError: nothing lies there.
    """
    candidates = (Path(word), default_store(word), default_store(Path(word).stem))
    for folder in candidates:
        if (folder / "grids").is_dir():
            return folder
    raise InputError(f"{word} is no store of a sweep, and neither is {default_store(Path(word).stem or word)}")
