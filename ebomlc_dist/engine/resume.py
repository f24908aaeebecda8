"""Resume: what must stay the same, and how the checkpoint is read."""

import logging

from ebomlc_dist.config import RunConfig
from ebomlc_dist.data.dataset import NoisyDataset
from ebomlc_dist.distributed.runtime import Runtime
from ebomlc_dist.errors import InputError
from ebomlc_dist.files.checkpoint import Checkpoint
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.run_folder import RunFolder
from ebomlc_dist.files.safe_json import read_json
from ebomlc_dist.keys import changed, flatten

log = logging.getLogger(__name__)


def check_same_run(paths: RunFolder, config: RunConfig) -> None:
    """Raise `InputError` that names every differing key that a resume may not change (role ``frame``)."""
    if not paths.config.exists():
        return
    found = changed(flatten(read_json(paths.config)), config)
    if config.train.precision == "auto":
        # The run goes on in the one that it began with.
        found.pop("train.precision", None)
    different = [f"{key} was {stored!r} and is now {asked!r}" for key, (stored, asked) in found.items()]
    if different:
        raise InputError(
            f"the run in {paths.root} has another configuration: {'; '.join(different)}; "
            f"resume it with `--config {paths.config} --resume auto -o {paths.root}`, or choose another folder with -o"
        )


def load_checkpoint(paths: RunFolder, dataset: NoisyDataset, runtime: Runtime) -> Checkpoint | None:
    """Return the newest good checkpoint, read and verified by rank 0 and sent to the others; None on a first start.

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
