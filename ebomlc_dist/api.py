"""Trained runs from Python: what they predict, and which labels they find wrong.

import ebomlc_dist
run = ebomlc_dist.load("runs/…")                    # any finished run
run.predict_proba(new_images)                       # (M, K)
run.find_label_issues()                             # which labels look wrong, most suspicious first
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.audit.run_audit import Options, audit, examined
from ebomlc_dist.data.dataset import InputSet, NoisyDataset, described
from ebomlc_dist.data.inputs.arrays import Values, as_array, as_images
from ebomlc_dist.data.inputs.feature_rows import FeatureRows, check_array, checked_digest
from ebomlc_dist.data.inputs.grey_levels import Levels
from ebomlc_dist.data.inputs.lazy import read_loose
from ebomlc_dist.data.inputs.read import resize_square
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.data.loaders.augment import normalise
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.load_run import check_stored_data, finished, stored_config
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.models.hub import load_model

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
        given_labels, predicted_labels: (Nn,) int64, beside ``indices``: the noisy label and the main model's.
        proposed_labels: (Nn,) int64, what the audit would put in the given label's place.
        suspicion: (Nn,) float64 in 0…1, high is bad.
        num_flagged: so many of the first are called issues: as many as are estimated to be wrong.
        in_sample: whether the model was trained on these images, so that their scores flatter the given labels.
    """

    indices: NDArray[np.int64]
    given_labels: NDArray[np.int64]
    predicted_labels: NDArray[np.int64]
    proposed_labels: NDArray[np.int64]
    suspicion: NDArray[np.float64]
    num_flagged: int
    in_sample: bool


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

    @property
    def on_features(self) -> bool:
        """Whether the model takes features, and no images."""
        return self._stored["preprocessing"]["image_size"] is None

    def predict_proba(self, images: Values) -> NDArray[np.float32]:
        """(M, K) class probabilities of images, which are resized to the model's size; a single image is M = 1.

        Args:
            images: (M, H, W), (M, H, W, C), (M, C, H, W), or one image: integers 0…255, floats 0…1; see `as_images`. Of
                a model of features: (M, D) numbers.
                A model of colour images takes grey ones too.

        Raises:
            InputError: another range, or another number of channels than the model takes.
        """
        array = as_array(images, "images")
        if self.on_features:
            rows = FeatureRows((check_array(array, "features"),))
            checked_digest(rows, "features")
            return self._probabilities(rows).numpy()
        if array.ndim == 3 and array.shape[0] == 3 and self._stored["in_channels"] == 3 and array.shape[2] != 3:
            raise InputError(
                f"images are {array.shape}: three grey images, or one with its channels first; give the one image as "
                "`images[None]`, or grey ones as `images[:, None]`"
            )
        return self._probabilities(as_images(array)).numpy()

    def probabilities(self, rows: FeatureRows) -> Iterator[NDArray[np.float32]]:
        """Yield (K,) class probabilities of each row of features in turn; some rows are in memory at a time."""
        for block in torch.arange(len(rows)).split(_BATCH):
            yield from self._probabilities(rows.take(block.numpy())).numpy()

    def predict(self, paths: Sequence[Path | str]) -> list[Prediction]:
        """The predicted class of image files. Raises `InputError` listing those that cannot be read."""
        predictions, failures = [], []
        for path, row in zip(paths, self.classify(paths), strict=True):
            if isinstance(row, str):
                failures.append(f"{shown(path)} {row}")
            else:
                index = int(row.argmax())
                predictions.append(Prediction(self.class_names[index], index, float(row[index])))
        if failures:
            raise InputError(
                f"{len(failures)} of {len(paths)} images cannot be read: {listed(failures)}; leave them out, or take "
                "`classify`, which gives a reason in the place of each"
            )
        return predictions

    def classify(self, paths: Sequence[Path | str]) -> Iterator[NDArray[np.float32] | str]:
        """The class probabilities (K,) of one image file after another, or why it cannot be read.

        Files are read as a grey or a colour image, whichever the model takes, and prepared as in training.
        """
        preprocessing = self._stored["preprocessing"]
        for start in range(0, len(paths), _BATCH):
            images, failures = read_loose(
                paths[start : start + _BATCH],
                channels=self._stored["in_channels"],
                image_size=preprocessing["image_size"][0],
                max_side=preprocessing.get("max_side"),
                max_pixels=_MAX_PIXELS,
                levels=Levels(preprocessing["deep_low"], preprocessing["deep_shift"]),
            )
            rows = iter(self._probabilities(images).numpy() if len(images) else ())
            for place in range(len(paths[start : start + _BATCH])):
                yield failures[place] if place in failures else next(rows)

    def evaluate(self) -> dict[str, Any]:
        """What the model does on the run's test images.

        Returns:
            ``accuracy`` in per cent; ``balanced_accuracy``, the mean of the classes' own; mean ``loss``; ``num_test``;
            and ``classes``: name → its ``accuracy`` and ``num_test``, for every class that has test images.
        """
        dataset = self._data()
        if not len(dataset.test_labels):
            raise InputError(f"the run in {self.folder} has no test images")
        blocks = torch.arange(len(dataset.test_labels)).split(_BATCH)
        probabilities = torch.cat([self._probabilities(dataset.test_images[block]) for block in blocks])
        right = probabilities.argmax(dim=1) == dataset.test_labels
        given = probabilities.gather(1, dataset.test_labels[:, None]).clamp_min(torch.finfo(torch.float32).tiny)
        counts = dataset.test_labels.bincount(minlength=len(self.class_names))
        own = 100.0 * dataset.test_labels[right].bincount(minlength=len(self.class_names)).double() / counts
        present = counts > 0
        return {
            "accuracy": 100.0 * float(right.double().mean()),
            "balanced_accuracy": float(own[present].mean()),
            "loss": -float(given.double().log().mean()),
            "num_test": len(dataset.test_labels),
            "classes": {
                self.class_names[label]: {"accuracy": float(own[label]), "num_test": int(counts[label])}
                for label in present.nonzero().flatten().tolist()
            },
        }

    def find_label_issues(self) -> LabelIssues:
        """The noisy images, most suspicious given label first: scores and order of `audit`, and no file.

        Raises:
            InputError: the run's data cannot be read again, or its checkpoint is gone.
        """
        dataset = self._data()
        runtime = Runtime.start(stored_config(RunFolder(self.folder)).train)
        try:
            with (
                tempfile.TemporaryDirectory(prefix="ebomlc-") as scratch,
                examined(self.folder, runtime, dataset, Path(scratch)) as found,
            ):
                order = found.order
                return LabelIssues(
                    indices=dataset.noisy_index.numpy()[order],
                    given_labels=found.table.given[order].astype(np.int64),
                    predicted_labels=found.table.predicted[order].astype(np.int64),
                    proposed_labels=found.proposed[order].astype(np.int64),
                    suspicion=found.suspicion[order].astype(np.float64),
                    num_flagged=found.num_flagged,
                    in_sample=found.subject.in_sample,
                )
        finally:
            runtime.close()

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

    @torch.no_grad()
    def _probabilities(self, images: InputSet) -> Tensor:
        preprocessing, channels = self._stored["preprocessing"], self._stored["in_channels"]
        mean, std = torch.tensor(preprocessing["mean"]), torch.tensor(preprocessing["std"])
        if self.on_features or not isinstance(images, Tensor):
            if tuple(images.shape[1:]) != (channels,):
                raise InputError(f"the model takes {channels} features and these are {described(images)}")
            rows = torch.arange(len(images)).split(_BATCH)
            return torch.cat([self._logits(normalise(images[block], mean, std)).softmax(dim=1) for block in rows])
        if images.shape[1] == 1 and channels == 3:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[1] != channels:
            raise InputError(
                f"the model takes {channels} channel(s) and images have {images.shape[1]}; convert them first"
            )
        blocks = resize_square(images, preprocessing["image_size"][0]).split(_BATCH)
        return torch.cat([self._logits(normalise(block, mean, std)).softmax(dim=1) for block in blocks])

    def _logits(self, images: Tensor) -> Tensor:
        return torch.stack([model(images)[0] for model in self._models]).sum(dim=0)


def load(run: Path | str) -> TrainedRun:
    """A finished run by its folder. Raises `InputError` where there is none."""
    return TrainedRun(Path(run))
