"""Reads the image's files: the Dockerfile, what it leaves out, the locks."""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}(?!\S)")
_HOST = re.compile(r"\w+://|\b[\w-]+\.(?:org|com|io|net)\b|--(?:index|extra-index|find-links)")
ROOT_USERS = ("", "0", "root")


class Pin(NamedTuple):
    requirement: Requirement
    hashes: int


def joined(text: str) -> Iterator[str]:
    """Lines without comments, those that a backslash continues in one."""
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    yield from (" ".join(line.split()) for line in kept.replace("\\\n", " ").splitlines() if line.strip())


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile, in capitals, with its arguments."""
    return [(word.upper(), rest) for word, _, rest in (line.partition(" ") for line in joined(dockerfile))]


def copied(dockerfile: str) -> set[str]:
    """What the Dockerfile takes from the build context."""
    return {source for word, rest in instructions(dockerfile) if word == "COPY" for source in rest.split()[:-1]}


def objections(dockerfile: str) -> list[str]:
    """What keeps the image from being the one that is promised; nothing, where it is."""
    lines = instructions(dockerfile)
    found = []
    if [word for word, _ in lines].index("FROM") == 0 or ("FROM", "${BASE}") not in lines:
        found.append("the base cannot be chosen")
    users = [rest for word, rest in lines if word == "USER"]
    if not users or users[-1].partition(":")[0] in ROOT_USERS:
        found.append("runs as root")
    if not any(word == "HEALTHCHECK" and "ebomlc" in rest and "--version" in rest for word, rest in lines):
        found.append("says nothing of its health")
    for step in (step for word, rest in lines if word == "RUN" for step in re.split(r"&&|;", rest)):
        own = step.rstrip().endswith(" .")
        if "pip install" in step and not ("--no-deps" in step and (own or "--require-hashes" in step)):
            found.append("installs what no lock names")
        if "apt-get install" in step and "--no-install-recommends" not in step:
            found.append("installs what nobody asked for")
    return found


def let_in(ignore: str, path: str) -> bool:
    """Whether a file reaches the build: of the patterns that match it or a folder above it, the last one decides."""
    names = [path, *(str(parent) for parent in PurePosixPath(path).parents if parent.name)]
    answer = True
    for pattern in joined(ignore):
        expression = re.escape(pattern.removeprefix("!")).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*")
        if any(re.fullmatch(expression, name) for name in names):
            answer = pattern.startswith("!")
    return answer


def pins(lock: str, environment: Mapping[str, str]) -> dict[str, Pin]:
    """The pins of a lock that hold in an environment, by name.

    Raises ``ValueError`` for a name without one exact version, and for one that is pinned twice.
    """
    found: dict[str, Pin] = {}
    for line in joined(lock):
        requirement = Requirement(line.partition(" --hash")[0])
        if [clause.operator for clause in requirement.specifier] != ["=="]:
            raise ValueError(f"{requirement.name} has no exact version")
        if requirement.marker is not None and not requirement.marker.evaluate(dict(environment)):
            continue
        if (name := canonicalize_name(requirement.name)) in found:
            raise ValueError(f"{name} is pinned twice")
        found[name] = Pin(requirement, len(_HASH.findall(line)))
    return found


def missing(requirements: list[str], found: Mapping[str, Pin]) -> list[str]:
    """The requirements that no pin with a hash meets."""

    def met(requirement: Requirement) -> bool:
        pin = found.get(canonicalize_name(requirement.name))
        if pin is None or not pin.hashes:
            return False
        (version,) = (clause.version for clause in pin.requirement.specifier)
        return requirement.specifier.contains(version, prereleases=True)

    return [text for text in requirements if not met(Requirement(text))]


def hosts(lock: str) -> list[str]:
    """Names of machines, addresses and options that would tie a lock to one place to install from."""
    return _HOST.findall(lock)
