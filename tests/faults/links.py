"""Two network namespaces, each as a machine of its own, joined by a link that can be cut or that loses frames."""

import ctypes
import fcntl
import os
import secrets
import selectors
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.zygote import Zygote
from tests.support.commands import wait_for

_NAMES = Path("/run/netns")
_CLONE_NEWUTS, _CLONE_NEWNET = 0x04000000, 0x40000000
# Of linux/if_tun.h.
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_FRAME_BYTES = 65536
_POLL_S = 0.1
_START_S = 30.0
_LIBRARY = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Machine:
    """One end of a link: its network namespace, its interface and its address."""

    name: str
    interface: str
    address: str

    def set_link(self, state: str) -> None:
        """Plug the link in (``up``) or out (``down``) at this end."""
        _ip("-n", self.name, "link", "set", self.interface, state)

    def command(self, words: list[str]) -> list[str]:
        """The command line that runs ``words`` on this machine, which alone has the machine's name."""
        place = ["ip", "netns", "exec", self.name, "unshare", "--uts", "env", f"GLOO_SOCKET_IFNAME={self.interface}"]
        return [*place, "sh", "-c", 'hostname "$0" && exec "$@"', self.name, *words]

    def enter(self) -> None:
        """From now on this process is on this machine, and it alone has the machine's name."""
        _enter_network(self)
        _checked(_LIBRARY.unshare(_CLONE_NEWUTS))
        socket.sethostname(self.name)
        os.environ["GLOO_SOCKET_IFNAME"] = self.interface


@contextmanager
def machines() -> Iterator[list[Machine]]:
    """Two namespaces without a link; gone at the end. Raises `PermissionError` where there can be none."""
    if os.geteuid() or shutil.which("ip") is None:
        raise PermissionError("network namespaces need root and the command ip")
    mark = secrets.token_hex(2)
    found = [Machine(f"ebomlc-{mark}-{end}", f"link{mark}{end}", f"10.77.0.{end + 1}") for end in (0, 1)]
    with ExitStack() as stack:
        for machine in found:
            if subprocess.run(["ip", "netns", "add", machine.name], capture_output=True, check=False).returncode:
                raise PermissionError("network namespaces are not permitted here")
            stack.callback(_ip, "netns", "delete", machine.name)
            _ip("-n", machine.name, "link", "set", "lo", "up")
        yield found


def join_by_cable(ends: list[Machine]) -> None:
    """A veth pair between two machines, up; it goes with them."""
    first, second = ends
    peer = ["peer", "name", second.interface, "netns", second.name]
    _ip("link", "add", first.interface, "netns", first.name, "type", "veth", *peer)
    _set_up(ends)


@contextmanager
def joined_by_lossy_link(
    zygote: Zygote, ends: list[Machine], loss: float, seed: int, folder: Path
) -> Iterator[Callable[[], tuple[int, int]]]:
    """A link of two TAP devices that loses a share of the frames; gives the frames so far, and how many were lost."""
    counts, stop = folder / "counts", folder / "stop"
    carrier = zygote.start(_carry, ends, loss, seed, counts, stop)
    try:
        wait_for("the link", counts.exists, _START_S)
        _set_up(ends)
        yield lambda: tuple(int(word) for word in counts.read_text().split())  # type: ignore[return-value]
    finally:
        stop.touch()
        wait_for("the end of the link", lambda: zygote.code(carrier) is not None, _START_S)


def _carry(ends: list[Machine], loss: float, seed: int, counts: Path, stop: Path) -> None:
    """Until the file ``stop`` is there, hand each end's frames to the other, most of them."""
    random, came, lost = Random(seed), 0, 0
    taps = [_tap(machine) for machine in ends]
    selector = selectors.DefaultSelector()
    for tap, other in zip(taps, reversed(taps), strict=True):
        selector.register(tap, selectors.EVENT_READ, other)
    while not stop.exists():
        for key, _ in selector.select(_POLL_S):
            frame = os.read(key.fd, _FRAME_BYTES)
            came += 1
            if random.random() < loss:
                lost += 1
                continue
            # An end that is not up yet takes none.
            with suppress(OSError):
                os.write(key.data, frame)
        counts.write_text(f"{came} {lost}")


def _tap(machine: Machine) -> int:
    """A TAP device of that machine, as a descriptor of this process."""
    _enter_network(machine)
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH", machine.interface.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


def _enter_network(machine: Machine) -> None:
    with (_NAMES / machine.name).open() as file:
        _checked(_LIBRARY.setns(file.fileno(), _CLONE_NEWNET))


def _checked(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _set_up(ends: list[Machine]) -> None:
    for machine in ends:
        _ip("-n", machine.name, "address", "add", f"{machine.address}/24", "dev", machine.interface)
        machine.set_link("up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
