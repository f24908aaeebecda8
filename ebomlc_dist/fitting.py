"""Training on arrays: what ``ebomlc train folder`` does, for people in notebooks.

import ebomlc_dist
run = ebomlc_dist.fit(images, labels, trusted)      # (N, H, W, 3), noisy labels (N,), indices of trusted images
run.predict_proba(new_images)                       # (M, K)
run.find_label_issues()                             # which labels look wrong, most suspicious first
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ebomlc_dist.api import TrainedRun
from ebomlc_dist.audit.trusted import FOLDER, trusted_from_noisy
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset, Source, are_features, described
from ebomlc_dist.data.inputs.array_source import array_source, check_trusted
from ebomlc_dist.data.inputs.arrays import Values, as_array
from ebomlc_dist.data.inputs.image_side import side_for
from ebomlc_dist.data.inputs.read import resize_square
from ebomlc_dist.data.run_data import from_source
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.dry_run import device_name
from ebomlc_dist.engine.load_run import ARRAYS
from ebomlc_dist.engine.preflight import check_model, needs_clean
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.run_status import Stopped
from ebomlc_dist.errors import InputError, TrainingFault
from ebomlc_dist.files.holder import untouched_where_refused
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.monitoring.progress import spoken_to
from ebomlc_dist.recipes.assemble import Request, Resolved, resolve
from ebomlc_dist.recipes.python_words import in_python
from ebomlc_dist.recipes.settings import Setting
from ebomlc_dist.recipes.suited import suited, suited_to_features

_ARGUMENTS = {
    "model": ("model.name",),
    "image_size": ("data.image_size",),
    "epochs": ("train.epochs",),
    "batch_size": ("train.global_noisy_batch_size", "train.global_clean_batch_size"),
    "lr": ("optim.main_lr",),
    "clean_from_noisy": ("data.clean_from_noisy",),
}
_GIVEN_BY_ARRAYS = ("recipe", "data.dataset", "data.data_dir", "data.noisy_csv", "data.clean_csv", "data.test_csv")


def fit(
    images: Values,
    labels: Values,
    trusted: Values | None = None,
    *,
    method: str = "ebomlc-s",
    test: tuple[Values, Values] | None = None,
    class_names: Sequence[str] | None = None,
    model: str | None = None,
    image_size: int | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    clean_from_noisy: bool = False,
    output_dir: Path | str | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> TrainedRun:
    """Train on arrays whose labels are partly wrong, and return the trained run.

    Arrays are NumPy's, tensors, lists or columns of a data frame. What is not given of ``model``, ``image_size``,
    ``epochs``, ``batch_size`` and ``lr`` is chosen by `ebomlc_dist.recipes.suited`; one line says what was chosen.

    Args:
        images: (N, H, W), (N, H, W, C) or (N, C, H, W), C 1 or 3: integers 0…255 or floats 0…1. Or features (N, D) of
            any numbers; an array that is a mapped file stays one.
        labels: (N,) or (N, 1), noisy: whole numbers 0…K−1, or names. Right where ``trusted`` says so.
        trusted: indices (Nc,) of images whose label is right, or a mask (N,) of booleans. Needed by methods that use a
            trusted set, unless ``clean_from_noisy``.
        method: as in ``ebomlc list methods``.
        test: images and true labels, for evaluation only.
        class_names: K names. By default those in ``labels``, sorted, or the numbers.
        model: as in ``ebomlc list models``.
        image_size: side in pixels; images are resized to squares of it.
        epochs: passes over the noisy images.
        batch_size: noisy images a step, and as many trusted ones.
        lr: learning rate of the model.
        clean_from_noisy: without ``trusted``, choose some of the noisy images as trusted ones.
        output_dir: the run folder; by default a new temporary one.
        resume: continue the run that ``output_dir`` holds, from the same arrays.
        settings: dotted keys of the configuration, such as ``{"train.precision": "bf16"}``.
        quiet: no line and no progress.

    Raises:
        InputError: arrays that do not fit together, a setting that is not known, or a folder that is taken. Nothing is
            left behind.
        Stopped: interrupted, with a checkpoint written; the same call with ``resume=True`` goes on.
        TrainingFault: training cannot go on.
    """
    given = {
        "model": model,
        "image_size": image_size,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "clean_from_noisy": clean_from_noisy or None,
    }
    with _in_words_of_python():
        if resume and output_dir is None:
            raise InputError("resume=True needs output_dir=, the folder of the run to continue")
        standardise = (settings or {}).get("data.standardise", True)
        source = array_source(
            images, labels, trusted, test=test, class_names=class_names, standardise=str(standardise).lower() != "false"
        )
        asked = _asked(given, settings or {})
        runtime = Runtime.start(_resolved(method, asked).config.train)
        try:
            resolved = _resolved(method, asked, source, runtime)
            return _train(resolved, source, runtime, output_dir, resume=resume, quiet=quiet)
        finally:
            runtime.close()


def _train(
    resolved: Resolved,
    source: Source,
    runtime: Runtime,
    output_dir: Path | str | None,
    *,
    resume: bool,
    quiet: bool,
) -> TrainedRun:
    config = resolved.config
    drawn = _drawn(config, source)
    folder = Path(tempfile.mkdtemp(prefix="ebomlc-")) if output_dir is None else Path(output_dir)
    if RunFolder(folder).summary.exists() and not resume:
        raise InputError(
            f"output_dir {folder} holds a finished run; open it with `ebomlc_dist.load({str(folder)!r})`, give "
            "another `output_dir=`, or delete the folder to train again"
        )
    dataset = drawn

    def data() -> NoisyDataset:
        nonlocal dataset
        if config.data.clean_from_noisy:
            dataset = trusted_from_noisy(config, drawn, folder / FOLDER, runtime, quiet=quiet)
        return dataset

    if not quiet:
        print(_chosen(config, source, drawn, runtime), file=spoken_to(), flush=True)
    with untouched_where_refused([folder]):
        summary = train(
            config,
            folder,
            resume=resume,
            quiet=quiet,
            panel=False,
            overrides=resolved.overrides,
            dataset=data,
            runtime=runtime,
        )
    if not quiet:
        accuracy = summary["accuracy_last"]
        found = "" if accuracy is None else f"test accuracy {accuracy:.2f} %, "
        print(f"fit: {found}run folder {folder}", file=spoken_to(), flush=True)
    return TrainedRun(folder, dataset)


def _drawn(config: RunConfig, source: Source) -> NoisyDataset:
    wanted = needs_clean(config)
    if config.data.clean_from_noisy and source.trusted is not None:
        raise InputError("trusted= and clean_from_noisy= exclude each other; give one of them")
    if wanted and source.trusted is None and not config.data.clean_from_noisy and config.noise.kind == "none":
        raise InputError(
            f"method {config.method.name!r} needs trusted images: give `trusted=`, indices of images whose label is "
            "right; or `clean_from_noisy=True`, which chooses some; or `method='ce'`, which needs none"
        )
    if wanted and source.trusted is not None:
        check_trusted(source)
    drawn = from_source(_sized(source, config), config.data, config.noise, config.seeds, needs_clean=wanted)
    check_model(config, drawn)
    return drawn


def _sized(source: Source, config: RunConfig) -> Source:
    """Images as squares of the side that is asked for, or suits the model; features as they are."""
    images, test_images = source.images, source.test_images
    if not (isinstance(images, Tensor) and isinstance(test_images, Tensor)):
        return source
    side = config.data.given_side
    if side is None:
        side = side_for(min(images.shape[2:]), config.model.name)
    return replace(source, images=resize_square(images, side), test_images=resize_square(test_images, side))


def _asked(given: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Setting]:
    """The person's own choices as settings, NumPy's numbers as Python's."""
    asked = []
    for name, value in given.items():
        keys = _ARGUMENTS[name] if value is not None else ()
        if twice := [key for key in keys if key in settings]:
            raise InputError(f"{name}= and {twice[0]!r} in settings are the same; give one of them")
        asked += [Setting(key, _plain(value), f"{name}=") for key in keys]
    for key, value in settings.items():
        if key in _GIVEN_BY_ARRAYS:
            raise InputError(f"{key!r} in settings: fit trains on the arrays that it is given; leave the key out")
        if key in ("method", "method.name"):
            raise InputError(f"{key!r} in settings: give the method as `method=`")
        asked.append(Setting(key, _plain(value), "settings"))
    return asked


