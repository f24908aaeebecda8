"""The dotted keys of a run configuration, such as ``noise.rate``, and what each of them means for a run.

A method's own settings are ``method.<key>``. All of it follows from the declarations of the fields
(`ebomlc_dist.fields`).
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from ebomlc_dist.config import RunConfig, Section
from ebomlc_dist.fields import ALWAYS, Role, about, before, role
from ebomlc_dist.methods import METHODS, method_class


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Yield the name and the class of each section but the method's, in order."""
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation


@cache
def common_keys() -> Mapping[str, FieldInfo]:
    """Return every key that runs of all methods have, with its field. Imports no torch."""
    found = {key: field for key, field in RunConfig.model_fields.items() if key == "recipe"}
    for name, section in sections():
        found |= {f"{name}.{key}": field for key, field in section.model_fields.items()}
    return found


def keys_of(method: str) -> dict[str, FieldInfo]:
    """Return every key of a run with this method, with its field.

    ``method.name`` is not one: a method is chosen, not set.
    """
    own = method_class(method).Config.model_fields
    common = dict(common_keys())
    recipe = {"recipe": common.pop("recipe")}
    return recipe | {f"method.{key}": field for key, field in own.items() if key != "name"} | common


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested sections as dotted keys."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found.update(
            {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, Mapping) else {name: value}
        )
    return found


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inverse of `flatten`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        section, dot, name = key.partition(".")
        if dot:
            found.setdefault(section, {})[name] = value
        else:
            found[key] = value
    return found


def plain(model: BaseModel) -> dict[str, Any]:
    """Return a configuration as dotted keys and plain JSON values."""
    return flatten(model.model_dump(mode="json"))


def changed(stored: Mapping[str, Any], asked: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return the keys, in order, that decide a result and whose values differ, as (stored, asked).

    Args:
        stored: dotted keys of a run, which may be older than some keys.
        asked: the run that is asked for.
    """
    values, fields = plain(asked), keys_of(asked.method.name)
    stored = since_before(stored, fields)
    return {
        key: (stored.get(key), values.get(key))
        for key in sorted(stored.keys() | values.keys())
        if role(fields.get(key)) is Role.FRAME and stored.get(key) != values.get(key)
    }


def compared(config: RunConfig) -> dict[str, Any]:
    """Return what runs of one series have in common: all that decides a result, but its draws."""
    fields = keys_of(config.method.name)
    return {key: value for key, value in plain(config).items() if sets_apart(fields.get(key))}


def sets_apart(field: FieldInfo | None) -> bool:
    """Return whether runs that differ in this field measure something else."""
    found = None if field is None else about(field)
    return role(field) is Role.FRAME and not (found is not None and found.draw)


def deciding(config: RunConfig) -> dict[str, Any]:
    """Return the keys and values that name a cell: a result is the same whatever folder the data lay in.

    Keys that are younger than stored cells are left out where they say what such a cell was made with.
    """
    fields = keys_of(config.method.name)
    return {key: value for key, value in plain(config).items() if _names_a_cell(fields.get(key), value)}


def since_before(values: Mapping[str, Any], fields: Mapping[str, FieldInfo] | None = None) -> dict[str, Any]:
    """Return dotted keys of a stored run with the younger keys that it lacks, as it was made with them.

    Args:
        values: the stored keys, ``method.name`` among them.
        fields: `keys_of` its method; None looks them up.
    """
    if fields is None:
        # By registered names alone: a stored file must not choose what is imported.
        method = str(values.get("method.name"))
        fields = keys_of(method) if method in METHODS else common_keys()
    return {key: before(field) for key, field in fields.items() if before(field) is not ALWAYS} | dict(values)


def cost_keys() -> tuple[str, ...]:
    """Return the common keys that the time of a run depends on, in order."""
    return tuple(key for key, field in common_keys().items() if (found := about(field)) is not None and found.cost)


def _names_a_cell(field: FieldInfo | None, value: Any) -> bool:
    found = None if field is None else about(field)
    if found is None:
        return True
    return (found.role is Role.FRAME or found.keyed) and (found.before is ALWAYS or found.before != value)
