"""Load a finished run: its configuration, its data and its networks."""

from pathlib import Path

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.inputs.image_side import AUTO
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.resume import load_checkpoint
from ebomlc_dist.engine.state import restore
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.models.hub import CONFIG, read_preprocessing

ARRAYS = "arrays"
"""The data set of a run that was given arrays: they are not stored with it."""


def finished(folder: Path) -> RunFolder:
    """Return the folder of a finished run. Raises `InputError` where there is none."""
    paths = RunFolder(folder)
    if not paths.summary.exists():
        raise InputError(f"{folder} holds no finished run (no {paths.summary.name} in it); train or resume it first")
    return paths


def stored_config(paths: RunFolder) -> RunConfig:
    """Return a run's configuration, with its stored split and the image size that it found.

    The split file that the run began with may be gone. The strategy is ``replicated``: one process may ask for it.
    """
    config = RunConfig.model_validate(read_json(paths.config))
    data = config.data.model_copy(update={"split": paths.split})
    if data.image_size == AUTO and (paths.model / CONFIG).exists():
        size = read_preprocessing(paths.model).image_size
        data = data.model_copy(update={"image_size": None if size is None else size[0]})
    return config.model_copy(update={"data": data, "train": config.train.model_copy(update={"strategy": "replicated"})})


def check_stored_data(config: RunConfig, folder: Path) -> None:
    """Raise `InputError` for a run whose data cannot be read again."""
    if config.data.dataset == ARRAYS:
        raise InputError(f"the run in {folder} was trained on arrays, which are not stored with it")


def load_trained(config: RunConfig, paths: RunFolder, dataset: NoisyDataset, runtime: Runtime) -> Training:
    """Return a finished run's networks and method in its last epoch, as its last checkpoint holds them.

    Collective.

    Raises:
        InputError: no good checkpoint, or data other than those it was trained on.
    """
    checkpoint = load_checkpoint(paths, dataset, runtime)
    if checkpoint is None:
        raise InputError(f"{paths.checkpoints} holds no checkpoint; put the run's own back, or train it again")
    training = build(config, dataset, runtime)
    # Of the schedules nothing is asked any more.
    restore(training, {name: checkpoint.tensors(name) for name in checkpoint.groups}, {"epoch": 0, "step": 0}, None)
    method, epochs = training.method, config.train.epochs
    method.enter_epoch(method.stages * epochs - 1, epochs)
    return training
