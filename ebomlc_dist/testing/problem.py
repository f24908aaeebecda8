"""A small float64 problem that every method can step on, whole or in shards."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from threading import Lock

import torch
from torch import Tensor, nn

from ebomlc_dist.config import OptimConfig
from ebomlc_dist.data.loaders.index_stream import shard
from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.engine.optimizers import MAKERS, FlatOptimizer
from ebomlc_dist.engine.step import StepOutcome, TrainStep
from ebomlc_dist.methods import method_class
from ebomlc_dist.methods.contract import Batch, Method, PairedBatch, Reducer, StepResult, Task
from ebomlc_dist.models.meta import build_meta_model
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.network import Network

NUM_CLASSES = 4
NUM_NOISY = 40
NUM_CLEAN = 12
NUM_HELD_OUT = 4
EPOCHS = 4
# Of two of the clean images the old label is unknown.
OLD_LABELS = torch.tensor([[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 2, 0], [1, 0, 1, 1]])
# torch's generator is one for all threads of the shard-wise control.
_SEEDING = Lock()


class SmallNet(nn.Module):
    """Two convolutions and a linear layer, with or without batch normalisation."""

    feature_dim = 6
    shape: tuple[int, ...] = (1, 6, 6)
    """Of an input."""

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(6) if batch_norm else nn.GroupNorm(2, 6)
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), norm, nn.Tanh(), nn.Conv2d(6, 6, 3), nn.Tanh())
        self.head = nn.Linear(6, NUM_CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(images).mean(dim=(2, 3))
        return self.head(features), features


class SmallHead(nn.Module):
    """A small head on features, with or without batch normalisation."""

    feature_dim = 6
    shape: tuple[int, ...] = (9,)

    def __init__(self, batch_norm: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(6) if batch_norm else nn.LayerNorm(6)
        self.body = nn.Sequential(nn.LayerNorm(9), nn.Linear(9, 6), norm, nn.Tanh())
        self.head = nn.Linear(6, NUM_CLASSES)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(inputs)
        return self.head(features), features


@dataclass(frozen=True)
class Sizes:
    """Samples in the global batches."""

    noisy: int = 11
    clean: int = 7
    lower_clean: int = 5


@dataclass
class Learner:
    """One process's networks, optimisers and step; ``shape`` is that of an input."""

    method: Method
    networks: dict[str, Network]
    optimizers: dict[str, FlatOptimizer]
    step: TrainStep
    shape: tuple[int, ...] = SmallNet.shape

    def state(self) -> dict[str, Tensor]:
        """Every tensor that decides what comes next."""
        state = {f"{name}.statistics": n.statistics.clone() for name, n in self.networks.items()}
        for name, optimizer in self.optimizers.items():
            state[f"{name}.vector"] = self.networks[name].vector.detach().clone()
            state |= {f"{name}.{key}": value.clone() for key, value in optimizer.state().items()}
        state |= {f"method.{name}": value.clone() for name, value in self.method.state.items()}
        return state


