"""``ebomlc profile`` from a checkout: ``python -m tools.profile``, and ``accelerate launch -m tools.profile``."""

import sys

from ebomlc_dist.cli import run as ebomlc


def run(arguments: list[str]) -> int:
    """Run ``ebomlc profile`` and return the exit code."""
    return ebomlc(["profile", *arguments])


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
