"""What is saved comes back; what stays and what goes; what cannot be saved is said."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from ebomlc_dist.errors import InputError
from ebomlc_dist.files import durable
from ebomlc_dist.files.checkpoints import CheckpointStore
from ebomlc_dist.files.operations import Operations, using

STORED = Path(__file__).parent / "stored"


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8)


def test_tensors_of_every_kind_come_back_bit_for_bit(tmp_path: Path) -> None:
    base = torch.randn(12)
    saved = {
        "scalar": torch.tensor(0.1, dtype=torch.float64),
        "rate": torch.tensor(3, dtype=torch.int64),
        "flag": torch.tensor([True, False]),
        "generator": torch.get_rng_state(),
        "half": torch.randn(3).to(torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "not a number": torch.tensor([float("nan"), float("-inf"), -0.0]),
        "view": base[:6].view(2, 3),
        "overlapping view": base[3:9],
        "transposed": base.view(3, 4).t(),
        "channels last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "expanded": torch.ones(1).expand(4),
    }
    store = CheckpointStore(tmp_path / "a" / "checkpoints")
    store.save(7, {"all": saved, "none": {}}, {"loop": {"text": "é\n", "list": [1, 2.5, None, True]}, "empty": {}})
    loaded = CheckpointStore(tmp_path / "a" / "checkpoints").load()
    assert loaded.step == 7
    found = loaded.tensors("all")
    assert set(found) == set(saved)
    for name, tensor in saved.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].is_contiguous()
        assert torch.equal(bits(found[name]), bits(tensor))
    assert loaded.tensors("none") == {}
    assert loaded.document("loop") == {"text": "é\n", "list": [1, 2.5, None, True]}
    found["scalar"].add_(1)
    assert loaded.tensors("all")["scalar"] == saved["scalar"], "each call hands out its own tensors"


def test_a_missing_group_is_named(checkpoints: Path) -> None:
    loaded = CheckpointStore(checkpoints).load()
    with pytest.raises(InputError, match=r"step 3 has no other.safetensors; it has loop.json, main.safetensors"):
        loaded.tensors("other")
    with pytest.raises(InputError, match=r"no other.json"):
        loaded.document("other")


def test_newest_is_by_step_not_by_time(checkpoints: Path, saved_as: Callable) -> None:
    for age, step in enumerate((3, 2, 1)):
        os.utime(checkpoints / f"step-0000000{step}", (2e9 + age, 2e9 + age))
    (checkpoints / "latest").write_text("step-00000001\n")
    assert CheckpointStore(checkpoints).load().step == 3
    saved_as(CheckpointStore(checkpoints), 123_456_789)
    assert (checkpoints / "latest").read_text() == "step-123456789\n"
    assert CheckpointStore(checkpoints).load().step == 123_456_789, "longer numbers sort as numbers"


def test_what_stays(tmp_path: Path, saved_as: Callable) -> None:
    store = CheckpointStore(tmp_path)
    kept = []
    for step in range(1, 7):
        path = saved_as(store, step, best=step in (2, 4))
        assert path == tmp_path / f"step-{step:08d}"
        kept.append(sorted(int(p.name[5:]) for p in tmp_path.glob("step-*")))
    assert kept == [[1], [1, 2], [2, 3], [3, 4], [4, 5], [4, 5, 6]]
    assert CheckpointStore(tmp_path).load(best=True).step == 4
    assert (tmp_path / "latest").read_text() == "step-00000006\n"


def test_the_same_step_again(tmp_path: Path, saved_as: Callable) -> None:
    for note in ("first", "second", "third"):
        saved_as(CheckpointStore(tmp_path), 8, note=note)
        assert CheckpointStore(tmp_path).load().document("loop")["note"] == note
    assert [p.name for p in tmp_path.glob("step-*")] == ["step-00000008.2"]


def test_what_was_just_saved_stays_though_others_are_ahead(tmp_path: Path, saved_as: Callable) -> None:
    store = CheckpointStore(tmp_path)
    for step in (8, 9, 7):
        assert saved_as(store, step).is_dir()
    assert CheckpointStore(tmp_path).load().step == 9


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "missing")
    assert store.load() is None
    (tmp_path / durable.temporary_name("step-00000004")).mkdir()
    store = CheckpointStore(tmp_path)
    assert store.load() is None
    assert len(store.refused) == 1
    assert "not finished" in store.refused[0]


def test_loading_writes_nothing(checkpoints: Path, intercepted: type) -> None:
    (checkpoints / durable.temporary_name("step-00000004")).mkdir()
    with using(recorded := intercepted()):
        CheckpointStore(checkpoints).load()
    assert {name for name, _ in recorded.calls} == {"open", "read", "close"}


def test_stored_checkpoints_of_every_schema_load() -> None:
    loaded = CheckpointStore(STORED / "schema-1").load()
    assert loaded.step == 12
    assert torch.equal(loaded.tensors("main")["vector"], torch.arange(6, dtype=torch.float64) / 4)
    assert loaded.document("loop") == {"epoch": 3, "offset": 0}


@pytest.mark.parametrize(
    ("tensors", "documents"),
    [
        ({}, {"loop": {"loss": float("nan")}}),
        ({}, {"loop": {1: "a", "1": "b"}}),
        ({}, {"loop": [1]}),
        ({}, {"manifest": {}}),
        ({"../main": {}}, {}),
        ({".main": {}}, {}),
        ({}, {"a/b": {}}),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(checkpoints: Path, tensors: dict, documents: dict) -> None:
    before = sorted(checkpoints.rglob("*"))
    with pytest.raises(ValueError, match=r".+"):
        CheckpointStore(checkpoints).save(4, tensors, documents)
    assert sorted(checkpoints.rglob("*")) == before


class Little(Operations):
    """A disk with so many bytes free."""

    def __init__(self, free: int) -> None:
        self.free = free

    def free_bytes(self, path: Path) -> int:
        return self.free


def test_room_is_looked_for_first(checkpoints: Path, saved_as: Callable) -> None:
    size = sum(p.stat().st_size for p in (checkpoints / "step-00000003").iterdir() if p.name != "manifest.json")
    with using(Little(2 * size - 1)), pytest.raises(durable.NoSpace) as error:
        saved_as(CheckpointStore(checkpoints), 3)
    assert str(checkpoints) in str(error.value)
    assert str(2 * size) in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, InputError)
    assert isinstance(error.value, OSError)
    with using(Little(2 * size + 100)):
        saved_as(CheckpointStore(checkpoints), 3)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """A real, small file system, mounted with the options given."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk needs the right to mount: {done.stderr.decode().strip()}")
        mounted.append(folder)
        return folder

    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small disk needs root and mount")
    yield mount
    for folder in mounted:
        subprocess.run(["umount", folder], check=True)


