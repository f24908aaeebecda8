"""The three backends give the same batches: images, labels and order, at world size 1 and 2, from any step."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ebomlc_dist.config import DataConfig, NoiseConfig, SeedConfig, TrainConfig
from ebomlc_dist.data.dataset import NoisyDataset, digest_of
from ebomlc_dist.data.inputs.lazy import ImageFiles
from ebomlc_dist.data.loaders.auto_select import choose_loader
from ebomlc_dist.data.loaders.ffcv_extra import has_ffcv
from ebomlc_dist.data.loaders.paired import PairedLoader, build_loader
from ebomlc_dist.data.run_data import load_dataset
from ebomlc_dist.errors import InputError
from ebomlc_dist.methods.contract import PairedBatch, Streams
from tests.data.support import make_dataset, write_image, write_tree

needs_ffcv = pytest.mark.skipif(not has_ffcv(), reason="ffcv is not installed (the extra `ffcv`)")
STREAMS = Streams(clean=True, lower_clean=True)
NAMES = ("noisy", "clean", "lower_clean")
Open = Callable[..., PairedLoader]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Makes loaders, and closes them at the end."""
    loaders: list[PairedLoader] = []

    def build(
        dataset: NoisyDataset, data: DataConfig, *, rank: int = 0, world_size: int = 1, seeds: SeedConfig | None = None
    ) -> PairedLoader:
        loader = build_loader(
            dataset,
            STREAMS,
            data,
            TrainConfig(global_noisy_batch_size=7, global_clean_batch_size=5),
            seeds or SeedConfig(),
            rank=rank,
            world_size=world_size,
            device="cpu",
        )
        loaders.append(loader)
        return loader

    yield build
    for loader in loaders:
        loader.close()


def same(first: PairedBatch, second: PairedBatch) -> bool:
    """Bit equality of what counts, in every stream."""
    pairs = [(getattr(first, name), getattr(second, name)) for name in NAMES]
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) and a.count == b.count for a, b in pairs
    )


def joined(loaders: list[PairedLoader], step: int, name: str) -> torch.Tensor:
    """One stream's global batch, put together from the shares of all ranks."""
    batches = [getattr(loader.batch(step), name) for loader in loaders]
    return torch.cat([batch.images[: batch.count] for batch in batches])


def own_size_tree(root: Path) -> DataConfig:
    """Images of many sizes, some larger than the limit, in both parts."""
    for number in range(24):
        part = "clean" if number % 3 == 0 else "train"
        size = (9 + 5 * number % 31, 60 - 2 * number)
        write_image(root / part / ("ant", "bee")[number % 2] / f"{number}.png", size, seed=number)
    return DataConfig(
        dataset="folder", data_dir=root, image_size=16, augment="resized-crop-flip", max_side=40, loader="dataloader"
    )


def load(data: DataConfig) -> NoisyDataset:
    return load_dataset(data, NoiseConfig(), SeedConfig())


def test_dataloader_equals_resident(opened: Open) -> None:
    dataset = make_dataset()
    for world_size in (1, 2):
        for rank in range(world_size):
            place = {"rank": rank, "world_size": world_size}
            resident = opened(dataset, DataConfig(pad=2, loader="resident"), **place)
            workers = opened(dataset, DataConfig(pad=2, loader="dataloader"), **place)
            # In order, back, and on from the middle of a run.
            for step in (0, 1, 2, 5, 6, 1, 700, 701):
                assert same(resident.batch(step), workers.batch(step))


@needs_ffcv
def test_ffcv_equals_resident(tmp_path: Path, opened: Open) -> None:
    from ebomlc_dist.data.loaders.ffcv_writer import write_pack

    dataset = make_dataset()
    assert isinstance(dataset.images, torch.Tensor)
    write_pack(tmp_path, dataset.images, digest_of(dataset.images, None))
    threads = torch.get_num_threads()
    for world_size in (1, 2):
        for rank in range(world_size):
            place = {"rank": rank, "world_size": world_size}
            resident = opened(dataset, DataConfig(pad=2, loader="resident"), **place)
            packed = opened(dataset, DataConfig(pad=2, loader="ffcv", pack_dir=tmp_path), **place)
            # FFCV's epoch has 256 steps: across its end, too.
            for step in (*range(255, 258), 0, 1, 700):
                assert same(resident.batch(step), packed.batch(step))
    assert torch.get_num_threads() == threads


