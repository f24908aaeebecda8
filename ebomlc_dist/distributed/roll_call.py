"""Who is there, before the first collective: every rank leaves a card in the launcher's store, and rank 0 reads them.

What would end as a hang or as a library's error far from its cause is named here: a rank that does not come, ranks with
different code, two ranks on one GPU. Cards are JSON; nothing is unpickled.
"""

import json
import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from ebomlc_dist.distributed.meeting import is_reachable, is_taken, missing_keys, part
from ebomlc_dist.errors import InputError, LoneError

Code = dict[str, str]
_PREFIX = "ebomlc_dist"
# What the first rank's answer may take on its way.
_ANSWER_S = 10.0


@dataclass(frozen=True)
class Card:
    """One rank of a job.

    Attributes:
        rank: its global rank.
        host: its machine's name.
        pid: its process there.
        device: what tells its GPU from all others of the machine; empty on a CPU.
        code: versions that must be alike on all ranks.
    """

    rank: int
    host: str
    pid: int
    device: str
    code: Code

    @classmethod
    def own(cls, rank: int, device: str, code: Code) -> "Card":
        return cls(rank, socket.gethostname(), os.getpid(), device, code)


def open_store(rank: int, limit_s: float, *, joined: bool = False) -> dist.Store:
    """The store at MASTER_ADDR:MASTER_PORT, which the launcher or else rank 0 serves, under our own prefix.

    Args:
        rank: the global rank.
        limit_s: seconds for the connection, and for each of its answers.
        joined: the store is served already; only another connection is wanted.

    Raises:
        LoneError: it cannot be reached within ``limit_s`` seconds, or its port is taken.
    """
    address, port = os.environ.get("MASTER_ADDR", ""), int(os.environ.get("MASTER_PORT", "0"))
    serves = rank == 0 and "TORCHELASTIC_USE_AGENT_STORE" not in os.environ and not joined
    if serves and is_taken(port):
        raise LoneError(f"port {port} of this machine is taken, so the processes cannot meet there; choose another one")
    if not serves and not is_reachable(address, port, limit_s):
        raise LoneError(
            f"rank {rank} on {socket.gethostname()} cannot reach the first process at {address}:{port} within "
            f"{limit_s:g} s; check address, port and firewall, and that the first process runs; give a slow start "
            "more time with train.rendezvous_timeout_s"
        )
    # The library's own store, made later, shares this one's server.
    store = dist.TCPStore(
        address,
        port,
        is_master=serves,
        timeout=timedelta(seconds=limit_s),
        wait_for_workers=False,
        multi_tenant=True,
    )
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"{_PREFIX}/{attempt}", store)


def roll_call(store: dist.Store, card: Card, world_size: int, limit_s: float) -> list[Card]:
    """Every rank's card, in rank order.

    Raises:
        InputError: a rank did not come within ``limit_s`` seconds, or the cards do not go together.
        LoneError: the first rank did not answer.
    """
    store.set(_key(card.rank), json.dumps(asdict(card)))
    if card.rank == 0:
        store.set("answer", json.dumps(_answer(store, world_size, limit_s)))
    if missing_keys(store, ["answer"], limit_s + _ANSWER_S):
        raise LoneError(
            f"rank {card.rank} on {card.host} waited {limit_s + _ANSWER_S:g} s for rank 0, which did not answer"
        )
    answer = json.loads(store.get("answer"))
    part(store, answer["came"], serves=card.rank == 0, limit_s=_ANSWER_S)
    if "refusal" in answer:
        raise InputError(answer["refusal"])
    return [Card(**found) for found in answer["present"]]


def problem(cards: Sequence[Card]) -> str | None:
    """What is wrong with these ranks, as one line; None where nothing is."""
    first = cards[0]
    for card in cards[1:]:
        different = [
            key for key in sorted(first.code.keys() | card.code.keys()) if first.code.get(key) != card.code.get(key)
        ]
        if different:
            found = "; ".join(f"{key} {card.code.get(key)} there, {first.code.get(key)} here" for key in different)
            return (
                f"rank {card.rank} on {card.host} runs other code than rank 0 on {first.host}: {found}; "
                "install the same on all machines"
            )
    owners: dict[tuple[str, str], Card] = {}
    for card in cards:
        if card.device and (owner := owners.setdefault((card.host, card.device), card)) is not card:
            return (
                f"ranks {owner.rank} and {card.rank} share one GPU of {card.host} ({card.device}); start as many "
                "processes a machine as it has GPUs, and set CUDA_VISIBLE_DEVICES for all of them or for none"
            )
    return None


def _answer(store: dist.Store, world_size: int, limit_s: float) -> dict[str, Any]:
    keys = [_key(rank) for rank in range(world_size)]
    missing = [str(keys.index(key)) for key in missing_keys(store, keys, limit_s)]
    if missing:
        return {
            "came": world_size - len(missing),
            "refusal": f"rank {', '.join(missing)} of {world_size} did not come within {limit_s:g} s; see the log of "
            "its machine, or give a slow start more time with train.rendezvous_timeout_s",
        }
    cards = [Card(**json.loads(found)) for found in store.multi_get(keys)]
    refusal = problem(cards)
    outcome = {"refusal": refusal} if refusal else {"present": [asdict(card) | {"code": {}} for card in cards]}
    return {"came": world_size, **outcome}


def _key(rank: int) -> str:
    return f"card/{rank}"
