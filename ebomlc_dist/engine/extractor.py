"""A frozen extractor that a run trains for itself, before its own first step.

The paper's corrector sees features of a frozen ResNet-32 and does not say what that was trained on. With
``method.extractor_images`` it is the run's main model, trained by plain cross entropy on the trusted or on the noisy
images in the run's own frame: a run in the folder ``extractor`` of the run folder, continued where it was stopped.
"""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from ebomlc_dist.config import RunConfig
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.methods import config_from_mapping

TRAINED_BY = {"clean": "ce-clean", "noisy": "ce"}
"""Images → the method that trains an extractor on them."""
Begin = Callable[[RunConfig, Path], Generator[None, None, dict[str, Any]]]


def extractor_config(config: RunConfig) -> RunConfig | None:
    """Return the run that trains the extractor of ``config``'s run; None where it has none, or is given one."""
    images = getattr(config.method, "extractor_images", None)
    if images is None or getattr(config.method, "extractor", None) is not None:
        return None
    train = config.train.model_copy(update={"epoch_scores": False, "trackers": ()})
    return config.model_copy(update={"method": config_from_mapping({"name": TRAINED_BY[images]}), "train": train})


def train_extractor(own: RunConfig, paths: RunFolder, runtime: Runtime, begin: Begin) -> Generator[None, None, Path]:
    """Train the extractor, with a pause after every step, or find it trained. Returns its model folder. Collective.

    Args:
        own: of `extractor_config`.
        paths: of the run that needs it.
        runtime: the processes.
        begin: starts or continues a run in a folder.

    Raises:
        Stopped: asked to stop, by the run's own ``STOP`` file too; the same call goes on.
    """
    inner = RunFolder(paths.extractor)
    if not runtime.on_first_rank(inner.summary.exists):
        try:
            for _ in begin(own, inner.root):
                if runtime.is_main and paths.stop.exists():
                    paths.stop.replace(inner.stop)
                yield
        except Stopped as stop:
            raise Stopped(paths.root, 0, stop.reason) from None
    return inner.model


def extractor_figures(config: RunConfig, paths: RunFolder) -> dict[str, Any] | None:
    """Return what the summary says of the extractor: ``images`` and its last test accuracy in per cent.

    None without one.
    """
    if extractor_config(config) is None:
        return None
    summary = read_json(RunFolder(paths.extractor).summary)
    return {"images": getattr(config.method, "extractor_images", None), "accuracy_last": summary["accuracy_last"]}
