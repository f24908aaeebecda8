"""Which table, row and column each run belongs to, found in the configurations alone.

A key that decides a result and varies among the runs of one method is a setting. Those of data, model and training part
the tables; those of noise and optimisers are columns. A method's own key that varies within a column makes rows of
their own; one that goes with the column (a forget rate that follows the noise rate) does not. A key that has one value
throughout, and not the one that the recipe gives it, is named as well: figures of a variant never stand under the bare
name. A row with the recipe's values bears the method's name alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ebomlc_dist.config import RunConfig
from ebomlc_dist.errors import InputError
from ebomlc_dist.keys import common_keys, plain, sets_apart, since_before
from ebomlc_dist.methods import METHODS, config_from_mapping
from ebomlc_dist.recipes.assemble import Request, resolve
from ebomlc_dist.reports.paper_tables.paper import paper
from ebomlc_dist.sweeps.store import Listed, Result

_TABLES = ("data.", "model.", "train.")
NOISE_KEYS = ("noise.kind", "noise.rate")
_NOISE_ORDER = ("none", "uniform", "flip", "matrix", "human")
Values = tuple[tuple[str, Any], ...]


@dataclass(frozen=True)
class Row:
    """A method, with the values of its own keys that tell it from its other rows; none where all are usual."""

    method: str
    variant: Values = ()

    @property
    def label(self) -> str:
        """As a person reads it."""
        return self.method + (f" ({shown(self.variant, 'method.')})" if self.variant else "")


@dataclass(frozen=True)
class Column:
    """A setting: the values of the keys that vary from column to column."""

    values: Values

    @property
    def noise(self) -> tuple[str, float]:
        """Kind and rate."""
        found = dict(self.values)
        return found["noise.kind"], found["noise.rate"]

    @property
    def label(self) -> str:
        """As a person reads it."""
        kind, rate = self.noise
        rest = tuple((key, value) for key, value in self.values if key not in NOISE_KEYS)
        noise = f"{kind} {100 * rate:g} %" if kind in ("uniform", "flip") else kind
        return ", ".join([noise, *([shown(rest)] if rest else [])])


@dataclass(frozen=True)
class Placed:
    """A cell in its place; ``result`` is None where it has none."""

    table: Values
    row: Row
    column: Column
    seed: int
    config: Mapping[str, Any]
    result: Result | None


def place(listed: Iterable[Listed], results: Iterable[Result]) -> list[Placed]:
    """Every cell that a grid lists or that has a result, in its place."""
    found = {result.key: result for result in results}
    stored = {cell.key: cell.config for cell in listed} | {key: result.config for key, result in found.items()}
    configs = {key: since_before(config) for key, config in stored.items()}
    varying = _varying(configs.values())
    table_keys = [key for key in common_keys() if key.startswith(_TABLES) and key in varying | {"data.dataset"}]
    column_keys = [*NOISE_KEYS, *sorted(varying - {*table_keys, *NOISE_KEYS})]
    places = {
        key: (_values(config, table_keys), Column(_values(config, column_keys))) for key, config in configs.items()
    }
    own = _own_keys(configs, places)
    return [
        Placed(
            *(places[key][0], _row(config, own[config["method.name"]])),
            column=places[key][1],
            seed=config["seeds.seed"],
            config=config,
            result=found.get(key),
        )
        for key, config in configs.items()
    ]


def ordered_rows(rows: Iterable[Row]) -> list[Row]:
    """The paper's methods as in its tables, then the others as they are registered."""
    order = {name: rank for rank, name in enumerate(dict.fromkeys([*paper().methods, *METHODS]))}
    return sorted(
        set(rows), key=lambda row: (order.get(row.method, len(order)), row.method, bool(row.variant), str(row.variant))
    )


def ordered_columns(columns: Iterable[Column]) -> list[Column]:
    """By noise kind and rate, then by what else varies."""

    def rank(column: Column) -> tuple[int, float, list[tuple[str, Any]]]:
        kind, rate = column.noise
        place = _NOISE_ORDER.index(kind) if kind in _NOISE_ORDER else len(_NOISE_ORDER)
        rest = [
            (key, (not _is_number(value), value if _is_number(value) else str(value))) for key, value in column.values
        ]
        return place, rate, rest

    return sorted(set(columns), key=rank)


def shown(values: Values, prefix: str = "") -> str:
    """``key=value, key=value``."""
    return ", ".join(f"{key.removeprefix(prefix)}={_value(value)}" for key, value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _value(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _varying(configs: Iterable[Mapping[str, Any]]) -> set[str]:
    """Keys, but a method's own and draws, that decide a result and have several values among the runs of one method."""
    common = common_keys()
    seen: dict[tuple[str, str], set[Any]] = {}
    for config in configs:
        for key, value in config.items():
            if not key.startswith("method.") and sets_apart(common.get(key)):
                seen.setdefault((config["method.name"], key), set()).add(_fixed(value))
    return {key for (_, key), values in seen.items() if len(values) > 1}


def _own_keys(
    configs: Mapping[str, Mapping[str, Any]], places: Mapping[str, tuple[Values, Column]]
) -> dict[str, list[str]]:
    """Method → its own keys that vary within one table's column, or have one value throughout and not the usual one."""
    seen: dict[tuple[str, str, Any], set[Any]] = {}
    every: dict[tuple[str, str], set[tuple[Any, bool]]] = {}
    for key, config in configs.items():
        method, usual = str(config["method.name"]), _usual(config)
        for name, value in config.items():
            if name.startswith("method.") and name != "method.name":
                seen.setdefault((method, name, places[key]), set()).add(_fixed(value))
                every.setdefault((method, name), set()).add((_fixed(value), _fixed(value) == usual.get(name, value)))
    own: dict[str, list[str]] = {config["method.name"]: [] for config in configs.values()}
    varying = {(method, name) for (method, name, _), values in seen.items() if len(values) > 1}
    for method, name in every:
        if (method, name) in varying or [as_usual for _, as_usual in every[method, name]] == [False]:
            own[method].append(name)
    return own


def _row(config: Mapping[str, Any], own: Sequence[str]) -> Row:
    method, variant = str(config["method.name"]), _values(config, own)
    usual = _usual(config) if variant else {}
    return Row(method, () if variant and all(usual.get(key) == value for key, value in variant) else variant)


def _usual(config: Mapping[str, Any]) -> Mapping[str, Any]:
    return _usual_of(str(config.get("recipe")), str(config["method.name"]))


@cache
def _usual_of(recipe: str, method: str) -> dict[str, Any]:
    """A method's own keys and their values where nobody sets them; none of a method that is not registered."""
    if method not in METHODS:
        return {}
    try:
        values = plain(resolve(Request(recipe=recipe, methods=(method,)))[0].config)
    except InputError:
        # A recipe of another program, or of another version.
        values = plain(RunConfig(method=config_from_mapping({"name": method})))
    return {key: _fixed(value) for key, value in values.items() if key.startswith("method.")}


def _values(config: Mapping[str, Any], keys: Iterable[str]) -> Values:
    return tuple((key, _fixed(config.get(key))) for key in keys)


def _fixed(value: Any) -> Any:
    """A value that can be compared and counted."""
    return tuple(_fixed(item) for item in value) if isinstance(value, list) else value
