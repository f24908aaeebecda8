"""A run that meets a fault: ``python -m tools.gpu_check.faulty_run DEVICE FOLDER``.

One process, whose steps reduce over NCCL (gloo on a CPU) all the same, recorded in a graph on a GPU. Its learning rate
lets no step be finite, so that the run ends with a `TrainingFault`. Exit code 0: the fault came, and everything was
closed. A process that hangs in closing is what the caller waits for.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist

from ebomlc_dist.engine.run import train
from ebomlc_dist.errors import TrainingFault
from tests.gpu.test_step import Collective
from tests.support.runs import runtime_of, tiny_config


def main(device: str, folder: Path) -> int:
    """Run, meet the fault, close."""
    on_gpu = device == "cuda"
    where = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    backend = "nccl" if on_gpu else "gloo"
    dist.init_process_group(backend, rank=0, world_size=1, device_id=where if on_gpu else None)
    communicator = Collective(where, group=dist.group.WORLD)
    runtime = runtime_of(communicator)
    settings = {"cuda_graph": on_gpu, "max_skipped_in_a_row": 5, "log_interval": 5}
    config = tiny_config("ebomlc", train=settings, optim={"main_lr": 1e30})
    try:
        train(config, folder, quiet=True, resume=True, runtime=runtime)
    except TrainingFault as fault:
        print(f"the fault: {fault}", flush=True)
        print(f"{communicator.num_collectives} collectives started by the host", flush=True)
        # Within the handler, as in a run: the fault's traceback holds the frames of the run.
        runtime.close()
        print("closed", flush=True)
        return 0
    print("no fault came", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
