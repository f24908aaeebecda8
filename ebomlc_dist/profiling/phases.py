"""Where a step's time goes, seen from outside: no method knows of it, and a step that nobody watches pays nothing.

A step is cut into phases at the calls that every method makes. From one such call to the next all time belongs to the
phase that the call began, so that the phases of a step are the step, without gaps and without overlap:

- a forward pass on clean images begins ``upper``;
- a forward pass on noisy images at the model's own parameters begins ``lower``, at others ``look-ahead``, as do the
  slopes of a hypergradient;
- a backward pass with respect to nothing but the meta model begins ``meta``;
- a reduction is ``communication`` while it is packed and while it is waited for;
- the first optimiser begins ``optimiser``;
- what follows a reduction, and anything before the first forward pass, is ``direction``: inner products, the barrier,
  means, checks.

``data`` is the caller's, before the step.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.profiler import record_function

from ebomlc_dist.methods.contract import MAIN_MODELS, Method, PairedBatch, Pending, Reducer
from ebomlc_dist.numerics.flat import FlatNetwork
from ebomlc_dist.numerics.hypergradient import Hypergradient
from ebomlc_dist.numerics.network import Network
from ebomlc_dist.profiling.clock import DeviceClock

PHASES = ("data", "upper", "lower", "look-ahead", "meta", "communication", "direction", "optimiser")
_PACKING, _WAITING = "packing", "waiting"


class Step(Protocol):
    """What is watched: the engine's step."""

    method: Method
    networks: Mapping[str, Network]
    optimizers: Mapping[str, Any]
    reducer: Reducer

    def __call__(self, batch: PairedBatch, /) -> object: ...


class PhaseRecord:
    """The phases of one step.

    Args:
        clock: of the step's device.
        annotate: name each phase in a running torch profiler too.
    """

    def __init__(self, clock: DeviceClock, *, annotate: bool = False) -> None:
        self._clock = clock
        self._annotate = annotate
        self._names: list[str] = []
        self._marks: list[Any] = []
        self._shown: record_function | None = None

    def begin(self, phase: str) -> None:
        """From here on it is ``phase``."""
        if self._names and self._names[-1] == phase:
            return
        self._names.append(phase)
        self._marks.append(self._clock.mark())
        self._show(phase)

    def end(self) -> None:
        """The step is over."""
        self._marks.append(self._clock.mark())
        self._show(None)

    def milliseconds(self) -> dict[str, float]:
        """Phase → milliseconds, for every phase of `PHASES`."""
        found = dict.fromkeys(PHASES, 0.0)
        for name, milliseconds in self._spans():
            found["communication" if name in (_PACKING, _WAITING) else name] += milliseconds
        return found

    def exposed(self) -> float:
        """Milliseconds in which the step did nothing but wait for a reduction."""
        return sum(milliseconds for name, milliseconds in self._spans() if name == _WAITING)

    def _spans(self) -> list[tuple[str, float]]:
        return list(zip(self._names, self._clock.between(self._marks), strict=True))

    def _show(self, phase: str | None) -> None:
        if self._shown is not None:
            self._shown.__exit__(None, None, None)
        self._shown = record_function(f"phase: {phase}") if self._annotate and phase is not None else None
        if self._shown is not None:
            self._shown.__enter__()


@contextmanager
def watched(step: Step, record: PhaseRecord) -> Iterator[None]:
    """Within it, the calls of ``step`` that begin a phase tell ``record``. One step at a time in a process."""
    watch = _Watch(step, record)
    with ExitStack() as stack:
        calls: list[tuple[Any, str, Callable[..., None]]] = [
            (FlatNetwork, "__call__", watch.forward_here),
            (FlatNetwork, "at", watch.forward_elsewhere),
            (Hypergradient, "slopes", watch.slopes),
            (torch.autograd, "grad", watch.backward),
            (step.method, "step", watch.step),
            *((optimizer, "apply", watch.optimiser) for optimizer in step.optimizers.values()),
        ]
        for owner, name, before in calls:
            stack.enter_context(_replaced(owner, name, partial(_after, before, getattr(owner, name))))
        for name in ("mean_of_sums", "assemble"):
            stack.enter_context(_replaced(step.reducer, name, partial(watch.reduce, getattr(step.reducer, name))))
        yield


class _Watch:
    """Which phase a call begins."""

    def __init__(self, step: Step, record: PhaseRecord) -> None:
        self._record = record
        self._batch: PairedBatch | None = None
        beside = (network for name, network in step.networks.items() if name not in MAIN_MODELS)
        self._beside = {id(parameter) for network in beside for parameter in network.leaves()}

    def step(self, networks: Any, rules: Any, batch: PairedBatch, reducer: Reducer) -> None:
        self._batch = batch
        self._record.begin("direction")

    def forward_here(self, module: Network, *inputs: Tensor) -> None:
        self._forward("lower", inputs[0])

    def forward_elsewhere(self, module: Network, vector: Tensor, *inputs: Tensor, **_: Any) -> None:
        self._forward("look-ahead", inputs[0])

    def slopes(self, *_: Any) -> None:
        self._record.begin("look-ahead")

    def backward(self, outputs: Any, inputs: Any, *_: Any, **__: Any) -> None:
        leaves = [inputs] if isinstance(inputs, Tensor) else inputs
        if all(id(leaf) in self._beside for leaf in leaves):
            self._record.begin("meta")

    def optimiser(self, *_: Any) -> None:
        self._record.begin("optimiser")

    def reduce(self, start: Callable[..., Pending], *arguments: Any) -> Pending:
        self._record.begin(_PACKING)
        pending = start(*arguments)
        self._record.begin("direction")
        return _WatchedPending(pending, self._record)

    def _forward(self, otherwise: str, images: Tensor) -> None:
        # A network that takes features works for whoever computed them.
        if images.dim() == 4:
            clean = self._batch is not None and self._batch.clean is not None and images is self._batch.clean.images
            self._record.begin("upper" if clean else otherwise)


class _WatchedPending:
    def __init__(self, pending: Pending, record: PhaseRecord) -> None:
        self._pending = pending
        self._record = record

    def wait(self) -> list[Tensor]:
        self._record.begin(_WAITING)
        means = self._pending.wait()
        self._record.begin("direction")
        return means


def _after(before: Callable[..., Any], function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    before(*arguments, **named)
    return function(*arguments, **named)


@contextmanager
def _replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """``owner.name`` is ``function`` for a while."""
    own = name in vars(owner)
    previous = getattr(owner, name)
    # A partial is no method: a class needs a function to bind.
    setattr(owner, name, (lambda *a, **k: function(*a, **k)) if isinstance(owner, type) else function)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, previous)
        else:
            delattr(owner, name)