class WholeDatasetReducer:
    """A `DatasetReducer` of a process that holds all NUM_NOISY noisy and NUM_CLEAN clean inputs itself."""

    def __init__(self, networks: dict[str, Network], shape: tuple[int, ...] = SmallNet.shape) -> None:
        self._networks = networks
        self.restarted: list[str] = []
        generator = torch.Generator().manual_seed(99)
        self.images = torch.randn(NUM_NOISY + NUM_CLEAN, *shape, generator=generator, dtype=torch.float64)
        # Every class has clean images.
        self.labels = torch.arange(NUM_NOISY + NUM_CLEAN) % NUM_CLASSES
        # The class that the correctors of `make_learner` begin with, so that they lead somewhere.
        self.held_out_labels = torch.ones(NUM_HELD_OUT, dtype=torch.int64)

    @property
    def held_out_images(self) -> Tensor:
        return self.images[NUM_NOISY : NUM_NOISY + NUM_HELD_OUT]

    def gather_noisy(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self._values(values, self.images[:NUM_NOISY], self.labels[:NUM_NOISY])

    def sum_noisy(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self.gather_noisy(values).sum(dim=0)

    def sum_held_out(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self._values(values, self.held_out_images, self.held_out_labels).sum(dim=0)

    def gather_held_out(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self._values(values, self.held_out_images, self.held_out_labels)

    def sum_clean(self, values: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        return self._values(values, self.images[NUM_NOISY:], self.labels[NUM_NOISY:]).sum(dim=0)

    def from_first_rank(self, work: Callable[[], Tensor], like: Tensor) -> Tensor:
        return like.copy_(work())

    def restart(self, name: str) -> None:
        self.restarted.append(name)

    def _values(self, values: Callable[[Tensor, Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
        for network in self._networks.values():
            network.module.eval()
        with torch.no_grad():
            found = values(images.to(self._networks["main"].vector.dtype), labels)
        for name, network in self._networks.items():
            network.module.train(name != "extractor")
        return found


def make_learner(
    method: str | type[Method],
    reducer: Reducer,
    *,
    batch_norm: bool = True,
    dtype: torch.dtype = torch.float64,
    epoch: int = 0,
    old_labels: Tensor | None = OLD_LABELS,
    wrap: Callable[[str, nn.Module], Network] = lambda name, module: FlatNetwork(module),
    main_model: Callable[[bool], nn.Module] = SmallNet,
    begun: bool = True,
    **settings: object,
) -> Learner:
    """A learner at the beginning of ``epoch``, whose bits depend on nothing but the arguments.

    Args:
        method: a method's name, or its class.
        main_model: makes a main model, with batch normalisation or without; its ``shape`` is that of an input.
        begun: whether the method's work before the epoch is done; not so in a run that is continued within it.
    """
    method_type = method_class(method) if isinstance(method, str) else method
    name = method if isinstance(method, str) else f"{method.__module__}:{method.__qualname__}"
    made = method_type(method_type.Config.model_validate({"name": name, **settings}))
    networks: dict[str, Network] = {}
    with _SEEDING:
        for seed, name in enumerate(made.networks):
            torch.manual_seed(seed)
            if name == "meta":
                module = build_meta_model(made.meta_model, num_classes=NUM_CLASSES, feature_dim=SmallNet.feature_dim)
            else:
                module = main_model(batch_norm)
            networks[name] = wrap(name, module.to(dtype).train(name != "extractor"))
    config = OptimConfig(main_lr=0.05, meta_lr=1e-2)
    optimizers = {name: MAKERS[name](networks[name], config, 10) for name in made.networks if name in MAKERS}
    made.allocate(networks, Task(NUM_CLASSES, NUM_NOISY, NUM_CLEAN, old_labels))
    made.enter_epoch(epoch, EPOCHS)
    shape = getattr(main_model, "shape", SmallNet.shape)
    if begun:
        made.begin_epoch(networks, WholeDatasetReducer(networks, shape))
    step = TrainStep(made, networks, optimizers, reducer, None)
    return Learner(made, networks, optimizers, step, shape)


def global_batches(
    step: int, sizes: Sizes, dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = SmallNet.shape
) -> dict[str, tuple[Tensor, Tensor]]:
    """Name → (inputs, labels) of one step's global batches, a function of the step alone."""
    generator = torch.Generator().manual_seed(1000 + step)
    batches = {}
    for name, size in vars(sizes).items():
        images = torch.randn(size, *shape, generator=generator, dtype=torch.float64).to(dtype)
        batches[name] = (images, torch.randint(NUM_CLASSES, (size,), generator=generator))
    return batches


def local_batch(
    method: Method,
    step: int,
    rank: int,
    world_size: int,
    sizes: Sizes = Sizes(),
    dtype: torch.dtype = torch.float64,
    shape: tuple[int, ...] = SmallNet.shape,
) -> PairedBatch:
    """One rank's share of a step's batches, with one borrowed image where the share is empty."""

    def take(images: Tensor, labels: Tensor) -> Batch:
        piece = shard(len(labels), rank, world_size)
        if piece.start == piece.stop:
            return Batch(images[:1], labels[:1], 0, piece.start, len(labels))
        return Batch(images[piece], labels[piece], piece.stop - piece.start, piece.start, len(labels))

    def chosen(number: int, view: int, positions: Tensor) -> Batch:
        images, labels = _views(step, number, sizes.noisy, dtype, shape)[view]
        return replace(take(images, labels), positions=positions[_places(labels, rank, world_size) % len(positions)])

    batches = global_batches(step, sizes, dtype, shape)
    streams = method.streams
    noisy = take(*batches["clean" if streams.noisy_images == "clean" else "noisy"])
    if streams.noisy_images == "union":
        noisy = replace(noisy, trusted=(torch.arange(noisy.offset, noisy.offset + len(noisy.labels)) % 3 == 0))
    return PairedBatch(
        noisy=noisy,
        clean=_with_old_labels(take(*batches["clean"])) if streams.clean else None,
        lower_clean=take(*batches["lower_clean"]) if streams.lower_clean else None,
        selected={
            name: (chosen(number, 0, positions), chosen(number, 1, positions))
            for number, (name, positions) in enumerate(method.selections().items())
        },
        key=torch.tensor(7_000 + step),
    )


def _with_old_labels(clean: Batch) -> Batch:
    """Every third image's old label is unknown, every second one of the others was wrong."""
    places = clean.offset + torch.arange(len(clean.labels))
    old = (clean.labels + places % 2) % NUM_CLASSES
    return replace(clean, old_labels=torch.where(places % 3 == 2, -1, old))


def _views(
    step: int, number: int, size: int, dtype: torch.dtype, shape: tuple[int, ...]
) -> list[tuple[Tensor, Tensor]]:
    """Two views of one global batch of a selection: other pixels, the same labels."""
    generator = torch.Generator().manual_seed(1_000_000 + 10 * step + number)
    labels = torch.randint(NUM_CLASSES, (size,), generator=generator)
    return [(torch.randn(size, *shape, generator=generator, dtype=torch.float64).to(dtype), labels) for _ in range(2)]


def _places(labels: Tensor, rank: int, world_size: int) -> Tensor:
    piece = shard(len(labels), rank, world_size)
    return torch.arange(piece.start, piece.stop) if piece.start != piece.stop else torch.zeros(1, dtype=torch.int64)


def run_steps(
    learner: Learner, steps: int, rank: int = 0, world_size: int = 1, sizes: Sizes = Sizes(), first: int = 0
) -> list[StepOutcome]:
    """Take steps ``first`` … ``first + steps − 1`` on this rank's shares."""
    dtype = learner.networks["main"].vector.dtype
    return [
        learner.step(local_batch(learner.method, step, rank, world_size, sizes, dtype, learner.shape))
        for step in range(first, first + steps)
    ]


def propose(learner: Learner, step: int = 0) -> StepResult:
    """The method's proposal on the whole batch of a step, without applying it."""
    rules = {name: optimizer.rule() for name, optimizer in learner.optimizers.items()}
    batch = local_batch(learner.method, step, 0, 1, shape=learner.shape)
    return learner.method.step(learner.networks, rules, batch, Communicator(torch.device("cpu")))