class Boastful(Operations):
    """A disk that claims room it does not have, as a quota or a neighbour makes it."""

    def free_bytes(self, path: Path) -> int:
        return 1 << 60


@pytest.mark.parametrize("operations", [Operations(), Boastful()])
def test_a_full_disk(small_disk: Callable[[str], Path], saved_as: Callable, operations: Operations) -> None:
    disk = small_disk("size=256k")
    store = CheckpointStore(disk / "checkpoints")
    saved_as(store, 1)
    (disk / "filler").write_bytes(bytes(256 * 1024 - 7 * 4096))
    large = {"main": {"vector": torch.zeros(16_000)}}
    with using(operations):
        with pytest.raises(durable.NoSpace, match=r"checkpoints"):
            store.save(2, large, {})
        with pytest.raises(durable.NoSpace, match=r"summary.json \(\d+ bytes"):
            durable.write_json(disk / "summary.json", ["x" * 50_000])
    assert sorted(p.name for p in (disk / "checkpoints").iterdir()) == ["latest", "step-00000001"]
    assert sorted(p.name for p in disk.iterdir()) == ["checkpoints", "filler"]
    assert CheckpointStore(disk / "checkpoints").load().step == 1
    (disk / "filler").unlink()
    store.save(2, large, {})
    assert CheckpointStore(disk / "checkpoints").load().step == 2


def test_no_inodes_left(small_disk: Callable[[str], Path], saved_as: Callable) -> None:
    disk = small_disk("size=1m,nr_inodes=9")
    store = CheckpointStore(disk / "checkpoints")
    saved_as(store, 1)
    with pytest.raises(durable.NoSpace):
        saved_as(store, 2)
    assert sorted(p.name for p in (disk / "checkpoints").iterdir()) == ["latest", "step-00000001"]
    assert CheckpointStore(disk / "checkpoints").load().step == 1


def test_a_disk_that_turned_read_only(small_disk: Callable[[str], Path], saved_as: Callable) -> None:
    disk = small_disk("size=1m")
    store = CheckpointStore(disk / "checkpoints")
    saved_as(store, 1)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    with pytest.raises(OSError, match=r"Read-only"):
        saved_as(store, 2)
    assert CheckpointStore(disk / "checkpoints").load().step == 1
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    saved_as(store, 2)
    assert CheckpointStore(disk / "checkpoints").load().step == 2
