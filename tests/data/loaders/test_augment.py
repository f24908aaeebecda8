"""Batched augmentation equals torchvision's, image by image and bit for bit."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional

from ebomlc_dist.data.loaders.augment import AugmentStream, Kind, augment, normalise

SEED = np.random.SeedSequence(9)
MEAN, STD = torch.tensor([0.49, 0.48, 0.45]), torch.tensor([0.25, 0.24, 0.26])


def images(number: int = 64, height: int = 9, width: int = 7) -> torch.Tensor:
    return torch.randint(
        0, 256, (number, 3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )


def reference(batch: torch.Tensor, draws: torch.Tensor, pad: int, pad_mode: str = "constant") -> torch.Tensor:
    """Pad, crop, flip and normalise one image after the other."""
    done = []
    for image, (top, left, flip) in zip(batch, draws.T.tolist(), strict=True):
        padded = functional.pad(image.float(), [pad] * 4, padding_mode=pad_mode).to(torch.uint8)
        cropped = functional.crop(padded, top, left, *image.shape[1:])
        cropped = functional.hflip(cropped) if flip else cropped
        done.append(functional.normalize(functional.convert_image_dtype(cropped), MEAN.tolist(), STD.tolist()))
    return torch.stack(done)


@pytest.mark.parametrize("kind", ["pad-crop-flip", "pad-crop", "none"])
@pytest.mark.parametrize("pad", [0, 1, 4])
def test_equals_torchvision(kind: Kind, pad: int) -> None:
    stream = AugmentStream(kind, pad, SEED)
    draws = torch.from_numpy(stream.draws(3, 64))
    out = augment(images(), draws, stream.pad, MEAN, STD)
    assert out.dtype == torch.float32
    assert torch.equal(out, reference(images(), draws, stream.pad))


@pytest.mark.parametrize("pad", [1, 4, 6])
def test_reflecting_equals_torchvision(pad: int) -> None:
    stream = AugmentStream("pad-crop-flip", pad, SEED, "reflect")
    draws = torch.from_numpy(stream.draws(3, 64))
    out = augment(images(), draws, pad, MEAN, STD, stream.pad_mode)
    assert torch.equal(out, reference(images(), draws, pad, "reflect"))
    assert not torch.equal(out, augment(images(), draws, pad, MEAN, STD))


@pytest.mark.parametrize("row", [0, 1, 2])
def test_each_draw_matters(row: int) -> None:
    """Negative control: one draw changed in one image changes that image alone."""
    draws = torch.from_numpy(AugmentStream("pad-crop-flip", 4, SEED).draws(0, 64))
    changed = draws.clone()
    changed[row, 5] = 1 - draws[row, 5] if row == 2 else (draws[row, 5] + 1) % 9
    before, after = (augment(images(), each, 4, MEAN, STD) for each in (draws, changed))
    assert [n for n in range(64) if not torch.equal(before[n], after[n])] == [5]


def test_corners_of_the_padding_are_reached() -> None:
    draws = torch.tensor([[0, 0, 8, 8, 4], [0, 8, 0, 8, 4], [0, 0, 0, 0, 0]])
    batch = images(5)
    out = augment(batch, draws, 4, MEAN, STD)
    assert torch.equal(out, reference(batch, draws, 4))
    assert torch.equal(out[4], normalise(batch[4:], MEAN, STD)[0])


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (3, 1, 5, 4), (1, 3, 32, 32)])
def test_shapes(shape: tuple[int, ...]) -> None:
    batch = torch.zeros(shape, dtype=torch.uint8)
    draws = torch.from_numpy(AugmentStream("pad-crop-flip", 2, SEED).draws(0, shape[0]))
    assert augment(batch, draws, 2, MEAN[: shape[1]], STD[: shape[1]]).shape == shape


def test_input_is_left_alone() -> None:
    batch = images()
    for kind in ("pad-crop-flip", "none"):
        stream = AugmentStream(kind, 4, SEED)
        augment(batch, torch.from_numpy(stream.draws(0, 64)), stream.pad, MEAN, STD)
    normalise(batch, MEAN, STD)
    assert torch.equal(batch, images())


def test_draws_are_functions_of_the_step() -> None:
    first, again = AugmentStream("pad-crop-flip", 4, SEED), AugmentStream("pad-crop-flip", 4, SEED)
    first.draws(8, 10)
    assert np.array_equal(first.draws(7, 10), again.draws(7, 10))
    assert not np.array_equal(first.draws(7, 10), first.draws(8, 10))


def test_draws_are_uniform() -> None:
    """Chi-square of 8 degrees below its 1e-6 tail for the crop, six standard deviations for the flip."""
    drawn = AugmentStream("pad-crop-flip", 4, SEED).draws(0, 90_000)
    for row in drawn[:2]:
        counts = np.bincount(row)
        assert len(counts) == 9
        assert ((counts - 10_000) ** 2 / 10_000).sum() < 44
    assert set(np.unique(drawn[2])) == {0, 1}
    assert abs(drawn[2].mean() - 0.5) < 6 * 0.5 / 300


@pytest.mark.gpu
def test_captured_in_a_cuda_graph() -> None:
    """No host sync and static shapes: the whole of `augment` replays as a graph, on new draws, with the same bits."""
    batch, mean, std = (tensor.cuda() for tensor in (images(), MEAN, STD))
    draws = torch.from_numpy(AugmentStream("pad-crop-flip", 4, SEED).draws(0, 64)).cuda()
    augment(batch, draws, 4, mean, std)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = augment(batch, draws, 4, mean, std)
    draws.copy_(torch.from_numpy(AugmentStream("pad-crop-flip", 4, SEED).draws(1, 64)))
    graph.replay()
    assert torch.equal(captured, augment(batch, draws, 4, mean, std))
