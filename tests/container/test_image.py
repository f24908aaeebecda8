"""The files that an image is built from keep what the documentation promises; the building itself is no test's part."""

import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.container.files import copied, hosts, instructions, let_in, missing, objections, pins

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
IGNORE = (ROOT / ".dockerignore").read_text()
LOCKS = {path.stem: path.read_text() for path in sorted((ROOT / "locks").glob("*.lock"))}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = ("ffcv", "deepspeed")
PYTHONS = ("3.11", "3.12", "3.13")
SPOILED = {
    "the base cannot be chosen": ("FROM ${BASE}", "FROM debian:12"),
    "runs as root": ("USER 10001:10001", "USER 0:10001"),
    "says nothing of its health": ("HEALTHCHECK", "LABEL health="),
    "installs what no lock names": ("--no-deps --require-hashes --requirement", "--no-deps --requirement"),
    "installs what nobody asked for": ("-y --no-install-recommends", "-y"),
}


def test_dockerfile_keeps_its_promises() -> None:
    assert objections(DOCKERFILE) == []
    assert ("ARG", f'EXTRAS="{" ".join(EXTRAS)}"') in instructions(DOCKERFILE)


@pytest.mark.parametrize("objection", SPOILED)
def test_a_spoiled_dockerfile_is_seen(objection: str) -> None:
    spoiled = DOCKERFILE.replace(*SPOILED[objection])
    assert spoiled != DOCKERFILE
    assert objections(spoiled) == [objection]


def test_build_is_given_what_it_copies_and_nothing_else() -> None:
    wanted = copied(DOCKERFILE)
    assert {"ebomlc_dist", "locks", "pyproject.toml", "train.py"} < wanted
    for path in wanted:
        assert (ROOT / path).exists()
        assert let_in(IGNORE, path)
    others = {path.name for path in ROOT.iterdir()} - {path.partition("/")[0] for path in wanted}
    for path in (*others, "runs", "data/cifar", "tools/profile", "ebomlc_dist/cli/__pycache__", "tests/README.md"):
        assert not let_in(IGNORE, path), path
    assert let_in(IGNORE, "ebomlc_dist/cli/templates/job.sh")
    assert let_in(IGNORE.replace("*\n", "", 1), "tests/README.md")


def linux(python: str) -> dict[str, str]:
    return {"python_version": python, "python_full_version": f"{python}.2", "sys_platform": "linux"}


@pytest.mark.parametrize("python", PYTHONS)
def test_every_requirement_is_locked_with_a_hash(python: str) -> None:
    environment = linux(python)
    base = pins(LOCKS["base"], environment)
    assert missing(PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"], base) == []
    for extra in EXTRAS:
        added = pins(LOCKS[extra], environment)
        assert not added.keys() & base.keys()
        assert missing(PROJECT["project"]["optional-dependencies"][extra], base | added) == []
        assert all(pin.hashes for pin in added.values())
    assert all(pin.hashes for pin in base.values())


def test_a_gap_in_a_lock_is_seen() -> None:
    environment = linux("3.11")
    digest = "--hash=sha256:" + 64 * "0"
    lock = f"torch==2.15.0 \\\n    {digest}\nRich==12.0 ; python_version < '3.12' \\\n    {digest}\nnumpy==2.4.6\n"
    found = pins(lock, environment)
    assert missing(["torch>=2.10"], found) == []
    unmet = ["torch>=2.16", "rich>=13.9", "numpy", "scipy"]
    assert missing(unmet, found) == unmet
    with pytest.raises(ValueError, match="torch is pinned twice"):
        pins(lock + lock, environment)
    with pytest.raises(ValueError, match="rich has no exact version"):
        pins("rich>=13", environment)


@pytest.mark.parametrize("python", PYTHONS)
def test_without_cuda_nothing_but_cuda_is_left_out(python: str) -> None:
    """PyTorch is installed by uv, which is locked itself."""
    listed = subprocess.run([ROOT / "tools" / "without_cuda", "--list"], capture_output=True, text=True, check=True)
    environment = linux(python)
    base, kept = pins(LOCKS["base"], environment), pins(listed.stdout, environment)
    assert kept.items() <= base.items()
    assert all(pin.hashes for pin in kept.values())
    left_out = base.keys() - kept.keys()
    assert {"torch", "torchvision", "triton"} < left_out
    assert {name.partition("-")[0] for name in left_out} == {"torch", "torchvision", "triton", "nvidia", "cuda"}
    assert not [name for name in kept if name.startswith(("nvidia", "cuda"))]
    assert missing(["uv"], pins(LOCKS["uv"], environment)) == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_place_to_install_from(name: str) -> None:
    assert hosts(LOCKS[name]) == []


def test_a_place_to_install_from_is_seen() -> None:
    for line in (
        "--index-url https://packages.example/simple",
        "--find-links /wheels",
        "torch @ packages.example.org/t",
    ):
        assert hosts(line)
