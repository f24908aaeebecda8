"""Everything known of a setting in one place: its help, its flag and its role.

A field of the configuration is declared by `frame`, `place` or `habit`, which name its role:

- *frame*: it decides a result. A resumed run must have the same value, and runs that differ in it are no one series.
- *place*: where something lies.
- *habit*: how a run is carried out. Places and habits may change when a run is resumed, and set no runs apart.

Flags, ``docs/options.md``, and what a resume, a figure, a table and a sweep look at are derived from these
declarations.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

ALWAYS = PydanticUndefined
"""`About.before` of a key that every stored run and cell has."""


class Role(StrEnum):
    """What a setting does to a run."""

    FRAME = "frame"
    PLACE = "place"
    HABIT = "habit"


@dataclass(frozen=True)
class About:
    """What is declared of a field beside its type, limits, default and help.

    Attributes:
        role: see the module.
        flags: its names on the command line, the usual one first; empty for none.
        also: further names that are accepted there, and not shown.
        metavar: stands for the flag's value in ``--help``; None for one that follows from the type.
        panel: of ``--help``; None for the section's own.
        before: what runs were made with that were stored before the key existed; `ALWAYS` for the first keys.
        draw: a seed, or what takes the place of one: runs of one series may differ in it.
        cost: the time of a run depends on it.
        keyed: names of stored cells contain it although it decides nothing.
    """

    role: Role
    flags: tuple[str, ...] = ()
    metavar: str | None = None
    panel: str | None = None
    before: Any = ALWAYS
    draw: bool = False
    cost: bool = False
    keyed: bool = False
    also: tuple[str, ...] = ()


def frame(
    default: Any,
    help: str,
    *flags: str,
    metavar: str | None = None,
    panel: str | None = None,
    before: Any = ALWAYS,
    draw: bool = False,
    cost: bool = False,
    also: tuple[str, ...] = (),
    **limits: Any,
) -> Any:
    """Declare a setting that decides a result; see `About`. ``limits`` are pydantic's, such as ``ge=0``."""
    return _field(default, help, About(Role.FRAME, flags, metavar, panel, before, draw, cost, also=also), limits)


def place(
    default: Any, help: str, *flags: str, metavar: str | None = None, panel: str | None = None, **limits: Any
) -> Any:
    """Declare a setting that says where something lies. It stands in no cell's name, so it may come at any time."""
    return _field(default, help, About(Role.PLACE, flags, metavar, panel), limits)


def habit(
    default: Any,
    help: str,
    *flags: str,
    metavar: str | None = None,
    panel: str | None = None,
    keyed: bool = False,
    **limits: Any,
) -> Any:
    """Declare a setting that says how a run is carried out. It may come at any time, as a place may."""
    return _field(default, help, About(Role.HABIT, flags, metavar, panel, keyed=keyed), limits)


def shared(help: str, **limits: Any) -> Any:
    """Declare a frame without its default, for a type that several methods share: ``Annotated[…, shared("…")]``."""
    return frame(PydanticUndefined, help, **limits)


def about(field: FieldInfo) -> About | None:
    """Return what was declared of a field; None for one that was declared by pydantic alone."""
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or not isinstance(found := extra.get("about"), dict):
        return None
    known: dict[str, Any] = dict(found)
    return About(**{**known, "role": Role(known["role"]), "flags": tuple(known["flags"]), "also": tuple(known["also"])})


def role(field: FieldInfo | None) -> Role:
    """Return a field's role. What is not known, such as a plug-in's undeclared field, is taken to decide a result."""
    found = None if field is None else about(field)
    return Role.FRAME if found is None else found.role


def before(field: FieldInfo) -> Any:
    """Return `About.before` of a field."""
    found = about(field)
    return ALWAYS if found is None else found.before


def _field(default: Any, help: str, what: About, limits: dict[str, Any]) -> Any:
    # As plain values, which a JSON schema of the configuration holds too.
    plain = asdict(what) | {"role": what.role.value, "flags": list(what.flags), "also": list(what.also)}
    if what.before is ALWAYS:
        del plain["before"]
    return Field(default, description=help, json_schema_extra={"about": plain}, **limits)
