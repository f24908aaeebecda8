"""Two processes add a number, as a check of a machine: started by a launcher, prints one JSON line on rank 0."""

import json
import os
import time
from datetime import timedelta

import torch
import torch.distributed as dist

_ELEMENTS = 1_000_000
_LIMIT_S = 60


def main() -> None:
    """Join by the environment's place, reduce, compare, and time a second reduction."""
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    on_gpu = os.environ.get("ACCELERATE_USE_CPU") != "true"
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=timedelta(seconds=_LIMIT_S))
    values = torch.full((_ELEMENTS,), float(rank + 1), device=device)
    dist.all_reduce(values)
    right = bool((values == world_size * (world_size + 1) / 2).all())
    started = time.monotonic()
    dist.all_reduce(values)
    values.sum().item()
    seconds = time.monotonic() - started
    if rank == 0:
        print(json.dumps({"right": right, "milliseconds": 1000 * seconds, "bytes": 4 * _ELEMENTS}), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
