"""Cross-fitting: K models, each trained without one fold of the images, so that every image is scored by a stranger.

Folds are stratified by label, a pure function of the data and K. An image that is trusted as well as noisy is held out
as both. Each fold is a run of its own below the audit, so that a stopped audit goes on where it was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.inputs.safe_paths import listed, shown
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.load_run import load_trained
from ebomlc_dist.engine.preflight import needs_clean
from ebomlc_dist.engine.run import train
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.inside import refuse_links
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.noise.matrices import realised_rate

_SEED = 17


@dataclass(frozen=True)
class Fold:
    """One model and what it has not seen.

    Attributes:
        training: the trained networks, with all images of the data set within reach.
        noisy: positions in the noisy set that were held out.
        held_out: (N,) bool over all training images.
    """

    training: Training
    noisy: Tensor
    held_out: Tensor


def fold_of_images(dataset: NoisyDataset, num_folds: int, turn: int = 0) -> Tensor:
    """(N,) int64: the fold of every training image, −1 for images that the run does not use. Turns deal otherwise."""
    folds = torch.full((len(dataset.images),), -1)
    rng = np.random.Generator(np.random.PCG64(_SEED + turn))
    for index, labels in ((dataset.clean_index, dataset.clean_labels), (dataset.noisy_index, dataset.noisy_labels)):
        # Dealt out class by class, in a drawn order.
        order = np.lexsort((rng.random(len(index)), labels.numpy()))
        folds[index[order]] = torch.arange(len(index)) % num_folds
    return folds


def check_folds(dataset: NoisyDataset, num_folds: int, *, needs_trusted: bool) -> None:
    """Raise `InputError` for a number of folds, or classes too small, with which no model can be trained."""
    if not 2 <= num_folds <= len(dataset.noisy_index):
        raise InputError(
            f"--cross-fit {num_folds}: give 2 or more, at most the number of noisy images ({len(dataset.noisy_index)})"
        )
    sets = {"noisy": dataset.noisy_labels} | ({"trusted": dataset.clean_labels} if needs_trusted else {})
    for word, labels in sets.items():
        counts = torch.bincount(labels, minlength=dataset.num_classes)
        if few := [shown(dataset.class_names[k]) for k in (counts < 2).nonzero().flatten().tolist()]:
            raise InputError(
                f"--cross-fit needs two {word} images of every class, and these have fewer: {listed(few, 20)}; add "
                "images, or audit without it"
            )


def cross_fit(
    config: RunConfig,
    dataset: NoisyDataset,
    num_folds: int,
    folder: Path,
    runtime: Runtime,
    *,
    quiet: bool,
    turn: int = 0,
) -> Iterator[Fold]:
    """Train the models one after another and give each with its fold. Collective.

    Args:
        config: of the audited run.
        dataset: its data.
        num_folds: checked by `check_folds`.
        folder: each model's run goes into ``fold-<k>`` below it; finished ones are used as they are.
        quiet: no progress.
        turn: another number deals the folds out otherwise.

    Raises:
        InputError: a link or a special file is where the models go.
        Stopped: asked to stop; the same call goes on.
        TrainingFault: a model cannot be trained.
    """
    own = config.train.model_copy(update={"epoch_scores": False, "trackers": ()})
    config = config.model_copy(update={"train": own})
    runtime.on_first_rank(lambda: refuse_links([folder]))
    folds = fold_of_images(dataset, num_folds, turn)
    for number in range(num_folds):
        held_out = folds == number
        part = _without(dataset, held_out)
        paths = RunFolder(folder / f"fold-{number + 1}")
        if not runtime.on_first_rank(paths.summary.exists):
            train(config, paths.root, resume=True, quiet=quiet, dataset=part, runtime=runtime)
        training = load_trained(config, paths, part, runtime)
        yield Fold(training, held_out[dataset.noisy_index].nonzero().flatten(), held_out)


def check_cross_fit(config: RunConfig, dataset: NoisyDataset, num_folds: int | None) -> None:
    """`check_folds` for a run's method; nothing without folds."""
    if num_folds is not None:
        check_folds(dataset, num_folds, needs_trusted=needs_clean(config))


def _without(dataset: NoisyDataset, held_out: Tensor) -> NoisyDataset:
    """The same data, images and all, with some of them in no set that is trained on."""
    noisy, clean = ~held_out[dataset.noisy_index], ~held_out[dataset.clean_index]
    labels = dataset.noisy_labels[noisy]
    true = None if dataset.true_labels is None else dataset.true_labels[noisy]
    return replace(
        dataset,
        noisy_index=dataset.noisy_index[noisy],
        noisy_labels=labels,
        true_labels=true,
        clean_index=dataset.clean_index[clean],
        clean_labels=dataset.clean_labels[clean],
        clean_old_labels=None if dataset.clean_old_labels is None else dataset.clean_old_labels[clean],
        clean_true_labels=None if dataset.clean_true_labels is None else dataset.clean_true_labels[clean],
        noise_rate_realised=None if true is None else realised_rate(true, labels),
    )
