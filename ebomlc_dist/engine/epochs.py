"""What a method prepares between two epochs, the same on every rank."""

from collections.abc import Callable, Iterator

from torch import Tensor

from ebomlc_dist.data.split import held_out
from ebomlc_dist.engine.build import Training, initialise
from ebomlc_dist.engine.evaluate import evaluating, share_of, training_images


def begin_epoch(training: Training, epoch: int) -> None:
    """Prepare the method for the first step of ``epoch`` (from 0, over all stages). Collective."""
    training.method.enter_epoch(epoch, training.config.train.epochs)
    training.method.begin_epoch(training.networks, RunDatasetReducer(training))
    _serve(training, epoch)


def resume_epoch(training: Training, epoch: int) -> None:
    """Prepare the method to continue in the middle of ``epoch``. Its state has what `begin_epoch` left."""
    training.method.enter_epoch(epoch, training.config.train.epochs)
    _serve(training, epoch)


def _serve(training: Training, epoch: int) -> None:
    training.loader.serve(training.method.streams, training.method.selections(), epoch)


Values = Callable[[Tensor, Tensor], Tensor]


class RunDatasetReducer:
    """The `DatasetReducer` of a run."""

    def __init__(self, training: Training) -> None:
        self._training = training

    def gather_noisy(self, values: Values) -> Tensor:
        dataset = self._training.dataset
        return self._gather(dataset.noisy_index, dataset.noisy_labels, values)

    def gather_held_out(self, values: Values) -> Tensor:
        return self._gather(*self._held_out(), values)

    def sum_noisy(self, values: Values) -> Tensor:
        dataset = self._training.dataset
        return self._sum(dataset.noisy_index, dataset.noisy_labels, values)

    def sum_clean(self, values: Values) -> Tensor:
        dataset = self._training.dataset
        return self._sum(dataset.clean_index, dataset.clean_labels, values)

    def sum_held_out(self, values: Values) -> Tensor:
        return self._sum(*self._held_out(), values)

    def _held_out(self) -> tuple[Tensor, Tensor]:
        """Return index and labels of the trusted images that are not trained on."""
        dataset = self._training.dataset
        rows = held_out(dataset.clean_labels, self._training.method.streams.held_out)
        return dataset.clean_index[rows], dataset.clean_labels[rows]

    def _gather(self, index: Tensor, labels: Tensor, values: Values) -> Tensor:
        whole = self._nothing(values, len(index))
        for places, block in self._blocks(index, labels, values):
            whole[places] = block
        return self._training.runtime.patient.sum(whole)

    def _sum(self, index: Tensor, labels: Tensor, values: Values) -> Tensor:
        total = self._nothing(values, 1)[0]
        for _, block in self._blocks(index, labels, values):
            total += block.sum(dim=0)
        return self._training.runtime.patient.sum(total)

    def from_first_rank(self, work: Callable[[], Tensor], like: Tensor) -> Tensor:
        runtime = self._training.runtime
        if runtime.is_main:
            like.copy_(work())
        return runtime.patient.broadcast(like)

    def restart(self, name: str) -> None:
        training = self._training
        initialise(training, name)
        if name in training.optimizers:
            training.optimizers[name].restart()
        if name in training.averages:
            training.averages[name].restart()

    def _blocks(self, index: Tensor, labels: Tensor, values: Values) -> Iterator[tuple[Tensor, Tensor]]:
        """Places within ``index`` and the values there, over this rank's share."""
        training, runtime = self._training, self._training.runtime
        with evaluating(training.networks):
            for places in share_of(len(index), runtime.rank, runtime.world_size):
                images = training_images(training, index[places])
                yield places.to(runtime.device), values(images, labels[places].to(runtime.device))

    def _nothing(self, values: Values, rows: int) -> Tensor:
        """(rows, …) zeros of the shape and dtype that ``values`` has."""
        training, dataset = self._training, self._training.dataset
        with evaluating(training.networks):
            images = training_images(training, dataset.noisy_index[:1])
            example = values(images, dataset.noisy_labels[:1].to(images.device))
        return example.new_zeros((rows, *example.shape[1:]))
