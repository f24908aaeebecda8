"""What the device itself can do: the rate of a large matrix product and of a large convolution, measured here.

A share of a measured ceiling says what is left to gain on this machine as it is; a share of a data sheet does not.
"""

from collections.abc import Callable

import torch
from torch.nn import functional

from ebomlc_dist.gpu import on_gpu
from ebomlc_dist.profiling.clock import DeviceClock

# (side of the square matrices), (images, channels, side) of a 3×3 convolution: some 20 ms on a core, 10 ms on a GPU.
_MATRIX = {"cpu": 1024, "cuda": 8192}
_CONVOLUTION = {"cpu": (32, 64, 32), "cuda": (256, 256, 32)}


class Ceiling:
    """The best rates seen so far, in operations per second.

    Args:
        device: where to measure.
        dtype: of the factors, the one that the passes compute in.

    Attributes:
        rates: ``matrix product`` and ``convolution`` → operations per second.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._clock = DeviceClock(device)
        kind = "cuda" if on_gpu(device) else "cpu"
        side = _MATRIX[kind]
        images, channels, width = _CONVOLUTION[kind]
        matrix = torch.randn(side, side, device=device).to(dtype)
        pixels = torch.randn(images, channels, width, width, device=device).to(dtype)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(channels, channels, 3, 3, device=device).to(dtype)
        self._work: dict[str, tuple[int, Callable[[], object]]] = {
            "matrix product": (2 * side**3, lambda: matrix @ matrix),
            "convolution": (
                2 * images * channels * channels * 9 * width * width,
                lambda: functional.conv2d(pixels, kernel, padding=1),
            ),
        }
        self.rates = dict.fromkeys(self._work, 0.0)
        self.measure()

    @torch.no_grad()
    def measure(self) -> None:
        """Measure once more. What the machine's other work takes away is no property of the device: the best counts."""
        for name, (operations, work) in self._work.items():
            work()
            self._clock.settle()
            marks = [self._clock.mark()]
            work()
            marks.append(self._clock.mark())
            rate = 1000.0 * operations / max(self._clock.between(marks)[0], 1e-9)
            self.rates[name] = max(self.rates[name], rate)

    @property
    def rate(self) -> float:
        """The higher of the two."""
        return max(self.rates.values())
