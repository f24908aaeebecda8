"""How pixels of 16 bits become pixels of 8 bits: by the range that the training images use.

Cameras and scanners store 10, 12 or 14 bits in files of 16. The upper byte alone would leave 4 to 64 grey levels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Range = tuple[int, int]
"""Lowest and highest value of an image."""


@dataclass(frozen=True)
class Levels:
    """``(value − low) >> shift``, kept within 0…255. The defaults take the upper byte of 16 bits.

    Attributes:
        low: the value that becomes 0.
        shift: bits that are left out.
    """

    low: int = 0
    shift: int = 8

    @property
    def top(self) -> int:
        """The highest value that is told apart from brighter ones."""
        return self.low + (256 << self.shift) - 1

    def apply(self, pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return uint8 pixels in the shape of ``pixels``, whose values are whole numbers in 0…65535."""
        return np.clip((pixels.astype(np.int32) - self.low) >> self.shift, 0, 255).astype(np.uint8)


FULL = Levels()


def levels_of(ranges: Iterable[Range]) -> Levels:
    """Return the levels of a set by the ranges of its images; `FULL` for none.

    Black stays 0 where that costs no bit of the range.
    """
    found = list(ranges)
    if not found:
        return FULL
    low, high = min(low for low, _ in found), max(high for _, high in found)
    bits = (high - low).bit_length()
    return Levels(low if bits < high.bit_length() else 0, max(bits - 8, 0))
