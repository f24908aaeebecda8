"""Training and trained runs from Python: what the command line does, for people in notebooks.

import ebomlc_dist
run = ebomlc_dist.fit(images, labels, trusted)      # uint8 (N, H, W, 3), noisy labels (N,), trusted indices
run.predict_proba(new_images)                       # (M, K)
run.find_label_issues()                             # which labels look wrong, most suspicious first
ebomlc_dist.load("runs/…")                          # any finished run
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ebomlc_dist.audit.run import Options, audit
from ebomlc_dist.audit.trusted import FOLDER, trusted_from_noisy
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.augment import normalise
from ebomlc_dist.data.build import from_source, load_dataset
from ebomlc_dist.data.dataset import NoisyDataset, Source
from ebomlc_dist.data.grey_levels import Levels
from ebomlc_dist.data.image_files import open_images
from ebomlc_dist.data.image_side import side_for
from ebomlc_dist.data.images import probe_images, read_images, resize_square
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.prepare import needs_clean
from ebomlc_dist.engine.run import train
from ebomlc_dist.engine.trained import ARRAYS, check_stored_data, finished, stored_config
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.models.hub import load_model
from ebomlc_dist.recipes.assemble import Request, resolve

_BATCH = 512
_MAX_PIXELS = 64_000_000


@dataclass(frozen=True)
class Prediction:
    """One image's most likely class by name, its label, and its probability."""

    label: str
    index: int
    confidence: float


@dataclass(frozen=True)
class LabelIssues:
    """Noisy images from the most to the least suspicious.

    Attributes:
        indices: (Nn,) int64 into the training images.
        given_labels, predicted_labels: (Nn,) int64, beside ``indices``.
        suspicion: (Nn,) float64 in 0…1, 1 − probability of the given label; high is bad.
        in_sample: True: the model was trained on these images, so their scores flatter the given labels.
    """

    indices: NDArray[np.int64]
    given_labels: NDArray[np.int64]
    predicted_labels: NDArray[np.int64]
    suspicion: NDArray[np.float64]
    in_sample: bool = True


