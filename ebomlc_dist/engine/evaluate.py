"""Evaluation, spread over the ranks, with every image counted once. Its time is not training time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor

from ebomlc_dist.data.loaders.augment import normalise
from ebomlc_dist.data.loaders.paired import VALIDATION, augmentation
from ebomlc_dist.data.seeds import child, seed_sequence
from ebomlc_dist.engine.build import Training
from ebomlc_dist.engine.weight_average import WeightAverage
from ebomlc_dist.monitoring.meters import LabelMeter, label_figures
from ebomlc_dist.numerics.losses import cross_entropy
from ebomlc_dist.numerics.network import Network

BATCH = 512


@contextmanager
def evaluating(networks: Mapping[str, Network]) -> Iterator[None]:
    """Set evaluation mode without gradients within the block; restore the modes afterwards."""
    modes = {name: network.module.training for name, network in networks.items()}
    for network in networks.values():
        network.module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for name, network in networks.items():
            network.module.train(modes[name])


@contextmanager
def predicting(training: Training) -> Iterator[None]:
    """`evaluating`, with the weights by which the run predicts: their moving average, where one is kept."""
    with ExitStack() as stack:
        for average in training.averages.values():
            stack.enter_context(average.in_place())
        stack.enter_context(evaluating(training.networks))
        yield


def share_statistics(training: Training) -> None:
    """Give every rank the mean of all ranks' running statistics, so that they evaluate and save the same model."""
    communicator = training.runtime.communicator
    if communicator.world_size == 1:
        return
    holders: tuple[Network | WeightAverage, ...] = (*training.networks.values(), *training.averages.values())
    for holder in holders:
        if holder.statistics.numel():
            communicator.sum(holder.statistics).div_(communicator.world_size)


def evaluate_test_set(training: Training) -> dict[str, float]:
    """``accuracy`` in per cent and mean ``loss`` on the test set; empty without a test set."""
    dataset = training.dataset
    return _evaluate(training, dataset.test_labels, lambda index: images_of(training, dataset.test_images[index]))


def evaluate_clean_set(training: Training) -> dict[str, float]:
    """Return ``accuracy`` and ``loss`` on the trusted images, not augmented.

    ``loss`` is the plain upper objective (eq. 2) of the model that predicts, whatever objective it was trained with.
    """
    dataset = training.dataset
    rows = dataset.clean_index
    return _evaluate(training, dataset.clean_labels, lambda index: training_images(training, rows[index]))


def evaluate_validation_set(training: Training, epoch: int) -> dict[str, float]:
    """Return ``accuracy`` and ``loss`` on the validation images; empty without any.

    With ``data.validation_augment`` their views are drawn anew in every ``epoch``.
    """
    dataset = training.dataset
    rows = dataset.validation_index
    if not training.config.data.validation_augment or not len(rows):
        return _evaluate(training, dataset.validation_labels, lambda index: training_images(training, rows[index]))
    seed = child(seed_sequence(training.config.seeds, "augmentation"), VALIDATION)
    views = augmentation(dataset, training.config.data, seed)
    drawn = torch.from_numpy(views.of_share(epoch, len(rows), slice(0, len(rows)), rows.numpy()))
    mean, std = (values.to(training.runtime.device) for values in (dataset.mean, dataset.std))

    def view(index: Tensor) -> Tensor:
        images, own = pixels_of(training, rows[index]).to(mean.device), drawn[:, index].to(mean.device)
        return views.apply(images, own, mean, std)

    return _evaluate(training, dataset.validation_labels, view)


def _evaluate(training: Training, every_label: Tensor, images: Callable[[Tensor], Tensor]) -> dict[str, float]:
    """``images``: positions (n,) → normalised images, on the device."""
    runtime = training.runtime
    totals = torch.zeros(3, dtype=torch.float64, device=runtime.device)
    with predicting(training):
        for index in share_of(len(every_label), runtime.rank, runtime.world_size):
            labels = every_label[index].to(runtime.device)
            logits, _ = outputs(training, images(index))
            totals[0] += (logits.argmax(dim=1) == labels).sum()
            totals[1] += cross_entropy(logits, labels).sum()
            totals[2] += len(labels)
    correct, loss, count = runtime.communicator.sum(totals).tolist()
    return {"accuracy": 100.0 * correct / count, "loss": loss / count} if count else {}


