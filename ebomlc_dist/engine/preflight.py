"""What is checked and loaded before anything is built, on every rank alike."""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset, are_features
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.data.split_file import split_document
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.distributed.trackers import check_trackers
from ebomlc_dist.engine.batch_sizes import main_model_shape
from ebomlc_dist.engine.build import make_method
from ebomlc_dist.engine.strategies import check_strategy
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.keys import plain
from ebomlc_dist.methods import method_info
from ebomlc_dist.models.meta_device import check_inputs

log = logging.getLogger(__name__)

# A network file system may show another machine's file late.
SEEN_S = 5.0


def check(config: RunConfig, runtime: Runtime, *, resume: bool = False) -> None:
    """Raise `InputError` for mistakes that show without the data."""
    runtime.check_alike("configuration", plain(config) | {"--resume": resume})
    check_trackers(config.train.trackers)
    check_device(config, runtime.device)
    check_strategy(config, runtime.world_size)


def check_device(config: RunConfig, device: torch.device) -> None:
    """Raise `InputError` where ``device`` cannot take the steps as asked for; warn where it is slow at them."""
    train = config.train
    if train.cuda_graph and not on_gpu(device):
        raise InputError(
            "--cuda-graph needs a CUDA device and this run is on the CPU; leave it out or give --device cuda"
        )
    if train.compile and config.model.norm == "sync":
        raise InputError("--compile does not go with norm sync, which asks the other processes in every layer")
    if device.type != "cpu":
        return
    compiler = os.environ.get("CXX", "g++")
    if train.compile and shutil.which(compiler) is None:
        raise InputError(
            f"--compile needs a C++ compiler on a CPU and '{compiler}' is not there; install g++, or set CXX to another"
        )
    if train.precision == "bf16" and not has_bf16():
        log.warning("this processor has no bf16 arithmetic, --precision bf16 is slower here than no; the results stand")
    if train.precision == "tf32":
        log.warning("--precision tf32 is for GPUs, on a CPU it is the same as no; the results stand")
    if train.precision == "fp16":
        log.warning("--precision fp16 is for GPUs, it is slower than no on a CPU; the results stand")


def has_bf16() -> bool:
    """Return whether the processor computes in bf16, as Linux tells."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(errors="replace").split())
    except OSError:
        return False
    return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


def check_shared(paths: RunFolder, runtime: Runtime) -> None:
    """Raise `InputError` where a rank does not see the run folder that rank 0 has claimed."""
    if runtime.world_size == 1:
        return
    signature = runtime.on_first_rank(lambda: read_json(paths.lock))

    def look() -> None:
        end = time.monotonic() + SEEN_S
        while not paths.lock.exists() and time.monotonic() < end:
            time.sleep(0.1)
        if not paths.lock.exists() or read_json(paths.lock) != signature:
            raise InputError(
                f"the run folder {paths.root} is not the one that rank 0 made; give a folder that all machines see "
                "with -o"
            )

    runtime.on_every_rank(look)


def needs_clean(config: RunConfig) -> bool:
    """Return whether the method of ``config`` trains on trusted images."""
    return method_info(config.method.name).needs_clean or make_method(config).streams.needs_clean


def load_everywhere(config: RunConfig, runtime: Runtime) -> NoisyDataset:
    """Return the same data on every rank; one process a machine goes first, so that a download happens once."""
    asks_clean = needs_clean(config)

    def load() -> NoisyDataset:
        return load_dataset(config.data, config.noise, config.seeds, needs_clean=asks_clean, model=config.model.name)

    first = runtime.on_every_rank(lambda: load() if runtime.local_rank == 0 else None)
    dataset = runtime.on_every_rank(lambda: first if first is not None else load())
    assert dataset is not None
    check_alike(dataset, runtime)
    check_model(config, dataset)
    return dataset


def check_further_data(configs: Sequence[RunConfig], runtime: Runtime) -> None:
    """Load the data of later runs that the first one does not read: what is missing is said before a run is trained."""
    # The size of images may follow the model.
    different = {(config.data, config.model.name): config for config in reversed(configs)}
    for key in list(dict.fromkeys((config.data, config.model.name) for config in configs))[1:]:
        load_everywhere(different[key], runtime)


def check_model(config: RunConfig, dataset: NoisyDataset) -> None:
    """Raise `InputError` for a model that is not known or cannot take these inputs. Nothing is computed."""
    if are_features(dataset.images) and config.train.evaluation_views != "plain":
        raise InputError("train.evaluation_views=flip mirrors images, and these data are features; leave it out")
    check_inputs(main_model_shape(config, dataset), config.model.name, tuple(dataset.images.shape[1:]))


def check_alike(dataset: NoisyDataset, runtime: Runtime) -> None:
    """Raise `InputError` where a rank has other data, labels or another split than rank 0."""
    document = split_document(dataset)
    counts = {key: document.pop(key) for key in ("fingerprint", "num_images", "num_classes")}
    split = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:12]
    runtime.check_alike("data set", counts | {"test images": len(dataset.test_labels), "split": split})
