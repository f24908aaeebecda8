"""A grid: which runs a sweep is made of, said in recipes, methods, seeds and settings.

Written in YAML, in JSON, or as what a Python function returns; every form holds the same keys:

    summary: learning rates on digits
    parts:
      - recipes: [digits]
        methods: [ebomlc, ce]            # the recipes' own where it is left out
        seeds: [0, 1, 2]
        set: {train.epochs: 20}          # in every cell
        over: {optim.main_lr: [0.02, 0.05], model.norm: [batch, group]}   # every combination
        cases:                           # settings that belong together
          - {noise.kind: uniform, noise.rate: 0.2}
          - {noise.kind: flip, noise.rate: 0.4}

A grid of a single part may leave ``parts`` out.
"""

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ebomlc_dist.errors import InputError

Settings = dict[str, Any]
Seed = Annotated[int, Field(ge=0)]


def _several(value: Any) -> Any:
    """One name where a list is asked for."""
    return value.split(",") if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_several)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Part(_Model):
    """A block of runs: every recipe × method × case × combination × seed.

    Attributes:
        recipes: names as `ebomlc train` takes them.
        methods: None for those of each recipe.
        seeds: of everything, `seeds.seed`.
        set: dotted key → value in every run; a key that a method does not have is left out for it.
        over: dotted key → values; every combination is a run.
        cases: settings that go together; each case is a run.
    """

    recipes: Names
    methods: Names | None = None
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), BeforeValidator(_several)] = (0,)
    set: Settings = {}
    over: Annotated[dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]], Field()] = {}
    cases: Annotated[tuple[Settings, ...], Field(min_length=1)] = ({},)

    def settings(self) -> Iterator[Settings]:
        """Return what each case and combination sets beyond ``set``."""
        for case in self.cases:
            for values in product(*self.over.values()):
                yield case | dict(zip(self.over, values, strict=True))


class Grid(_Model):
    """A named collection of parts."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    summary: str = ""
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]


def grid_from(value: Any, source: str, name: str) -> Grid:
    """Return a grid from plain values, as a file or a function gives them.

    Args:
        value: a mapping of the module's docstring, or a finished `Grid`.
        source: who says so, for messages.
        name: the grid's, where the value has none.

    Raises:
        InputError: it is no grid; says where.
    """
    if isinstance(value, Grid):
        return value
    if not isinstance(value, dict):
        raise InputError(f"{source} must give a mapping with recipes, methods, seeds …, or a Grid")
    own = {key: value[key] for key in ("name", "summary", "parts") if key in value}
    rest = {key: item for key, item in value.items() if key not in own}
    if "parts" not in own:
        own["parts"] = [rest]
    elif rest:
        raise InputError(f"{source}: {', '.join(map(str, rest))} beside parts; put it into one of them")
    try:
        return Grid.model_validate({"name": name} | own)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].replace("Input should be", "must be", 1).replace("Extra inputs are not permitted", "")
        known = "" if message else f"is no key of a grid; known: {', '.join(Part.model_fields)}"
        raise InputError(f"{source}: {place}: {message or known}") from None
