"""Where processes meet, and who is there: machines before their launchers start, ranks before the first collective.

What would end as a hang or as a library's error far from its cause is named here: a machine or a rank that does not
come, ranks with different code, two ranks on one GPU. Every rank leaves a `RankInfo` in the launcher's store, and rank
0 reads them. They are JSON; nothing is unpickled.
"""

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib import metadata
from pathlib import Path
from typing import Any

import torch.distributed as dist

from ebomlc_dist.errors import InputError, LoneError
from ebomlc_dist.launch.environment import whole_number

Code = dict[str, str]
_PREFIX = "ebomlc_dist"
# What the first rank's answer may take on its way.
_ANSWER_S = 10.0
_POLL_S = 0.1
_GOODBYE_S = 10.0
PACKAGES = ("torch", "numpy", "accelerate")
SOURCES = Path(__file__).parents[1]


@dataclass(frozen=True)
class RankInfo:
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
    def own(cls, rank: int, device: str, code: Code) -> "RankInfo":
        return cls(rank, socket.gethostname(), os.getpid(), device, code)


def open_store(rank: int, limit_s: float, *, joined: bool = False) -> dist.Store:
    """Return the store at MASTER_ADDR:MASTER_PORT, which the launcher or else rank 0 serves, under our own prefix.

    Args:
        rank: the global rank.
        limit_s: seconds for the connection, and for each of its answers.
        joined: the store is served already; only another connection is wanted.

    Raises:
        LoneError: it cannot be reached within ``limit_s`` seconds, or its port is taken.
    """
    address, port = os.environ.get("MASTER_ADDR", ""), whole_number("MASTER_PORT", "0")
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


def meet_ranks(store: dist.Store, info: RankInfo, world_size: int, limit_s: float) -> list[RankInfo]:
    """Return every rank's `RankInfo`, in rank order.

    Raises:
        InputError: a rank did not come within ``limit_s`` seconds, or the ranks do not go together.
        LoneError: the first rank did not answer.
    """
    store.set(_rank_key(info.rank), json.dumps(asdict(info)))
    if info.rank == 0:
        store.set("answer", json.dumps(_answer(store, world_size, limit_s)))
    if missing_keys(store, ["answer"], limit_s + _ANSWER_S):
        raise LoneError(
            f"rank {info.rank} on {info.host} waited {limit_s + _ANSWER_S:g} s for rank 0, which did not answer"
        )
    answer = json.loads(store.get("answer"))
    leave(store, answer["came"], serves=info.rank == 0, limit_s=_ANSWER_S)
    if "refusal" in answer:
        raise InputError(answer["refusal"])
    return [RankInfo(**found) for found in answer["present"]]


def problem(infos: Sequence[RankInfo]) -> str | None:
    """Return what is wrong with these ranks, as one line; None where nothing is."""
    first = infos[0]
    for info in infos[1:]:
        different = [
            key for key in sorted(first.code.keys() | info.code.keys()) if first.code.get(key) != info.code.get(key)
        ]
        if different:
            found = "; ".join(f"{key} {info.code.get(key)} there, {first.code.get(key)} here" for key in different)
            return (
                f"rank {info.rank} on {info.host} runs other code than rank 0 on {first.host}: {found}; "
                "install the same on all machines"
            )
    owners: dict[tuple[str, str], RankInfo] = {}
    for info in infos:
        if info.device and (owner := owners.setdefault((info.host, info.device), info)) is not info:
            return (
                f"ranks {owner.rank} and {info.rank} share one GPU of {info.host} ({info.device}); start as many "
                "processes a machine as it has GPUs, and set CUDA_VISIBLE_DEVICES for all of them or for none"
            )
    return None


def _answer(store: dist.Store, world_size: int, limit_s: float) -> dict[str, Any]:
    keys = [_rank_key(rank) for rank in range(world_size)]
    missing = [str(keys.index(key)) for key in missing_keys(store, keys, limit_s)]
    if missing:
        return {
            "came": world_size - len(missing),
            "refusal": f"rank {', '.join(missing)} of {world_size} did not come within {limit_s:g} s; see the log of "
            "its machine, or give a slow start more time with train.rendezvous_timeout_s",
        }
    infos = [RankInfo(**json.loads(found)) for found in store.multi_get(keys)]
    refusal = problem(infos)
    outcome = {"refusal": refusal} if refusal else {"present": [asdict(info) | {"code": {}} for info in infos]}
    return {"came": world_size, **outcome}


