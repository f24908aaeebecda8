"""Random resized crop: parts within the image, drawn as torchvision draws them, the pixels those of the part."""

import numpy as np
import pytest
import torch
from torchvision import ops

from ebomlc_dist.data.loaders.resized_crop import AREA, CENTRE, RATIO, ResizedCropStream, centre_crop

SIZES = np.array([[1, 1], [1, 60], [60, 1], [20, 30], [300, 200], [37, 37]])
EVERY = slice(0, 3000)


def stream(seed: int = 0) -> ResizedCropStream:
    return ResizedCropStream(SIZES, (8, 6), np.random.SeedSequence(seed))


@pytest.mark.parametrize("row", range(len(SIZES)))
def test_parts_lie_within_the_image(row: int) -> None:
    top, left, height, width, flip = stream().of_share(0, 3000, EVERY, np.full(3000, row))
    assert top.min() >= 0
    assert left.min() >= 0
    assert height.min() >= 1
    assert width.min() >= 1
    assert (top + height).max() <= SIZES[row, 0]
    assert (left + width).max() <= SIZES[row, 1]
    assert 0.45 < flip.mean() < 0.55


def test_areas_and_ratios_are_those_of_torchvision() -> None:
    """The mean area over many draws, against torchvision's own; both have an error of 0.6 % here."""
    from torchvision.transforms import RandomResizedCrop

    _, _, height, width, _ = stream().of_share(0, 3000, EVERY, np.full(3000, 4))
    image = torch.zeros(1, 300, 200)
    torch.manual_seed(0)
    theirs = np.array([RandomResizedCrop.get_params(image, list(AREA), list(RATIO)) for _ in range(3000)])
    assert np.mean(height * width) == pytest.approx(np.mean(theirs[:, 2] * theirs[:, 3]), rel=0.03)
    ours, reference = np.log(width / height), np.log(theirs[:, 3] / theirs[:, 2])
    assert np.mean(ours) == pytest.approx(np.mean(reference), abs=0.02)
    assert np.std(ours) == pytest.approx(np.std(reference), rel=0.05)


def test_draws_depend_on_seed_and_step_and_are_cut_by_share() -> None:
    rows = np.full(10, 4)
    whole = stream().of_share(3, 10, slice(0, 10), rows)
    assert np.array_equal(whole[:, 4:7], stream().of_share(3, 10, slice(4, 7), rows[4:7]))
    assert not np.array_equal(whole, stream().of_share(4, 10, slice(0, 10), rows))
    assert not np.array_equal(whole, stream(1).of_share(3, 10, slice(0, 10), rows))


def test_pixels_are_those_of_the_part_alone() -> None:
    """Beyond the part, and beyond the image in its frame, anything may stand."""
    drawn = torch.tensor([[2], [3], [9], [7], [0]])
    frame = torch.randint(0, 256, (1, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    other = 255 - frame
    other[:, :, 2:11, 3:10] = frame[:, :, 2:11, 3:10]
    mean, std = torch.zeros(3), torch.ones(3)
    first = stream().apply(frame, drawn, mean, std)
    assert first.shape == (1, 3, 8, 6)
    assert torch.equal(first, stream().apply(other, drawn, mean, std))
    # Control: one pixel of the part.
    other[:, :, 6, 6] ^= 128
    assert not torch.equal(first, stream().apply(other, drawn, mean, std))
    drawn[4] = 1
    assert torch.equal(first.flip(-1), stream().apply(frame, drawn, mean, std))


def test_a_ramp_stays_a_ramp() -> None:
    """A known answer: values grow evenly over the part, and its mean is kept."""
    frame = torch.arange(0, 200, 5, dtype=torch.uint8).expand(1, 1, 40, 40).contiguous()
    pixels = stream().apply(frame, torch.tensor([[4], [10], [21], [25], [0]]), torch.zeros(1), torch.ones(1)) * 255
    steps = pixels[0, 0, 0].diff()
    assert torch.allclose(steps, torch.full((5,), 5 * 24 / 6), atol=1e-3)
    assert pixels.mean().item() == pytest.approx(5 * (10 + 12), abs=0.01)


def test_centre_crop() -> None:
    frames = torch.zeros(3, 1, 40, 60, dtype=torch.uint8)
    sizes = torch.tensor([[40, 60], [16, 16], [1, 1]])
    side = round(CENTRE * 40)
    frames[0, :, (40 - side) // 2 : (40 + side) // 2, (60 - side) // 2 : (60 + side) // 2] = 100
    frames[1, :, 1:15, 1:15] = 50
    frames[2, :, 0, 0] = 7
    cropped = centre_crop(frames, sizes, (8, 8))
    assert [image.unique().tolist() for image in cropped] == [[100], [50], [7]]


def test_a_gpu_under_deterministic_algorithms_takes_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """There torchvision compiles a way of its own in Python, for the sake of a backward pass that nobody makes."""
    slow: list[object] = []
    own = ops.roi_align.__globals__
    monkeypatch.setitem(own, "_roi_align", lambda *arguments: slow.append(arguments) or torch.zeros(2, 3, 8, 8))
    monkeypatch.setitem(own, "is_compile_supported", lambda kind: True)
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    images, boxes = torch.zeros(2, 3, 8, 8), torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
    ops.roi_align(images, boxes, 8)
    assert len(slow) == 1
    stream = ResizedCropStream(np.full((2, 2), 8), (8, 8), np.random.SeedSequence(0))
    drawn = torch.tensor([[0, 0], [0, 0], [8, 8], [8, 8], [0, 1]])
    stream.apply(images.to(torch.uint8), drawn, torch.zeros(3), torch.ones(3))
    assert len(slow) == 1