def _resolved(
    method: str, asked: list[Setting], source: Source | None = None, runtime: Runtime | None = None
) -> Resolved:
    """The run's configuration; without a source that of the person's choices alone."""
    chosen: list[Setting] = []
    if source is not None and runtime is not None:
        own = {setting.key: setting.value for setting in asked}
        size = str(own.get("data.image_size"))
        if are_features(source.images):
            rule = suited_to_features(len(source.images), gpu=on_gpu(runtime.device))
            chosen = [Setting(key, value, "suited") for key, value in rule.items() if key not in own]
            return _of_recipe("features", method, [*chosen, *asked])
        rule = suited(
            len(source.images),
            source.images.shape[1],
            min(source.images.shape[2:]),
            gpu=on_gpu(runtime.device),
            model=own.get("model.name"),
            image_size=int(size) if size.isdigit() else None,
        )
        chosen = [Setting(key, value, "suited") for key, value in rule.items() if key not in own]
    return _of_recipe("folder", method, [*chosen, *asked])


def _of_recipe(recipe: str, method: str, settings: list[Setting]) -> Resolved:
    (resolved,) = resolve(Request(recipe=recipe, methods=(method,), flags=tuple(settings)))
    data = resolved.config.data.model_copy(update={"dataset": ARRAYS})
    return replace(resolved, config=resolved.config.model_copy(update={"data": data}))


def _chosen(config: RunConfig, source: Source, drawn: NoisyDataset, runtime: Runtime) -> str:
    """What is going to be trained on what, and how to change it."""
    own = config.train
    steps = -(-len(drawn.noisy_labels) // own.global_noisy_batch_size)
    at = "" if are_features(drawn.images) else f" at {drawn.images.shape[2]}×{drawn.images.shape[2]}"
    trusted = f"{len(drawn.clean_labels)} trusted" if needs_clean(config) else "no trusted set used"
    return (
        f"fit: {config.method.name} on {len(drawn.noisy_labels)} noisy {_geometry(source)}, {trusted}, "
        f"{drawn.num_classes} classes; {config.model.name}{at}, {own.epochs} epochs of {steps} steps, "
        f"batch {own.global_noisy_batch_size}, lr {config.optim.main_lr:g}, {device_name(runtime)}. Change it with "
        f"model=, {'image_size=, ' if at else ''}epochs=, batch_size=, lr="
    )


def _geometry(source: Source) -> str:
    if are_features(source.images):
        return described(source.images)
    height, width = source.images.shape[2:]
    return f"images of {height}×{width}"


def _plain(value: Any) -> Any:
    """A setting as JSON has it: NumPy's numbers and arrays, tensors and paths become Python's own."""
    if isinstance(value, np.generic | np.ndarray | Tensor):
        return as_array(value, "setting").tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@contextmanager
def _in_words_of_python() -> Iterator[None]:
    """Messages that name a flag of the command line name what stands for it here."""
    try:
        yield
    except (InputError, TrainingFault, Stopped) as error:
        error.args = (in_python(str(error)),)
        raise
