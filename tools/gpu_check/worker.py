"""The process of one part: ``python -m tools.gpu_check.worker PART PLACE [DONE…]`` takes the rows that are not done.

Each row has a limit: beyond it the process prints where it stands and ends, so that the next one takes the rows after
it. It also ends after a fault of the device, which leaves a process no use of it.
"""

import faulthandler
import gc
import sys
import time
import traceback

import torch

from ebomlc_dist.errors import InputError
from tools.gpu_check.parts import PARTS, WorkerPart
from tools.gpu_check.place import NotHeld, Place, Row, RowFile, Take

DEVICE_LOST = 3


def main(name: str, place: Place, done: list[str]) -> int:
    """Take the rows; 0 where all were taken."""
    part = PARTS[name]
    assert isinstance(part, WorkerPart)
    file = RowFile(part.file(name, place))
    for row, take in part.takes(place).items():
        if row in done:
            continue
        file.begin(row)
        faulthandler.dump_traceback_later(part.row_limit_s * place.patience, exit=True)
        file.end(row, _taken(take, place))
        faulthandler.cancel_dump_traceback_later()
        gc.collect()
        if not place.rehearsal and not _device_is_there():
            return DEVICE_LOST
    return 0


def _taken(take: Take, place: Place) -> Row:
    began = time.monotonic()
    try:
        figures = dict(take(place))
    except InputError as error:
        return Row(state="skipped", seconds=time.monotonic() - began, reason=str(error))
    except Exception as error:
        if not isinstance(error, NotHeld):
            traceback.print_exc()
        what = str(error) if isinstance(error, NotHeld) else f"{type(error).__name__}: {error}"
        return Row(state="failed", seconds=time.monotonic() - began, reason=what[:2000])
    return Row(state="done", seconds=time.monotonic() - began, figures=figures)


def _device_is_there() -> bool:
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Place.of(sys.argv[2]), sys.argv[3:]))
