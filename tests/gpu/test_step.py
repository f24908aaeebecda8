"""A step of every method on a GPU: it waits for nobody, agrees with the CPU's, and reduces over NCCL."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from ebomlc_dist.distributed.communicator import Communicator
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.engine.build import Training, build
from ebomlc_dist.engine.cuda_graph import CudaGraph, RecordedProgram
from ebomlc_dist.engine.epochs import begin_epoch
from ebomlc_dist.engine.preflight import load_everywhere
from ebomlc_dist.methods import config_from_mapping
from tests.gpu.waits import waits_are_errors
from tests.methods.rows import ROWS
from tests.support.runs import alone, runtime_of, tiny_config

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def exact_float32() -> Iterator[None]:
    """Tensor cores round float32 products to 10 bits unless they are told not to."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = False
    yield
    matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.fixture
def nccl(tmp_path: Path) -> Iterator[dist.ProcessGroup]:
    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("nccl", store=store, rank=0, world_size=1, device_id=torch.device("cuda", 0))
    assert dist.group.WORLD is not None
    yield dist.group.WORLD
    dist.destroy_process_group()


class Collective(Communicator):
    """Calls the collective for a single rank too."""

    def _start(self, buffer: Tensor) -> dist.Work | None:
        self.num_collectives += 1
        return dist.all_reduce(buffer, group=self.group, async_op=True)


def make_training(method: str, runtime: Runtime) -> tuple[Training, int]:
    """The tiny digits run at the beginning of an epoch that shows all of the method's step, and its first step."""
    config = tiny_config(method)
    config = config.model_copy(update={"method": config_from_mapping({"name": method, **ROWS[method].short_run})})
    training = build(config, load_everywhere(config, runtime), runtime)
    epoch = config.train.epochs if method == "glc" else 3
    begin_epoch(training, epoch)
    return training, epoch * training.loader.steps_per_epoch


def run(method: str, runtime: Runtime, steps: int = 3) -> Tensor:
    """How far the main model moves in so many steps, on the CPU."""
    training, first = make_training(method, runtime)
    start = training.networks["main"].vector.detach().clone()
    for step in range(first, first + steps):
        training.step(training.loader.batch(step))
    return (training.networks["main"].vector.detach() - start).cpu()


@pytest.mark.parametrize("method", ROWS)
def test_no_step_waits_for_the_host(method: str) -> None:
    training, first = make_training(method, alone("cuda"))
    training.step(training.loader.batch(first))
    torch.cuda.synchronize()
    with waits_are_errors():
        training.step(training.loader.batch(first + 1))


def test_a_wait_would_be_seen() -> None:
    with waits_are_errors(), pytest.raises(RuntimeError, match="synchronizing"):
        torch.ones((), device="cuda").item()


@pytest.mark.parametrize("method", ROWS)
def test_steps_agree_with_those_of_the_cpu(method: str) -> None:
    """Convolutions differ in their order of sums alone; three steps carry that on."""
    there, here = run(method, alone("cuda")), run(method, alone())
    assert torch.cosine_similarity(there, here, dim=0) > 0.999
    other = run(method, alone(), steps=2)
    assert torch.cosine_similarity(there, other, dim=0) < torch.cosine_similarity(there, here, dim=0)


def test_a_reduction_over_nccl_of_one_rank_changes_no_bit(nccl: dist.ProcessGroup) -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        communicator = Collective(torch.device("cuda"), group=nccl)
        reduced, plain = run("ebomlc", runtime_of(communicator)), run("ebomlc", alone("cuda"))
    finally:
        torch.use_deterministic_algorithms(False)
    assert communicator.num_collectives == 3 * 3
    assert torch.equal(reduced, plain)


def test_reductions_over_nccl_are_part_of_a_captured_step(nccl: dist.ProcessGroup) -> None:
    """Three of them a step in the recording, which the host starts once; the result is that of one rank alone."""
    communicator = Collective(torch.device("cuda"), group=nccl)
    training, first = make_training("ebomlc", runtime_of(communicator))
    start = training.networks["main"].vector.detach().clone()
    # Closed where the test fails too: NCCL waits for ever where a graph outlives its communicator.
    with closing(RecordedProgram(training, partial(CudaGraph, training.runtime.device))) as program:
        program(first)
        started = communicator.num_collectives
        for step in range(first + 1, first + 3):
            program(step)
        assert communicator.num_collectives == started
    found = (training.networks["main"].vector.detach() - start).cpu()
    expected = run("ebomlc", alone("cuda"))
    assert torch.linalg.vector_norm(found - expected) < 1e-3 * torch.linalg.vector_norm(expected)
