"""Name the rank that died or hangs: a thread of each rank reports its progress and watches the others.

A launcher names the rank that noticed, which is a healthy one. Here every rank leaves its beat in the launcher's store;
one that waits for the others longer than its limit reads them all. A rank without a beat is stopped, or its interpreter
is held; else the one that has passed the fewest meeting places is behind. A process of this machine that is gone is
seen at once. The first verdict in the store holds: every rank writes its stacks to its log and ends. A store on a
machine that is cut off never answers: a rank that waits longer than the limit, and for an answer too, ends without one.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch.distributed as dist

from ebomlc_dist.launch.rendezvous import RankInfo


class WaitCounter:
    """Progress of this rank: written by the training thread, read by the watching one.

    Each field is written by one thread alone.

    Attributes:
        count: places passed where ranks wait for each other; a rank that is behind has a smaller one.
        step: finished steps; None before the first.
    """

    def __init__(self) -> None:
        self.count = 0
        self.step: int | None = None
        self._waits: tuple[float, float] | None = None

    @contextmanager
    def waiting(self, limit_s: float) -> Iterator[None]:
        """Within the block this rank may wait for others, for ``limit_s`` seconds at most."""
        self.count += 1
        self._waits = (time.monotonic(), limit_s)
        try:
            yield
        finally:
            self._waits = None
            self.count += 1

    def left_s(self) -> float | None:
        """Return seconds until the limit of the present wait, negative after it; None where this rank does not wait."""
        waits = self._waits
        return None if waits is None else waits[0] + waits[1] - time.monotonic()


BEAT_S = 0.25
# A beat is missed when none came for this long before the limit.
_SILENCE_S = 1.5
_STOPPED, _GONE = "T", "gone"
_LATE, _KILLED = "does not go on", "killed, perhaps for its memory"
_IS_STOPPED = "its process is stopped"
_HELD = "its machine or its interpreter is held"
_CUT_OFF = "the network to it is cut, or its machine or its interpreter is held"
# What the store may take for its answers once the limit is over. It sets itself no limit.
_ANSWER_S = 2.0
# In which a death shows that a survivor's error may come from.
_SUSPICION_S = 1.0


@dataclass(frozen=True)
class Verdict:
    """Why the job ends: the rank at fault, where there is one, how far it was, and a line for people."""

    rank: int | None
    step: int | None
    reason: str


@dataclass(frozen=True)
class _Beat:
    number: int
    count: int
    step: int | None


class Watchdog:
    """Watches over the ranks of a job until `close`.

    Args:
        store: a connection of its own to where the ranks met.
        infos: all ranks.
        rank: this one.
        wait_counter: what the training thread tells.

    Attributes:
        listener: called with the verdict, and whether this rank found it, before the process ends.
    """

    def __init__(self, store: dist.Store, infos: Sequence[RankInfo], rank: int, wait_counter: WaitCounter) -> None:
        self.listener: Callable[[Verdict, bool], None] | None = None
        self._store = store
        self._cards = infos
        self._own = infos[rank]
        self._wait_counter = wait_counter
        self._number = 0
        self._earlier: tuple[float, list[_Beat]] | None = None
        self._suspects = False
        self._closing = threading.Event()
        self._ending = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()
        threading.Thread(target=self._wait_for_answers, name="watchdog-answers", daemon=True).start()

    def suspect(self) -> None:
        """Wait after a failed collective. If a rank's death is the cause, the watchdog ends this process."""
        self._suspects = True
        time.sleep(_SUSPICION_S)

    def tell(self, reason: str) -> None:
        """Tell the other ranks that this one ends for ``reason``, so that they end without delay."""
        if self._stop():
            verdict = Verdict(self._own.rank, self._wait_counter.step, reason)
            with contextlib.suppress(dist.DistError):
                self._store.compare_set("verdict", "", json.dumps(asdict(verdict)))
        print(f"ebomlc: {reason}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Stop watching, so that the others do not take this process's end for a death."""
        if not self._stop():
            return
        with contextlib.suppress(dist.DistError):
            self._store.set(f"left/{self._own.rank}", "")

    def _stop(self) -> bool:
        """Stop the watching thread. Return False where the store does not answer."""
        self._closing.set()
        self._thread.join(2 * BEAT_S + 5.0)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._closing.wait(BEAT_S):
            try:
                self._look()
            except dist.DistError:
                self._without_store()

    def _wait_for_answers(self) -> None:
        while not self._closing.wait(BEAT_S):
            left = self._wait_counter.left_s()
            if left is not None and left <= -_ANSWER_S:
                self._end(self._unanswered(), found=True)

    def _look(self) -> None:
        self._number += 1
        beat = _Beat(self._number, self._wait_counter.count, self._wait_counter.step)
        self._store.set(f"beat/{self._own.rank}", json.dumps(asdict(beat)))
        if self._store.check(["verdict"]):
            self._end(Verdict(**json.loads(self._store.get("verdict"))), found=False)
        if (verdict := self._death() or self._delay()) is not None:
            text = json.dumps(asdict(verdict))
            held = self._store.compare_set("verdict", "", text).decode()
            self._end(Verdict(**json.loads(held)), found=held == text)

    def _death(self) -> Verdict | None:
        for info in self._cards:
            if info.host != self._own.host or info.rank == self._own.rank or _state(info.pid) != _GONE:
                continue
            if not self._store.check([f"left/{info.rank}"]):
                return _verdict(info, self._beats([info.rank])[0], "died", _KILLED)
        return None

    def _delay(self) -> Verdict | None:
        left = self._wait_counter.left_s()
        if left is None or left > _SILENCE_S:
            self._earlier = None
            return None
        if self._earlier is None:
            self._earlier = (time.monotonic(), self._beats(range(len(self._cards))))
        return self._judged(self._earlier[1]) if left <= 0 else None

    def _judged(self, earlier: list[_Beat]) -> Verdict:
        beats = self._beats(range(len(self._cards)))
        fewest = min(beat.count for beat in beats)
        for info, old, new in zip(self._cards, earlier, beats, strict=True):
            if old.number == new.number:
                stopped = info.host == self._own.host and _state(info.pid) == _STOPPED
                held = _HELD if info.host == self._own.host else _CUT_OFF
                return _verdict(info, new, _LATE, _IS_STOPPED if stopped else held)
        for info, beat in zip(self._cards, beats, strict=True):
            if beat.count == fewest < self._wait_counter.count:
                return _verdict(info, beat, _LATE, f"see its log, rank-{info.rank}.log")
        step = self._wait_counter.step
        return Verdict(None, step, f"all ranks wait for each other after step {step}; look at the network and the GPUs")

    def _without_store(self) -> None:
        """Handle a store that does not answer. Rank 0 serves it where no launcher does."""
        left, first, beat = self._wait_counter.left_s(), self._cards[0], _Beat(0, 0, self._wait_counter.step)
        if self._own.rank == 0:
            return
        if (left is not None or self._suspects) and first.host == self._own.host and _state(first.pid) == _GONE:
            self._end(_verdict(first, beat, "died", _KILLED), found=True)
        if left is not None and left <= 0:
            self._end(self._unanswered(), found=True)

    def _unanswered(self) -> Verdict:
        """Return the verdict on a store that does not answer. Rank 0, or its machine, serves it."""
        first, step = self._cards[0], self._wait_counter.step
        if first.host != self._own.host:
            return _verdict(first, _Beat(0, 0, step), _LATE, _CUT_OFF)
        if _state(first.pid) == _STOPPED:
            return _verdict(first, _Beat(0, 0, step), _LATE, _IS_STOPPED)
        return Verdict(None, step, f"the ranks wait after step {step}, and the store they met in does not answer")

    def _beats(self, ranks: Sequence[int]) -> list[_Beat]:
        keys = [f"beat/{rank}" for rank in ranks]
        return [
            _Beat(**json.loads(self._store.get(key))) if self._store.check([key]) else _Beat(0, 0, None) for key in keys
        ]

    def _end(self, verdict: Verdict, *, found: bool) -> None:
        """Tell, and end this process and, where it cannot do so itself, the one at fault."""
        if not self._ending.acquire(blocking=False):
            return
        try:
            if self.listener is not None:
                self.listener(verdict, found)
            if found:
                print(f"ebomlc: {verdict.reason}", file=sys.stderr, flush=True)
        finally:
            if verdict.rank is not None and verdict.rank != self._own.rank:
                info = self._cards[verdict.rank]
                if info.host == self._own.host and _state(info.pid) == _STOPPED:
                    with contextlib.suppress(OSError):
                        os.kill(info.pid, signal.SIGKILL)
            for child in multiprocessing.active_children():
                child.kill()
            os._exit(1)


def _verdict(info: RankInfo, beat: _Beat, what: str, why: str) -> Verdict:
    where = "as it starts" if beat.step is None else f"after step {beat.step}"
    return Verdict(info.rank, beat.step, f"rank {info.rank} on {info.host} (process {info.pid}) {what} {where}: {why}")


def _state(pid: int) -> str:
    """Return the state of a process of this machine: the system's letter, or ``gone`` where it has ended."""
    try:
        letter = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return _GONE
    return _GONE if letter in "ZX" else letter
