"""What holds for a method on any number of processes, checked on a small float64 problem, in one process on the CPU.

| check | what holds |
|---|---|
| settings | a setting that the method does not have is refused |
| proposal | directions, metrics, corrected labels and state have their shapes and dtypes, and are finite |
| no trace | a step changes no parameter and no state itself, and draws from no generator of torch's |
| no wait | a step never makes the host wait for the device |
| two shards | two ranks hold the same bits, and the parameters of the whole batch to rounding; empty shares too |
| fault | a NaN on one rank skips the step on both, as if it had not been |
| round trip | a run that is continued from its tensors takes the very steps it would have taken |
| corrector | corrected probabilities are probabilities |
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.methods import method_class
from ebomlc_dist.methods.contract import Method, PairedBatch, StepResult
from ebomlc_dist.methods.outside_method import check_class
from ebomlc_dist.plugins import failure, named_by_a_person
from ebomlc_dist.profiling.counters import Launches
from ebomlc_dist.testing.lockstep import LockstepReducer, over_shards
from ebomlc_dist.testing.problem import NUM_CLASSES, Learner, Sizes, local_batch, make_learner, propose, run_steps

State = dict[str, Tensor]
Make = Callable[..., Learner]

STEPS = 5
CPU = torch.device("cpu")
SIZES = {
    "unequal": Sizes(noisy=11, clean=7, lower_clean=5),
    "empty-clean": Sizes(noisy=11, clean=1, lower_clean=1),
    "empty-noisy": Sizes(noisy=1, clean=7, lower_clean=5),
}
"""Global batches of which two ranks have unequal shares, or one rank none."""


class ContractError(AssertionError):
    """A method that breaks the contract: one line for each check that fails."""


def check_method(method: str | type[Method], *, epoch: int = 0, **settings: Any) -> None:
    """Check that a method keeps the contract of `ebomlc_dist.methods.contract`. Takes seconds, needs no GPU.

    Args:
        method: the class, or a name as ``--method`` takes it.
        epoch: the epoch, from 0, whose steps are looked at; a stage of the problem has 4.
        settings: of the method, over its defaults.

    Raises:
        ContractError: it breaks the contract; says where, a line for each check that fails.
        InputError: it is no method, or cannot be imported.
    """
    if isinstance(method, str):
        named_by_a_person(method)
        method_class(method)
    else:
        check_class(method, f"{method.__module__}:{method.__qualname__}")
    make: Make = partial(make_learner, method, epoch=epoch, **settings)
    faults = []
    with _one_thread():
        for name, check in _CHECKS.items():
            try:
                faults += [f"{name}: {fault}" for fault in check(make)]
            except Exception as error:
                faults.append(f"{name}: {failure(error)}")
    if faults:
        raise ContractError(f"{method if isinstance(method, str) else method.__qualname__} fails\n" + "\n".join(faults))


def equal(first: State, second: State) -> bool:
    """Bit equality of two states."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def relative(a: Tensor, b: Tensor) -> float:
    """‖a − b‖ / ‖b‖."""
    return float((a - b).norm() / b.norm().clamp_min(1e-300))


def on_a_shard(rank: int, reducer: LockstepReducer, make: Make, sizes: Sizes, **how: Any) -> State:
    """The state of one of two ranks after `STEPS` steps."""
    learner = make(reducer, **how)
    run_steps(learner, STEPS, rank, 2, sizes)
    return learner.state()


def _settings(make: Make) -> Iterator[str]:
    try:
        make(Communicator(CPU), no_such_setting=1)
    except ValidationError:
        return
    yield "a setting that the method does not have is taken; its Config must not allow extra fields"


