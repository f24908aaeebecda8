"""A pool of gloo ranks that lives for a test session, so that a distributed test costs milliseconds, not a start-up."""

import multiprocessing
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from typing import Any

import torch
import torch.distributed as dist

from ebomlc_dist.distributed.communicator import Communicator


def fresh_processes() -> ForkServerContext:
    """How to start processes that hold nothing of the tests' own: forks of one that has loaded torch, once for all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ebomlc_dist.engine.run", "ebomlc_dist.testing"])
    return context


class RankPool:
    """``world_size`` processes joined by gloo on the loopback interface."""

    def __init__(self, world_size: int) -> None:
        self.world_size = world_size
        context = fresh_processes()
        port = free_port()
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(world_size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank, world_size, port), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def run(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """``work(communicator, *arguments)`` on every rank; results in rank order. ``work`` is a module's function."""
        for pipe in self._pipes:
            pipe.send((work, arguments))
        answers = [pipe.recv() if pipe.poll(120) else ("no answer within 120 s", None) for pipe in self._pipes]
        errors = [f"rank {rank}: {error}" for rank, (error, _) in enumerate(answers) if error]
        assert not errors, "\n".join(errors)
        return [result for _, result in answers]

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
            pipe.close()
        for process in self._processes:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _serve(pipe: Connection, rank: int, world_size: int, port: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    while (order := pipe.recv()) is not None:
        work, arguments = order
        communicator = Communicator(torch.device("cpu"), rank=rank, world_size=world_size)
        try:
            pipe.send((None, work(communicator, *arguments)))
        except Exception:
            pipe.send((traceback.format_exc(), None))
    dist.destroy_process_group()