@needs_ffcv
def test_ffcv_equals_dataloader_on_images_of_any_size(tmp_path: Path, opened: Open) -> None:
    from ebomlc_dist.data.loaders.ffcv_writer import write_pack

    data = own_size_tree(tmp_path)
    dataset = load(data)
    assert isinstance(dataset.images, ImageFiles)
    write_pack(tmp_path / "packed", dataset.images, digest_of(dataset.images, dataset.image_digest))
    packed = opened(dataset, data.model_copy(update={"loader": "ffcv", "pack_dir": tmp_path / "packed"}))
    workers = opened(dataset, data)
    assert all(same(packed.batch(step), workers.batch(step)) for step in range(6))
    assert packed.batch(0).noisy.images.shape == (7, 3, 16, 16)


def test_selections_of_an_epoch_are_read_ahead_too(opened: Open) -> None:
    """Streams that come and go between epochs: what was read ahead for the old ones is not taken for the new."""
    dataset = make_dataset()
    resident, workers = (opened(dataset, DataConfig(pad=2, loader=name)) for name in ("resident", "dataloader"))
    for epoch, streams in ((0, STREAMS), (1, STREAMS), (2, Streams(noisy_images="union"))):
        for loader in (resident, workers):
            loader.serve(streams, {"some": torch.tensor([1, 4, 5, 20 + epoch])} if epoch else {}, epoch)
        for step in range(4 * epoch, 4 * epoch + 4):
            first, second = resident.batch(step), workers.batch(step)
            assert torch.equal(first.noisy.images, second.noisy.images)
            assert (first.clean is None) == (second.clean is None) == (epoch == 2)
            views = list(zip(first.selected.get("some", ()), second.selected.get("some", ()), strict=True))
            assert len(views) == (2 if epoch else 0)
            assert all(torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels) for a, b in views)


def test_the_comparison_sees_differences(opened: Open) -> None:
    """Negative control: another seed, another step, one other pixel."""
    dataset = make_dataset()
    data = DataConfig(pad=2, loader="dataloader", num_workers=0)
    workers, resident = opened(dataset, data), opened(dataset, DataConfig(pad=2))
    assert not same(resident.batch(1), workers.batch(0))
    assert not same(resident.batch(0), opened(dataset, data, seeds=SeedConfig(order=1)).batch(0))
    assert not same(resident.batch(0), opened(dataset, data, seeds=SeedConfig(augmentation=1)).batch(0))
    assert isinstance(dataset.images, torch.Tensor)
    retouched = replace(dataset, images=dataset.images ^ 1)
    assert not same(resident.batch(0), opened(retouched, data).batch(0))


def test_files_equal_memory(tmp_path: Path, opened: Open) -> None:
    """A folder gives the same batches, statistics and fingerprint whether memory holds it or not."""
    write_tree(tmp_path, per_class=6)
    data = DataConfig(dataset="folder", data_dir=tmp_path, image_size=10, pad=1)
    held, files = load(data), load(data.model_copy(update={"loader": "dataloader"}))
    assert isinstance(held.images, torch.Tensor)
    assert isinstance(files.images, ImageFiles)
    assert held.fingerprint == files.fingerprint
    assert torch.equal(held.mean, files.mean)
    assert torch.equal(held.std, files.std)
    everything = torch.arange(len(held.images))
    assert torch.equal(held.images, files.images[everything])
    assert torch.equal(held.test_images[torch.arange(12)], files.test_images[torch.arange(12)])
    resident, workers = opened(held, data), opened(files, data.model_copy(update={"loader": "dataloader"}))
    assert all(same(resident.batch(step), workers.batch(step)) for step in range(4))


def test_images_of_any_size_make_the_same_global_batches(tmp_path: Path, opened: Open) -> None:
    data = own_size_tree(tmp_path).model_copy(update={"num_workers": 0})
    dataset = load(data)
    alone = [opened(dataset, data)]
    ranks = [opened(dataset, data, rank=rank, world_size=2) for rank in range(2)]
    for name in NAMES:
        assert torch.equal(joined(alone, 3, name), joined(ranks, 3, name))
        assert not torch.equal(joined(alone, 3, name), joined(alone, 4, name))