def _proposal(make: Make) -> Iterator[str]:
    learner = make(Communicator(CPU))
    size = len(local_batch(learner.method, 0, 0, 1).noisy.labels)
    result = propose(learner)
    yield from _misshapen(learner, result, size)
    for kind, values in (("metric", result.metrics), ("maximum", result.maxima), ("skip", result.skip_update)):
        for name, value in values.items():
            if not isinstance(value, Tensor) or value.ndim:
                yield f"the {kind} '{name}' is no 0-dim tensor"
    for name, value in {**result.directions, **result.metrics}.items():
        if isinstance(value, Tensor) and not value.isfinite().all():
            yield f"'{name}' is not finite"


def _misshapen(learner: Learner, result: StepResult, size: int) -> Iterator[str]:
    if not result.directions:
        yield "a step has no direction for any network"
    for kind, vectors in (("direction", result.directions), ("origin", result.start_points)):
        for name, vector in vectors.items():
            if name not in learner.optimizers:
                yield f"a {kind} for '{name}', which is not among the trained networks {', '.join(learner.optimizers)}"
            elif vector.shape != learner.networks[name].vector.shape:
                own = tuple(learner.networks[name].vector.shape)
                yield f"the {kind} of '{name}' has the shape {tuple(vector.shape)}, its parameters have {own}"
            elif vector.dtype != (expected := learner.networks[name].vector.dtype):
                yield f"the {kind} of '{name}' is {vector.dtype}, its parameters are {expected}"
    labels = result.corrected
    if labels is not None and (labels.shape != (size,) or labels.dtype != torch.int64):
        yield f"corrected has the shape {tuple(labels.shape)} and {labels.dtype}; it is ({size},) int64"
    elif labels is not None and not ((labels >= 0) & (labels < NUM_CLASSES)).all():
        yield f"corrected has labels beyond 0…{NUM_CLASSES - 1}"
    state = learner.method.state
    for name, value in result.state.items():
        if name not in state:
            yield f"new state '{name}', which `allocate` and `begin_epoch` have not made"
        elif value.shape != state[name].shape or value.dtype != state[name].dtype:
            yield f"new state '{name}' has another shape or dtype than before"


def _no_trace(make: Make) -> Iterator[str]:
    learner = make(Communicator(CPU))
    vectors = {name: network.vector.detach().clone() for name, network in learner.networks.items()}
    state = {name: value.clone() for name, value in learner.method.state.items()}
    generator = torch.get_rng_state()
    propose(learner)
    for name, before in vectors.items():
        if not torch.equal(before, learner.networks[name].vector):
            yield f"a step moves the parameters of '{name}' itself; give a direction"
    if not equal(state, learner.method.state):
        yield "a step changes its state itself; give StepResult.state, which a skipped step does not keep"
    if not torch.equal(generator, torch.get_rng_state()):
        yield "a step draws from torch's generator; take ebomlc_dist.numerics.draws, which is the same on every rank"


def _no_wait(make: Make) -> Iterator[str]:
    learner = make(Communicator(CPU))
    run_steps(learner, 1)
    batch = local_batch(learner.method, 1, 0, 1)
    with Launches() as launches:
        learner.step(batch)
    if launches.waits:
        yield f"a step makes the host wait for the device: {', '.join(dict.fromkeys(launches.waits))}"


def _two_shards(make: Make) -> Iterator[str]:
    for case, sizes in SIZES.items():
        first, second = over_shards(2, lambda rank, reducer: on_a_shard(rank, reducer, make, sizes))  # noqa: B023
        kept = [name for name in first if not name.endswith("statistics")]
        apart = [name for name in kept if name not in second or not torch.equal(first[name], second[name])]
        if apart or first.keys() != second.keys():
            yield f"{case} shares: ranks differ in {', '.join(apart) or 'what they hold'}"
        state, _ = over_shards(2, lambda rank, reducer: on_a_shard(rank, reducer, make, sizes, batch_norm=False))  # noqa: B023
        learner = make(Communicator(CPU), batch_norm=False)
        run_steps(learner, STEPS, sizes=sizes)
        for name, whole in learner.state().items():
            if whole.numel() and name.endswith("vector") and not relative(state[name], whole) < 1e-10:
                off = relative(state[name], whole)
                far = f"{case} shares: {name} is {off:.1e} from that of the whole batch"
                yield f"{far}; reduce sums, then be non-linear"