class TrainedRun:
    """What a finished run predicts by: its main model, or the sum of two models' logits.

    Attributes:
        folder: the run folder.
        class_names: K names, in label order.
        summary: ``summary.json``.
    """

    def __init__(self, folder: Path, dataset: NoisyDataset | None = None) -> None:
        self.folder = Path(folder)
        paths = finished(self.folder)
        self.summary: dict[str, Any] = read_json(paths.summary)
        model, self._stored = load_model(paths.model)
        # Methods that predict by two models leave both.
        self._models = [model, *(load_model(folder)[0] for folder in (paths.peer_model,) if folder.exists())]
        self.class_names: list[str] = self._stored["class_names"]
        self._dataset = dataset

    def predict_proba(self, images: ArrayLike | Tensor) -> NDArray[np.float32]:
        """(M, K) class probabilities of uint8 images, (M, H, W) or (M, H, W, C), resized to the model's size.

        Raises:
            InputError: another dtype, or another number of channels than the model takes.
        """
        return self._probabilities(_as_images(images)).numpy()

    def predict(self, paths: Sequence[Path | str]) -> list[Prediction]:
        """The predicted class of image files. Raises `InputError` listing those that cannot be read."""
        parents = {str(Path(path).parent) for path in paths}
        found: dict[str, Prediction] = {}
        for parent in sorted(parents):
            names = [Path(path).name for path in paths if str(Path(path).parent) == parent]
            for start in range(0, len(names), _BATCH):
                block = names[start : start + _BATCH]
                for name, row in zip(block, self._probabilities(self._read(Path(parent), block)), strict=True):
                    index = int(row.argmax())
                    found[str(Path(parent, name))] = Prediction(self.class_names[index], index, float(row[index]))
        return [found[str(Path(path))] for path in paths]

    def evaluate(self) -> dict[str, float]:
        """``accuracy`` in per cent, mean ``loss`` and ``num_test`` on the run's test images."""
        dataset = self._data()
        if not len(dataset.test_labels):
            raise InputError(f"the run in {self.folder} has no test images")
        blocks = torch.arange(len(dataset.test_labels)).split(_BATCH)
        probabilities = torch.cat([self._probabilities(dataset.test_images[block]) for block in blocks])
        right = probabilities.argmax(dim=1) == dataset.test_labels
        given = probabilities.gather(1, dataset.test_labels[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
        return {
            "accuracy": 100.0 * float(right.double().mean()),
            "loss": -float(given.double().log().mean()),
            "num_test": len(dataset.test_labels),
        }

    def find_label_issues(self) -> LabelIssues:
        """The noisy images, most suspicious given label first, by the main model's own probabilities."""
        dataset = self._data()
        blocks = dataset.noisy_index.split(_BATCH)
        probabilities = torch.cat([self._probabilities(dataset.images[block]) for block in blocks])
        suspicion = 1.0 - probabilities.gather(1, dataset.noisy_labels[:, None]).squeeze(1).double()
        order = suspicion.argsort(descending=True, stable=True)
        return LabelIssues(
            indices=dataset.noisy_index[order].numpy(),
            given_labels=dataset.noisy_labels[order].numpy(),
            predicted_labels=probabilities.argmax(dim=1)[order].numpy(),
            suspicion=suspicion[order].numpy(),
        )

    def audit(self, options: Options | None = None) -> dict[str, Any]:
        """Audit the labels of the run's data into ``audit/`` in its folder, as ``ebomlc audit`` does; the summary."""
        runtime = Runtime.start(stored_config(RunFolder(self.folder)).train)
        try:
            return audit(self.folder, options or Options(), runtime, quiet=True, dataset=self._data())
        finally:
            runtime.close()

    def _data(self) -> NoisyDataset:
        if self._dataset is None:
            config = stored_config(RunFolder(self.folder))
            check_stored_data(config, self.folder)
            self._dataset = load_dataset(
                config.data, config.noise, config.seeds, needs_clean=False, model=config.model.name
            )
        return self._dataset

    def _read(self, root: Path, names: list[str]) -> Tensor:
        height, _ = self._stored["preprocessing"]["image_size"]
        max_side = self._stored["preprocessing"].get("max_side")
        levels = Levels(self._stored["preprocessing"]["deep_low"], self._stored["preprocessing"]["deep_shift"])
        if max_side is None:
            return read_images(
                root, names, image_size=height, max_pixels=_MAX_PIXELS, skip_unreadable=False, levels=levels
            )[0]
        probe = probe_images(root, names, max_pixels=_MAX_PIXELS)
        files, _ = open_images(
            probe,
            image_size=height,
            max_side=max_side,
            max_pixels=_MAX_PIXELS,
            skip_unreadable=False,
            levels=levels,
        )
        return files[torch.arange(len(files))]

    @torch.no_grad()
    def _probabilities(self, images: Tensor) -> Tensor:
        preprocessing, channels = self._stored["preprocessing"], self._stored["in_channels"]
        if images.shape[1] == 1 and channels == 3:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[1] == 3 and channels == 1:
            raise InputError("the model takes grey images and these have colours; convert them first")
        mean, std = torch.tensor(preprocessing["mean"]), torch.tensor(preprocessing["std"])
        blocks = resize_square(images, preprocessing["image_size"][0]).split(_BATCH)
        return torch.cat([self._logits(normalise(block, mean, std)).softmax(dim=1) for block in blocks])

    def _logits(self, images: Tensor) -> Tensor:
        return torch.stack([model(images)[0] for model in self._models]).sum(dim=0)


def load(run: Path | str) -> TrainedRun:
    """A finished run by its folder. Raises `InputError` where there is none."""
    return TrainedRun(Path(run))


def fit(
    images: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    trusted: ArrayLike | Tensor | None = None,
    *,
    method: str = "ebomlc-s",
    test: tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None = None,
    class_names: Sequence[str] | None = None,
    output_dir: Path | str | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = True,
) -> TrainedRun:
    """Train on arrays whose labels are partly wrong.

    Args:
        images: (N, H, W) or (N, H, W, C) uint8.
        labels: (N,) integers 0 … K−1, noisy; right where ``trusted`` says so.
        trusted: indices (Nc,) of images whose label is right; needed by methods that use a trusted set, unless
            ``settings`` has ``data.clean_from_noisy``.
        method: as in ``ebomlc list methods``.
        test: images and true labels, for evaluation only.
        class_names: K names; by default the numbers.
        output_dir: the run folder; by default a new temporary one.
        settings: dotted keys of the configuration, such as ``{"train.epochs": 30, "model.name": "resnet20"}``.
        quiet: no progress.

    Raises:
        InputError: arrays that do not fit together, or a setting that is not known.
    """
    assignments = tuple(f"{key}={_text(value)}" for key, value in (settings or {}).items())
    (resolved,) = resolve(Request(recipe="folder", methods=(method,), assignments=assignments))
    config = resolved.config.model_copy(update={"data": resolved.config.data.model_copy(update={"dataset": ARRAYS})})
    source = _source(images, labels, trusted, test, class_names, config)
    drawn = from_source(source, config.data, config.noise, config.seeds, needs_clean=needs_clean(config))
    folder = Path(tempfile.mkdtemp(prefix="ebomlc-")) if output_dir is None else Path(output_dir)
    runtime = Runtime.start(config.train)
    dataset = drawn

    def data() -> NoisyDataset:
        nonlocal dataset
        if config.data.clean_from_noisy:
            dataset = trusted_from_noisy(config, drawn, folder / FOLDER, runtime, quiet=quiet)
        return dataset

    try:
        train(config, folder, quiet=quiet, overrides=resolved.overrides, dataset=data, runtime=runtime)
    finally:
        runtime.close()
    return TrainedRun(folder, dataset)


def _source(
    images: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    trusted: ArrayLike | Tensor | None,
    test: tuple[ArrayLike | Tensor, ArrayLike | Tensor] | None,
    class_names: Sequence[str] | None,
    config: RunConfig,
) -> Source:
    train_images, train_labels = _as_images(images), _as_integers(labels, "labels")
    if len(train_images) != len(train_labels):
        raise InputError(f"{len(train_images)} images and {len(train_labels)} labels; there must be one label an image")
    test_images, test_labels = train_images[:0], train_labels[:0]
    if test is not None:
        test_images, test_labels = _as_images(test[0]), _as_integers(test[1], "test labels")
    num_classes = int(max(train_labels.max(), test_labels.max() if len(test_labels) else 0)) + 1
    names = [str(name) for name in class_names] if class_names is not None else [str(k) for k in range(num_classes)]
    if len(names) < num_classes or int(train_labels.min()) < 0:
        raise InputError(
            f"labels run from {int(train_labels.min())} to {num_classes - 1}, and there are {len(names)} names"
        )
    chosen = torch.zeros(0, dtype=torch.int64) if trusted is None else _as_integers(trusted, "trusted")
    if len(chosen) and not 0 <= int(chosen.min()) <= int(chosen.max()) < len(train_images):
        raise InputError(f"trusted holds an index outside 0…{len(train_images) - 1}")
    side = config.data.given_side
    if side is None:
        side = side_for(min(train_images.shape[2:]), config.model.name)
    return Source(
        images=resize_square(train_images, side),
        labels=train_labels,
        ids=[f"train/{i}" for i in range(len(train_images))],
        test_images=resize_square(test_images, side),
        test_labels=test_labels,
        class_names=names,
        trusted=chosen,
        labels_are_true=False,
    )


def _as_images(images: ArrayLike | Tensor) -> Tensor:
    array = torch.as_tensor(np.asarray(images))
    if array.dtype != torch.uint8 or array.ndim not in (3, 4) or not len(array):
        raise InputError(f"images are {tuple(array.shape)} {array.dtype}; give uint8 (N, H, W) or (N, H, W, C), N ≥ 1")
    return array.unsqueeze(1) if array.ndim == 3 else array.permute(0, 3, 1, 2).contiguous()


def _as_integers(values: ArrayLike | Tensor, what: str) -> Tensor:
    array = np.asarray(values)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer) or not (len(array) or what == "trusted"):
        raise InputError(f"{what} are {array.shape} {array.dtype}; give a list of integers")
    return torch.as_tensor(array.astype(np.int64))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