def _rank_key(rank: int) -> str:
    return f"rank/{rank}"


def is_reachable(address: str, port: int, limit_s: float) -> bool:
    """Return whether somebody listens at ``address:port`` within ``limit_s`` seconds."""
    end = time.monotonic() + limit_s
    while True:
        try:
            socket.create_connection((address, port), timeout=max(0.1, end - time.monotonic())).close()
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_S)


def is_taken(port: int) -> bool:
    """Return whether another process listens on ``port`` of this machine."""
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
        return False


def is_known(address: str) -> bool:
    """Return whether this machine can tell what ``address`` means."""
    try:
        socket.getaddrinfo(address, None)
    except OSError:
        return False
    return True


def missing_keys(store: dist.Store, keys: list[str], limit_s: float) -> list[str]:
    """Wait until all ``keys`` are in the store. Those that are not after ``limit_s`` seconds."""
    end = time.monotonic() + limit_s
    missing = keys
    while missing := [key for key in missing if not store.check([key])]:
        if time.monotonic() >= end:
            break
        time.sleep(_POLL_S)
    return missing


def leave(store: dist.Store, members: int, *, serves: bool, limit_s: float) -> None:
    """Leave the store: the one that ``serves`` it waits until all ``members`` have left, or for ``limit_s`` seconds."""
    gone = store.add("gone", 1)
    end = time.monotonic() + limit_s
    while serves and gone < members and time.monotonic() < end:
        time.sleep(_POLL_S / 5)
        gone = store.add("gone", 0)


def meet_machines(address: str, port: int, machines: int, machine_rank: int, total: int, limit_s: float) -> None:
    """Wait for all machines at machine 0's port, which is free again afterwards.

    A launcher alone would wait long and name nobody.

    Args:
        address: of machine 0, as a name or a number.
        port: a free one there.
        machines: how many are to come.
        machine_rank: which of them this one is.
        total: processes on all machines, which all must have been told alike.
        limit_s: seconds to wait for the last one.

    Raises:
        InputError: the port is taken, machine 0 cannot be reached, a machine does not come, or was told another number.
    """
    store = _machine_store(address, port, machine_rank, limit_s)
    told = f"{total} processes on {machines} machines"
    store.set(_machine_key(machine_rank), told)
    keys = [_machine_key(rank) for rank in range(machines)]
    for key in missing_keys(store, keys, limit_s):
        raise InputError(
            f"{key} of {machines} did not come to {address}:{port} within {limit_s:g} s; each machine needs the same "
            "command with its own --machine-rank; give a slow start more time with train.rendezvous_timeout_s"
        )
    answers = [store.get(key).decode() for key in keys]
    leave(store, machines, serves=machine_rank == 0, limit_s=_GOODBYE_S)
    for key, answer in zip(keys, answers, strict=True):
        if answer != told:
            raise InputError(
                f"{key} was told of {answer}, this one of {told}; give all the same --num-processes and --num-machines"
            )


def _machine_store(address: str, port: int, machine_rank: int, limit_s: float) -> dist.TCPStore:
    if not is_known(address):
        raise InputError(f"--main-process-ip {address} is not an address that this machine knows")
    if machine_rank == 0 and is_taken(port):
        raise InputError(
            f"port {port} of this machine is taken; choose another --main-process-port, the same on all machines"
        )
    if machine_rank > 0 and not is_reachable(address, port, limit_s):
        raise InputError(
            f"machine 0 cannot be reached at {address}:{port} within {limit_s:g} s; check --main-process-ip, "
            "--main-process-port and the firewall, and that machine 0 runs; give a slow start more time with "
            "train.rendezvous_timeout_s"
        )
    try:
        return dist.TCPStore(
            address, port, is_master=machine_rank == 0, timeout=timedelta(seconds=limit_s), wait_for_workers=False
        )
    except (dist.DistError, ValueError, OSError):
        raise InputError(
            f"machine {machine_rank} cannot use {address}:{port}; check --main-process-ip and --main-process-port"
        ) from None


def _machine_key(machine_rank: int) -> str:
    return f"machine {machine_rank}"


def code_versions() -> dict[str, str]:
    """Return versions of what decides a result, and a digest of this package's own files, whatever its version says."""
    found = {name: metadata.version(name) for name in PACKAGES}
    return {"python": sys.version.split()[0], "ebomlc_dist": source_digest(SOURCES), **found}


def source_digest(folder: Path) -> str:
    """Return the first 12 hexadecimal digits of a SHA-256 over all Python files below ``folder``."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()[:12]