def _fault_on_one_rank(make: Make) -> Iterator[str]:
    def work(rank: int, reducer: LockstepReducer, steps: list[int], bad: int | None) -> tuple[State, list[bool]]:
        learner = make(reducer)
        skipped = [
            bool(learner.step(spoilt(local_batch(learner.method, step, rank, 2), rank == 1 and step == bad)).skipped)
            for step in steps
        ]
        return learner.state(), skipped

    faulty = over_shards(2, lambda rank, reducer: work(rank, reducer, [0, 1, 2, 3], 2))
    without = over_shards(2, lambda rank, reducer: work(rank, reducer, [0, 1, 3], None))
    for rank, ((state, skipped), (expected, _)) in enumerate(zip(faulty, without, strict=True)):
        if skipped != [False, False, True, False]:
            told = [step for step, was in enumerate(skipped) if was]
            yield f"a NaN in an image of rank 1 at step 2: rank {rank} skips the steps {told}"
        elif not equal(state, expected):
            yield f"a skipped step leaves a trace on rank {rank}"


def spoilt(batch: PairedBatch, bad: bool) -> PairedBatch:
    """The batch, with its first noisy input NaN where it is to be ``bad``."""
    if bad:
        batch.noisy.images[0] = torch.nan
        for view, _ in batch.selected.values():
            view.images[0] = torch.nan
    return batch


def _round_trip(make: Make) -> Iterator[str]:
    whole = make(Communicator(CPU))
    run_steps(whole, 3)
    stored = whole.state()
    networks = {
        name: {key: value.clone() for key, value in network.state().items()} for name, network in whole.networks.items()
    }
    optimizers = {
        name: {key: value.clone() for key, value in optimizer.state().items()}
        for name, optimizer in whole.optimizers.items()
    }
    run_steps(whole, 2, first=3)
    again = make(Communicator(CPU), begun=False)
    if missing := sorted(set(whole.method.state) - set(again.method.state)):
        yield f"state that `allocate` does not make: {', '.join(missing)}; a continued run has no place for it"
        return
    for name, network in again.networks.items():
        network.load(networks[name])
        network.statistics.copy_(stored[f"{name}.statistics"])
    for name, optimizer in again.optimizers.items():
        optimizer.load(optimizers[name], 0)
    for name, value in again.method.state.items():
        value.copy_(stored[f"method.{name}"])
    run_steps(again, 2, first=3)
    if not equal(again.state(), whole.state()):
        yield "a continued run takes other steps: something that decides them is not in `state`"


def _corrector(make: Make) -> Iterator[str]:
    learner = make(Communicator(CPU))
    batch = local_batch(learner.method, 0, 0, 1).noisy
    with torch.no_grad():
        logits, features = learner.networks["main"](batch.images)
        found = learner.method.corrected_probabilities(learner.networks, logits, features, batch.labels)
    if found is None:
        return
    if found.shape != logits.shape:
        yield f"corrected_probabilities has the shape {tuple(found.shape)}; it is {tuple(logits.shape)}"
    elif not (found.isfinite().all() and (found >= 0).all() and ((found.sum(dim=1) - 1).abs() < 1e-6).all()):
        yield "corrected_probabilities are no probabilities: finite, not negative, with the sum 1"


_CHECKS: dict[str, Callable[[Make], Iterator[str]]] = {
    "settings": _settings,
    "proposal": _proposal,
    "no trace": _no_trace,
    "no wait": _no_wait,
    "two shards": _two_shards,
    "fault": _fault_on_one_rank,
    "round trip": _round_trip,
    "corrector": _corrector,
}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
