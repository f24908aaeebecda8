"""The machines of one job meet before their launchers start, because a launcher waits long and names nobody."""

from datetime import timedelta

import torch.distributed as dist

from ebomlc_dist.distributed.meeting import is_known, is_reachable, is_taken, missing_keys, part
from ebomlc_dist.errors import InputError

_GOODBYE_S = 10.0


def meet_machines(address: str, port: int, machines: int, machine_rank: int, total: int, limit_s: float) -> None:
    """Wait for all machines at machine 0's port, which is free again afterwards.

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
    store = _open(address, port, machine_rank, limit_s)
    told = f"{total} processes on {machines} machines"
    store.set(_key(machine_rank), told)
    keys = [_key(rank) for rank in range(machines)]
    for key in missing_keys(store, keys, limit_s):
        raise InputError(
            f"{key} of {machines} did not come to {address}:{port} within {limit_s:g} s; each machine needs the same "
            "command with its own --machine-rank; give a slow start more time with train.rendezvous_timeout_s"
        )
    answers = [store.get(key).decode() for key in keys]
    part(store, machines, serves=machine_rank == 0, limit_s=_GOODBYE_S)
    for key, answer in zip(keys, answers, strict=True):
        if answer != told:
            raise InputError(
                f"{key} was told of {answer}, this one of {told}; give all the same --num-processes and --num-machines"
            )


def _open(address: str, port: int, machine_rank: int, limit_s: float) -> dist.TCPStore:
    if not is_known(address):
        raise InputError(f"--main-process-ip {address} is no address that this machine knows")
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


def _key(machine_rank: int) -> str:
    return f"machine {machine_rank}"
