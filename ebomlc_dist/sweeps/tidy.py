"""What is left of a finished cell's run folder."""

from typing import Literal

from ebomlc_dist.files import durable
from ebomlc_dist.sweeps.store import Workplace

Keep = Literal["none", "small", "all"]


def tidy(place: Workplace, keep: Keep) -> None:
    """Remove what is not kept, for the holder of the cell's lease. May be done again after a death in its midst.

    Args:
        place: the workplace of a cell whose result is published.
        keep: ``all``; ``small``: configuration, environment, metrics, summary and status; ``none``.
    """
    run = place.run
    if run.root.is_dir() and keep == "none":
        durable.remove_tree(run.root)
    elif run.root.is_dir() and keep == "small":
        kept = {run.config, run.environment, run.metrics, run.summary, run.status, run.lock}
        for path in sorted(run.root.iterdir()):
            if path in kept:
                continue
            if path.is_dir() and not path.is_symlink():
                durable.remove_tree(path)
            else:
                path.unlink()
    durable.remove_litter(place.root)
    place.started.unlink(missing_ok=True)