def evaluate_noisy_set(training: Training) -> dict[str, dict]:
    """Return how the noisy set's labels compare with the true ones, in evaluation mode, without augmentation.

    Returns figures of `label_figures` under ``corrector`` (where the method has one), ``given`` (the corrector against
    the given labels in the place of the truth) and ``prediction`` (the main model's own prediction as the corrected
    label); empty where the truth is unknown.
    """
    dataset, runtime = training.dataset, training.runtime
    if dataset.true_labels is None:
        return {}
    meters = {name: LabelMeter(runtime.device, dataset.num_classes) for name in ("corrector", "given", "prediction")}
    has_corrector = False
    with predicting(training):
        for index in share_of(len(dataset.noisy_labels), runtime.rank, runtime.world_size):
            images = training_images(training, dataset.noisy_index[index])
            given = dataset.noisy_labels[index].to(runtime.device)
            truth = dataset.true_labels[index].to(runtime.device)
            logits, corrected = predict(training, images, given)
            meters["prediction"].add(logits.argmax(dim=1), given, truth)
            if corrected is not None:
                has_corrector = True
                meters["corrector"].add(corrected.argmax(dim=1), given, truth)
                meters["given"].add(corrected.argmax(dim=1), given, given)
    totals = {name: runtime.communicator.sum(meter.counts) for name, meter in meters.items()}
    return {
        name: label_figures(counts, dataset.num_classes)
        for name, counts in totals.items()
        if name == "prediction" or has_corrector
    }


def predict(training: Training, images: Tensor, given: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return logits (n, K) and the method's corrected distribution (n, K), if any, for normalised images."""
    logits, features = outputs(training, images)
    if "extractor" in training.networks:
        features = training.networks["extractor"](images)[1]
    return logits, training.method.corrected_probabilities(training.networks, logits, features, given)


def outputs(training: Training, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the logits (n, K) of the method's ensemble, and the main model's features (n, D).

    With ``train.evaluation_views`` ``flip`` the logits are the mean over an image and its mirror image.
    """
    logits, features = _ensemble(training, images)
    if training.config.train.evaluation_views == "flip":
        logits = (logits + _ensemble(training, images.flip(-1))[0]) / 2
    return logits, features


def _ensemble(training: Training, images: Tensor) -> tuple[Tensor, Tensor]:
    logits, features = training.networks["main"](images)
    for name in training.method.ensemble[1:]:
        logits = logits + training.networks[name](images)[0]
    return logits, features


def training_images(training: Training, rows: Tensor) -> Tensor:
    """Return normalised training images of (n,) int64 rows, on the device."""
    return images_of(training, pixels_of(training, rows))


def pixels_of(training: Training, rows: Tensor) -> Tensor:
    """Return training images, (n, C, H, W) uint8: from the device where the loader has them there already."""
    resident = training.loader.resident
    if resident is None:
        return training.dataset.images[rows]
    return resident.index_select(0, rows.to(resident.device))


def images_of(training: Training, images: Tensor) -> Tensor:
    """Return normalised images of (n, C, H, W) uint8, on the device."""
    device = training.runtime.device
    dataset = training.dataset
    return normalise(images.to(device), dataset.mean.to(device), dataset.std.to(device))


def share_of(total: int, rank: int, world_size: int) -> Iterator[Tensor]:
    """This rank's rows of 0…total−1, in blocks of at most `BATCH`: as many on every rank, the last one may be empty.

    A pass through a sharded network is one that all ranks make together.
    """
    own = torch.arange(min(rank, total), total, world_size)
    for start in range(0, -(-total // world_size), BATCH):
        yield own[start : start + BATCH]
