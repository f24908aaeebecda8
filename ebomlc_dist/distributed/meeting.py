"""Finding the place where processes meet, and waiting there with a limit, without a library's stack traces."""

import socket
import time

import torch.distributed as dist

_POLL_S = 0.1


def is_reachable(address: str, port: int, limit_s: float) -> bool:
    """Whether somebody listens at ``address:port`` within ``limit_s`` seconds."""
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
    """Whether another process listens on ``port`` of this machine."""
    with socket.socket(socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
        return False


def is_known(address: str) -> bool:
    """Whether this machine can tell what ``address`` means."""
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


def part(store: dist.Store, members: int, *, serves: bool, limit_s: float) -> None:
    """The last words: who ``serves`` the store goes when all ``members`` have said theirs, or after ``limit_s``."""
    gone = store.add("gone", 1)
    end = time.monotonic() + limit_s
    while serves and gone < members and time.monotonic() < end:
        time.sleep(_POLL_S / 5)
        gone = store.add("gone", 0)
