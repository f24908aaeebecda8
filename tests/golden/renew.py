"""Write golden files anew: ``python -m tests.golden.renew NAME …``. Say in the commit why the numbers changed."""

import json
import sys

import torch

from ebomlc_dist.distributed.communicator import Communicator
from tests.golden.values import FOLDER, values_of


def main(methods: list[str]) -> None:
    """One file a method, from one process."""
    torch.set_num_threads(1)
    for method in methods:
        values = values_of(method, Communicator(torch.device("cpu")))
        (FOLDER / f"{method}.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
