"""The target of a launcher: ``accelerate launch train.py RECIPE …`` is ``ebomlc train RECIPE …``."""

import sys

from ebomlc_dist.cli import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
