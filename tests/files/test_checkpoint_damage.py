"""What has changed since it was written is refused before use, and the older checkpoint is taken."""

import json
import os
import pickle
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.checkpoints import Checkpoint, CheckpointStore
from ebomlc_dist.files.manifest import Manifest

FILES = ["loop.json", "main.safetensors", "manifest.json"]
NEWEST = "step-00000003"


def mutate(data: bytes, source: random.Random) -> bytes:
    """One bit flipped, or cut short."""
    if source.random() < 0.3:
        return data[: source.randrange(len(data))]
    flipped = bytearray(data)
    flipped[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(flipped)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_mutations_are_refused(template: Path, memory_folder: Path, count: int) -> None:
    checkpoints = shutil.copytree(template, memory_folder / "checkpoints")
    source = random.Random(count)
    for trial in range(count):
        path = checkpoints / NEWEST / source.choice(FILES)
        whole = path.read_bytes()
        path.write_bytes(mutate(whole, source))
        store = CheckpointStore(checkpoints)
        assert store.load().step == 2, f"trial {trial} of seed {count}: {path.name}"
        assert len(store.refused) == 1
        assert str(checkpoints / NEWEST) in store.refused[0]
        assert "\n" not in store.refused[0]
        path.write_bytes(whole)
    store = CheckpointStore(checkpoints)
    assert (store.load().step, store.refused) == (3, [])


def test_without_digests_flips_load_silently(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: the digests, and nothing else, find a flipped bit of a weight."""
    path = checkpoints / NEWEST / "main.safetensors"
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    source = random.Random(0)
    positions = [source.randrange(start * 8, len(data) * 8) for _ in range(100)]
    monkeypatch.setattr(Manifest, "check", lambda *_: None)
    silent = 0
    for position in positions:
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        loaded = CheckpointStore(checkpoints).load()
        silent += loaded.step == 3 and loaded.tensors("main").keys() == {"vector", "statistics", "count"}
    assert silent == len(positions)


def edit(path: Path, change: Callable[[dict], None]) -> None:
    value = json.loads(path.read_bytes())
    change(value)
    path.write_text(f"{json.dumps(value, indent=1)}\n")


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def swap(folder: Path) -> None:
    shutil.copy(folder.with_name("step-00000002") / "main.safetensors", folder)


def link(folder: Path) -> None:
    target = folder.with_name("elsewhere")
    (folder / "main.safetensors").rename(target)
    (folder / "main.safetensors").symlink_to(target)


def pipe(folder: Path) -> None:
    (folder / "loop.json").unlink()
    os.mkfifo(folder / "loop.json")


def rename(folder: Path) -> None:
    folder.rename(folder.with_name("step-00000004"))


def replace_by_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


def escape(folder: Path) -> None:
    manifest = Manifest.parse((folder / "manifest.json").read_bytes(), "")
    hostile = {**manifest.files, "../../secret.json": manifest.files["loop.json"]}
    (folder / "manifest.json").write_bytes(Manifest(3, files=hostile).render())


DAMAGE = {
    "a file of another step": (swap, "does not match its sha256"),
    "a missing file": (lambda f: (f / "loop.json").unlink(), "missing or extra files: loop.json"),
    "an extra file": (lambda f: (f / "more.json").write_text("{}"), "missing or extra files: more.json"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "does not exist"),
    "a shorter file": (lambda f: (f / "loop.json").write_text("{}"), "loop.json has 2 bytes instead of"),
    "a longer file": (lambda f: append(f / "loop.json"), "bytes"),
    "a link": (link, "not a regular file"),
    "a pipe": (pipe, "not a regular file"),
    "another name": (rename, "holds the checkpoint step-00000003"),
    "no folder": (replace_by_file, "is not a folder"),
    "an edited step": (lambda f: edit(f / "manifest.json", lambda m: m.update(step=3000)), "digest"),
    "an edited flag": (lambda f: edit(f / "manifest.json", lambda m: m.update(best=True)), "digest"),
    "a new key": (lambda f: edit(f / "manifest.json", lambda m: m.update(more=1)), "digest"),
    "other white space": (lambda f: append(f / "manifest.json"), "digest"),
    "a newer schema": (lambda f: edit(f / "manifest.json", lambda m: m.update(schema=2)), "newer version (schema 2"),
    "a path that leaves": (escape, "no checkpoint manifest"),
    "no manifest's content": (lambda f: (f / "manifest.json").write_text("[1]"), "no checkpoint manifest"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_refused_and_named(checkpoints: Path, what: str) -> None:
    damage, message = DAMAGE[what]
    damage(checkpoints / NEWEST)
    store = CheckpointStore(checkpoints)
    assert store.load().step == 2
    assert len(store.refused) == 1
    assert message in store.refused[0]


def test_no_good_one_is_an_error_that_lists_all(checkpoints: Path) -> None:
    for folder in checkpoints.glob("step-*"):
        (folder / "loop.json").write_text("{}")
    with pytest.raises(InputError) as error:
        CheckpointStore(checkpoints).load()
    assert all(f"step-0000000{step}" in str(error.value) for step in (1, 2, 3))
    assert "\n" not in str(error.value)


def test_damaged_ones_do_not_push_good_ones_out(checkpoints: Path, saved_as: Callable) -> None:
    (checkpoints / NEWEST / "loop.json").write_text("{}")
    store = CheckpointStore(checkpoints)
    assert store.load().step == 2
    saved_as(store, 3)
    names = {path.name for path in checkpoints.glob("step-*")}
    assert names == {"step-00000001", "step-00000002", "step-00000003", "step-00000003.1"}
    assert CheckpointStore(checkpoints).load().step == 3


def test_packed_mutations_are_refused(checkpoints: Path) -> None:
    checkpoint = CheckpointStore(checkpoints).load()
    packed = checkpoint.pack()
    assert Checkpoint.unpack(packed) == checkpoint
    source = random.Random(1)
    for broken in [b"", packed + b"\0", *(mutate(packed, source) for _ in range(500))]:
        with pytest.raises(InputError):
            Checkpoint.unpack(broken)


def test_nothing_is_unpickled(checkpoints: Path) -> None:
    """The interpreter's own audit sees no class looked up by a pickle on the way from the disk to the tensors."""
    events: list[str] = []
    watching = True

    def hook(event: str, _: object) -> None:
        if watching and event.startswith(("pickle.", "marshal.load")):
            events.append(event)

    sys.addaudithook(hook)
    checkpoint = Checkpoint.unpack(CheckpointStore(checkpoints).load().pack())
    assert checkpoint.tensors("main")["vector"].shape == (40,)
    assert checkpoint.document("loop")["step"] == 3
    assert events == []
    pickle.loads(pickle.dumps(torch.float32.__class__))
    assert events, "control: the hook sees a pickle"
    watching = False


def test_a_pickle_in_place_of_tensors_is_refused(tmp_path: Path) -> None:
    payload = pickle.dumps(Path("x"))
    with pytest.raises(InputError, match=r"main.safetensors of step 3 cannot be read"):
        Checkpoint(3, {"main.safetensors": payload}).tensors("main")


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
        b'{"a":{"dtype":"F32","shape":[99999999999,99999999999],"data_offsets":[0,8]}}',
        b'{"a":{"dtype":"X9","shape":[2],"data_offsets":[0,8]}}',
        b"[" * 100_000,
    ],
)
def test_hostile_safetensors_are_refused(header: bytes) -> None:
    data = len(header).to_bytes(8, "little") + header + bytes(8)
    with pytest.raises(InputError):
        Checkpoint(3, {"main.safetensors": data}).tensors("main")
    good = safetensors.torch.save({"a": torch.ones(2)})
    assert Checkpoint(3, {"main.safetensors": good}).tensors("main")["a"].sum() == 2
