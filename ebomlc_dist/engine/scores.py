"""What a run's networks say of given labels: the figures of a label audit, spread over the ranks, in the data's order.

The suspicion of a label ỹ of an image x is 1 − (p(ỹ|x) + g(ỹ|x, ỹ))/2: the probability of any other class, averaged
over the main model p and the method's label corrector g; p stands in for g where the method has no corrector. 0 is sure
to be right, 1 sure to be wrong. A corrector that copies its input leaves the order to the main model.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.evaluate import BATCH, predict, predicting, training_images

TRIALS = 5_000
_SEED = 7


@dataclass(frozen=True)
class TrustedCases:
    """Trusted images under right and wrong labels, to measure how suspicion tells them apart.

    Attributes:
        rows: (m,) int64 into the training images; the trials of one image stand together, its own label first.
        labels: (m,) int64, the label that is tried.
        truth: (m,) int64, the trusted label.
        weights: (m,) float64: 1 for the image's own label, (K−1)/(labels tried − 1) for another one, so that the
            weights of an image sum to K.
    """

    rows: Tensor
    labels: Tensor
    truth: Tensor
    weights: Tensor


@dataclass(frozen=True)
class ScoredBlock:
    """Scores of consecutive samples, the same on every rank, on the CPU.

    Attributes:
        begin: position of the first one.
        main: (n, K) float32, the main model's probabilities.
        corrected: (n, K) float32, the corrector's; ``main`` again where the method has none.
    """

    begin: int
    main: Tensor
    corrected: Tensor


def trusted_cases(dataset: NoisyDataset) -> TrustedCases:
    """Return the cases of a data set: every label where classes are few, else the own one and a sample.

    A pure function of the data set.
    """
    num_trusted, num_classes = len(dataset.clean_index), dataset.num_classes
    tried = min(num_classes, max(2, TRIALS // max(1, num_trusted)))
    draws = np.random.Generator(np.random.PCG64(_SEED)).random((num_trusted, num_classes - 1))
    shifts = torch.from_numpy(draws).argsort(dim=1, stable=True)[:, : tried - 1].sort(dim=1).values + 1
    shifts = torch.cat([shifts.new_zeros(num_trusted, 1), shifts], dim=1)
    truth = dataset.clean_labels[:, None].expand_as(shifts)
    weights = torch.where(shifts == 0, 1.0, (num_classes - 1) / (tried - 1)).double()
    return TrustedCases(
        rows=dataset.clean_index[:, None].expand_as(shifts).reshape(-1),
        labels=((truth + shifts) % num_classes).reshape(-1),
        truth=truth.reshape(-1),
        weights=weights.reshape(-1),
    )


def score(training: Training, rows: Tensor, given: Tensor) -> Iterator[ScoredBlock]:
    """Score images under given labels, in evaluation mode, without augmentation. Collective: every rank iterates.

    Args:
        rows: (n,) int64 into the training images.
        given: (n,) int64, the label of each.
    """
    runtime = training.runtime
    for begin in range(0, len(rows), BATCH * runtime.world_size):
        rest = len(rows) - begin
        share = min(BATCH, -(-rest // runtime.world_size))
        # The last share is filled up, so that every rank has one of the same size.
        index = (begin + runtime.rank * share + torch.arange(share)).clamp_max(len(rows) - 1)
        with predicting(training):
            labels = given[index].to(runtime.device)
            logits, corrected = predict(training, training_images(training, rows[index]), labels)
            main = logits.float().softmax(dim=1)
            pair = torch.stack([main, main if corrected is None else corrected.float()])
        every = runtime.communicator.gather(pair).transpose(0, 1).flatten(1, 2)[:, :rest].cpu()
        yield ScoredBlock(begin, every[0], every[1])


def suspicion(block: ScoredBlock, given: Tensor) -> Tensor:
    """(n,) float32 in 0…1 for the labels ``given`` (n,) of a block's samples."""
    belief = block.main + block.corrected
    return (1.0 - belief.gather(1, given[:, None]).squeeze(1) / 2).clamp(0.0, 1.0)


def epoch_scores(training: Training) -> dict[str, Tensor]:
    """Return suspicion as it stands: ``noisy`` (Nn,) of the noisy set's labels, ``trials`` (m,) of `trusted_cases`."""
    dataset, trials = training.dataset, trusted_cases(training.dataset)
    asked = {"noisy": (dataset.noisy_index, dataset.noisy_labels), "trials": (trials.rows, trials.labels)}
    found = {}
    for name, (rows, given) in asked.items():
        blocks = score(training, rows, given)
        parts = [suspicion(block, given[block.begin : block.begin + len(block.main)]) for block in blocks]
        found[name] = torch.cat(parts) if parts else torch.zeros(0)
    return found
