"""A trusted set for data that have none: the noisy images whose labels are most likely right.

Two rounds of cross-fitting, each over folds of its own, train cross entropy for a third of the run's epochs, so that
two models that saw neither an image nor its label say what it is. Of each given class the images are taken on whose
label both agree, those with the smallest mean loss first, as many as the split of ``data.clean_size`` asks for; where
too few agree, the smallest losses of the others fill up. They leave the noisy set and keep their given labels, of which
some may be wrong: the estimated purity (`dawid_skene`) goes wherever a result goes.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ebomlc_dist.audit.cross_fit import cross_fit
from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.data.split_file import read_document, split_document
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.engine.scores import score
from ebomlc_dist.files.durable import write_json
from ebomlc_dist.files.inside import refuse_links
from ebomlc_dist.methods import config_from_mapping
from ebomlc_dist.noise.dawid_skene import purity
from ebomlc_dist.noise.matrices import realised_rate

FOLDER = "trusted"
ROUNDS, FOLDS = 2, 3
_SHARE_OF_EPOCHS = 3
_LEAST = 1e-12
log = logging.getLogger(__name__)


def chooser(config: RunConfig, folder: Path, runtime: Runtime, *, quiet: bool) -> Callable[[], NoisyDataset] | None:
    """What prepares the data of a run, for `ebomlc_dist.engine.run.train`; None where nothing is to be chosen.

    Runs that share ``folder`` share the choice.
    """
    if not config.data.clean_from_noisy:
        return None
    return lambda: trusted_from_noisy(config, load_everywhere(config, runtime), folder, runtime, quiet=quiet)


def trusted_from_noisy(
    config: RunConfig, dataset: NoisyDataset, folder: Path, runtime: Runtime, *, quiet: bool
) -> NoisyDataset:
    """``dataset`` with a chosen trusted set in the place of the drawn one. Collective.

    Args:
        config: of the run that is to be trained.
        dataset: its data; those of a split that holds a choice already are given back as they are.
        folder: in it a folder named by what the choice depends on takes the models, and the choice as ``split.json``;
            what is there is used as it is.
        runtime: the processes.
        quiet: no progress.

    Raises:
        InputError: ``split.json`` is damaged, or a link or a special file is where the models go.
        Stopped: asked to stop; the same call goes on.
        TrainingFault: a model cannot be trained.
    """
    if dataset.purity is not None:
        return dataset
    pool = _pool(dataset)
    place = folder = folder / _digest(config, pool, dataset.clean_labels)
    runtime.on_first_rank(lambda: refuse_links([place.parent, place]))
    path = folder / "split.json"
    if not runtime.on_first_rank(path.exists):
        predictions, losses = _second_opinions(config, pool, folder, runtime, quiet)

        def choose() -> None:
            given = pool.noisy_labels.numpy()
            quotas = np.bincount(dataset.clean_labels.numpy(), minlength=dataset.num_classes)
            chosen = most_likely_right(given, predictions, losses, quotas)
            found = purity(np.column_stack([predictions, given]), chosen, dataset.num_classes)
            write_json(path, split_document(_taking(pool, pool.noisy_index[torch.from_numpy(chosen)], found)))

        runtime.on_first_rank(choose)
    document = read_document(path)
    clean = torch.tensor(document.clean_index)
    return _taking(pool, clean, None if document.clean_purity is None else document.clean_purity.model_dump())


def most_likely_right(
    given: NDArray[np.int64], predictions: NDArray[np.int64], losses: NDArray[np.float64], quotas: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Rows of the chosen images, ascending.

    Args:
        given: (n,) labels.
        predictions: (n, 2) by models that did not see the image.
        losses: (n,) mean loss of the given label under these.
        quotas: (K,) how many of each given class.
    """
    agreed = (predictions == given[:, None]).all(axis=1)
    order = np.lexsort((losses, ~agreed))
    chosen = np.concatenate([order[given[order] == label][:quota] for label, quota in enumerate(quotas)])
    if doubted := int((~agreed[chosen]).sum()):
        log.warning("%d of %d images are trusted although a model disagrees: too few agree", doubted, len(chosen))
    return np.sort(chosen)


def _second_opinions(
    config: RunConfig, pool: NoisyDataset, folder: Path, runtime: Runtime, quiet: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(n, 2) predictions and (n,) mean losses of the noisy images, on every rank."""
    predictions = torch.zeros(len(pool.noisy_index), ROUNDS, dtype=torch.int64)
    losses = torch.zeros(len(pool.noisy_index), dtype=torch.float64)
    epochs = -(-config.train.epochs // _SHARE_OF_EPOCHS)
    scorer = config.model_copy(
        update={
            "method": config_from_mapping({"name": "ce"}),
            "train": config.train.model_copy(update={"epochs": epochs}),
        }
    )
    for turn in range(ROUNDS):
        place = folder / f"round-{turn + 1}"
        for fold in cross_fit(scorer, pool, FOLDS, place, runtime, quiet=quiet, turn=turn):
            rows = fold.noisy
            given = pool.noisy_labels[rows]
            for block in score(fold.training, pool.noisy_index[rows], given):
                own = slice(block.begin, block.begin + len(block.main))
                predictions[rows[own], turn] = block.main.argmax(dim=1)
                right = block.main.double().gather(1, given[own, None])[:, 0]
                losses[rows[own]] -= right.clamp_min(_LEAST).log() / ROUNDS
    return predictions.numpy(), losses.numpy()


def _digest(config: RunConfig, pool: NoisyDataset, drawn_labels: Tensor) -> str:
    """Of all that the choice depends on, so that runs share it where they can: images, labels, sizes, model, seeds."""
    labels = torch.stack([pool.noisy_index, pool.noisy_labels])
    text = json.dumps([pool.fingerprint, labels.tolist(), drawn_labels.bincount().tolist(), config.train.epochs])
    sections = [section.model_dump_json() for section in (config.model, config.seeds)]
    return hashlib.sha256("\n".join([text, *sections]).encode()).hexdigest()[:12]


def _pool(dataset: NoisyDataset) -> NoisyDataset:
    """The same data with every used image in the noisy set."""
    index = torch.cat([dataset.noisy_index, dataset.clean_index])
    order = index.argsort()
    nothing = torch.zeros(0, dtype=torch.int64)
    true: Tensor | None = None
    if dataset.true_labels is not None and dataset.clean_true_labels is not None:
        true = torch.cat([dataset.true_labels, dataset.clean_true_labels])[order]
    return replace(
        dataset,
        noisy_index=index[order],
        noisy_labels=torch.cat([dataset.noisy_labels, dataset.clean_labels])[order],
        true_labels=true,
        clean_index=nothing,
        clean_labels=nothing,
        clean_true_labels=None,
        noise_rate_realised=None,
    )


def _taking(pool: NoisyDataset, clean: Tensor, found: Mapping[str, float | None] | None) -> NoisyDataset:
    """``pool`` with the images ``clean`` (ascending) as its trusted set."""
    taken = torch.isin(pool.noisy_index, clean)
    true = pool.true_labels
    return replace(
        pool,
        noisy_index=pool.noisy_index[~taken],
        noisy_labels=pool.noisy_labels[~taken],
        true_labels=None if true is None else true[~taken],
        clean_index=pool.noisy_index[taken],
        clean_labels=pool.noisy_labels[taken],
        clean_true_labels=None if true is None else true[taken],
        noise_rate_realised=None if true is None else realised_rate(true[~taken], pool.noisy_labels[~taken]),
        purity=found,
    )
