"""What makes a continued run the same run."""

import logging
from typing import Any

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.checkpoint import Checkpoint
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.files.younger_keys import YOUNGER_KEYS, without_younger

log = logging.getLogger(__name__)

# Where the data lie, who reads them, what is kept beside and how patient the processes are decides nothing about the
# result.
FREE_KEYS = {
    "data.data_dir",
    "data.download",
    "data.loader",
    "data.num_workers",
    "data.pack_dir",
    "train.rendezvous_timeout_s",
    "train.start_timeout_s",
    "train.step_timeout_s",
    "train.trackers",
    "train.cuda_graph",
    "train.activation_checkpointing",
    "train.strategy",
    "train.checkpoint_steps",
    "train.replica_check_steps",
    "train.epoch_scores",
}


def check_same_run(paths: RunFolder, config: RunConfig) -> None:
    """Raise `InputError` naming every key in which ``config`` differs from the run in the folder."""
    if not paths.config.exists():
        return
    stored, asked = (
        without_younger(flat_keys(values)) for values in (read_json(paths.config), config.model_dump(mode="json"))
    )
    different = [
        f"{key} was {stored.get(key, YOUNGER_KEYS.get(key))!r} and is now {asked.get(key, YOUNGER_KEYS.get(key))!r}"
        for key in sorted(stored.keys() | asked.keys())
        if key not in FREE_KEYS and stored.get(key) != asked.get(key)
    ]
    if different:
        raise InputError(
            f"the run in {paths.root} has another configuration: {'; '.join(different)}; "
            f"resume it with `--config {paths.config} --resume auto -o {paths.root}`, or choose another folder with -o"
        )


def load_checkpoint(paths: RunFolder, dataset: NoisyDataset, runtime: Runtime) -> Checkpoint | None:
    """The newest good checkpoint, read and verified by rank 0 and sent to the others; None on a first start.

    Raises:
        InputError: there are checkpoints and none is good, or the data are not those it was made with.
    """
    packed = b""

    def read() -> bool:
        nonlocal packed
        store = CheckpointStore(paths.checkpoints)
        checkpoint = store.load()
        for line in store.refused:
            log.warning("%s", line)
        if checkpoint is None:
            return False
        if checkpoint.document("run")["fingerprint"] != dataset.fingerprint:
            raise InputError(
                f"the data have changed since the checkpoint in {paths.root} was written; put them back, "
                "or start anew with another -o"
            )
        packed = checkpoint.pack()
        return True

    if not runtime.on_first_rank(read):
        return None
    return Checkpoint.unpack(runtime.patient.broadcast_bytes(packed if runtime.is_main else None))


def flat_keys(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A configuration's values under their whole keys, such as ``optim.main_lr``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flat_keys(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