def test_workers_leave_torchs_generator_alone(opened: Open) -> None:
    """Dropout draws from it: a start of workers that moved it would change a resumed run."""
    before = torch.get_rng_state()
    loader = opened(make_dataset(), DataConfig(loader="dataloader"))
    loader.batch(0)
    loader.batch(9)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_outlast_a_signal_to_every_process(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler's: the run goes on until its checkpoint is written, and needs batches for that."""
    dataset = make_dataset()
    resident, workers = (opened(dataset, DataConfig(pad=2, loader=name)) for name in ("resident", "dataloader"))
    others = set(multiprocessing.active_children())
    begin = multiprocessing.Process.start

    def begin_under_fire(child: multiprocessing.Process) -> None:
        begin(child)
        os.kill(child.pid or 0, signal.SIGTERM)

    monkeypatch.setattr(multiprocessing.Process, "start", begin_under_fire)
    workers.batch(0)
    children = set(multiprocessing.active_children()) - others
    assert len(children) == 2
    for child in children:
        for number in (signal.SIGTERM, signal.SIGUSR2):
            os.kill(child.pid or 0, number)
    assert all(same(resident.batch(step), workers.batch(step)) for step in range(1, 12))
    workers.close()
    assert not set(multiprocessing.active_children()) - others


def test_an_image_that_breaks_later_is_named(tmp_path: Path, opened: Open) -> None:
    write_tree(tmp_path, per_class=6)
    data = DataConfig(dataset="folder", data_dir=tmp_path, image_size=10, loader="dataloader")
    dataset = load(data)
    loader = opened(dataset, data)
    for path in (tmp_path / "train").rglob("*.png"):
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"train/.*\.png' is damaged or no image .*; mend or remove it"):
        loader.batch(0)


class TestChoice:
    """``auto`` says what it takes, and why."""

    def test_resident_where_the_set_fits(self) -> None:
        choice = choose_loader(make_dataset(), DataConfig(), "cpu")
        assert (choice.name, choice.reason) == ("resident", "0.00 GiB of images fit into memory")

    def test_dataloader_where_nothing_is_packed(self, tmp_path: Path) -> None:
        data = own_size_tree(tmp_path).model_copy(update={"loader": "auto"})
        choice = choose_loader(load(data), data, "cpu")
        assert choice.name == "dataloader"
        assert choice.reason == "images keep their size, and `ebomlc pack` has not been run"

    def test_files_where_memory_is_short(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_tree(tmp_path)
        monkeypatch.setattr("ebomlc_dist.data.loaders.auto_select._memory", lambda: 2000.0)
        data = DataConfig(dataset="folder", data_dir=tmp_path)
        dataset = load(data)
        assert isinstance(dataset.images, ImageFiles)
        assert choose_loader(dataset, data, "cpu").reason.startswith("the images do not fit into memory")

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"loader": "resident"}, "--loader resident holds images of one size"),
            ({"image_size": None}, "needs --image-size"),
        ],
    )
    def test_what_does_not_fit_together(self, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            load(own_size_tree(tmp_path).model_copy(update=changes))

    def test_ffcv_that_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("auto_select", "ffcv_extra"):
            monkeypatch.setattr(f"ebomlc_dist.data.loaders.{module}.has_ffcv", lambda: False)
        write_tree(tmp_path)
        with pytest.raises(InputError, match=r"ffcv is not installed; `pip install 'ebomlc_dist\[ffcv\]'` adds it"):
            load(DataConfig(dataset="folder", data_dir=tmp_path, loader="ffcv"))

    @needs_ffcv
    def test_ffcv_without_packed_images(self, tmp_path: Path) -> None:
        write_tree(tmp_path)
        with pytest.raises(InputError, match=r"needs packed images and .*packed-folder has none; run `ebomlc pack`"):
            load(DataConfig(dataset="folder", data_dir=tmp_path, loader="ffcv"))


def test_sizes_of_files_are_reduced_to_the_limit(tmp_path: Path) -> None:
    dataset = load(own_size_tree(tmp_path))
    assert isinstance(dataset.images, ImageFiles)
    assert dataset.images.sizes.max() == 40
    assert len(np.unique(dataset.images.sizes, axis=0)) > 5
    assert dataset.images[torch.arange(3)].shape == (3, 3, 16, 16)
    assert dataset.images[torch.arange(0)].shape == (0, 3, 16, 16)
