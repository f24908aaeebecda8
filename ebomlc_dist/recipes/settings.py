"""What somebody asked for: a key that there is, and a text turned into its value.

Types and limits come from the pydantic
models alone, so that a command line, a file and Python are held to the same rules and told of them in the same words.
"""

import json
import math
from dataclasses import dataclass
from typing import Annotated, Any, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ebomlc_dist.errors import InputError, nearest
from ebomlc_dist.keys import keys_of

_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))


@dataclass(frozen=True)
class Setting:
    """One value that somebody asked for.

    Attributes:
        key: dotted.
        value: a text as typed on a command line, or a plain value out of a file.
        source: who asked, in words a person recognises: ``--noise-rate``, ``--set``, ``run.yaml``.
    """

    key: str
    value: Any
    source: str


_SHORT = {"learning_rate": "lr", "bs": "batch_size", "wd": "weight_decay", "num_epochs": "epochs"}
"""What other programs call it."""


def check_known(setting: Setting, methods: tuple[str, ...]) -> None:
    """Raise `InputError` where no chosen method's run has this key."""
    # In the order of the configuration, which has the main model's keys before the meta model's.
    known = list(dict.fromkeys(key for method in methods for key in keys_of(method)))
    if setting.key in known:
        return
    if setting.key in ("method", "method.name"):
        raise InputError(f"the method is chosen by --method, not by {setting.source} {setting.key}=…")
    if any(key.startswith(f"{setting.key}.") for key in known):
        raise InputError(
            f"'{setting.key}' ({setting.source}) is a section of keys; set one of them: {setting.key}.<key>"
        )
    close = _closest(setting.key, known)
    raise InputError(
        f"unknown key '{setting.key}' ({setting.source}) for {', '.join(methods)}{close}; "
        "`ebomlc show-config` lists all keys"
    )


def _closest(key: str, known: list[str]) -> str:
    """What is meant, as `nearest` puts it: keys that end with the same word, such as ``lr``, before similar ones."""
    section, _, name = key.rpartition(".")
    name = _SHORT.get(name, name)
    ending = [other for other in known if other.rpartition(".")[2] == name or other.endswith(f"_{name}")]
    own = [other for other in ending if other.startswith(f"{section}.")] or ending
    if not own:
        return nearest(key, sorted(known))
    return f" (did you mean {' or '.join(repr(other) for other in own[:3])}?)"


def typed(setting: Setting, field: FieldInfo) -> Any:
    """The setting's value in its field's type. Raises `InputError` naming key, value and what is allowed.

    A text counts as it stands first; where that does not fit, as JSON (``null``, ``[0.5, 0.75]``) and as a list with
    commas (``0.5,0.75``).
    """
    if setting.value == "":
        raise InputError(f"{_shown(setting)}: must not be empty")
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    readings = _readings(setting.value, none_allowed=type(None) in get_args(field.annotation))
    first: ValidationError | None = None
    for reading in readings:
        try:
            value = adapter.validate_python(reading)
        except ValidationError as error:
            # A list's complaint about one of its items says more than "not a list" does.
            if first is None or (not first.errors()[0]["loc"] and error.errors()[0]["loc"]):
                first = error
            continue
        if any(isinstance(item, float) and not math.isfinite(item) for item in _items(value)):
            raise InputError(f"{_shown(setting)}: must be a finite number")
        return value
    assert first is not None
    raise InputError(f"{_shown(setting)}: {_complaint(first)}{_allowed(setting, field)}")


def explain(error: ValidationError) -> str:
    """One line for a rule that joins several keys."""
    return "; ".join(
        ": ".join([*(str(part) for part in item["loc"]), _sentence(item["msg"])]) for item in error.errors()
    )


def _readings(value: Any, none_allowed: bool) -> list[Any]:
    if not isinstance(value, str):
        return [value]
    if none_allowed and value == "null":
        return [None]
    readings: list[Any] = [value]
    try:
        readings.append(json.loads(value))
    except ValueError:
        readings.append([part.strip() for part in value.split(",") if part.strip()])
    else:
        readings.append([value])
    return readings


def _items(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _shown(setting: Setting) -> str:
    text = repr(setting.value) if isinstance(setting.value, str) else json.dumps(setting.value, ensure_ascii=False)
    return f"{setting.key} = {text if len(text) <= 80 else text[:80] + '…'} ({setting.source})"


def _complaint(error: ValidationError) -> str:
    return _sentence(error.errors()[0]["msg"])


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "must be", 1).partition(", unable to")[0]


def _allowed(setting: Setting, field: FieldInfo) -> str:
    limits = [
        f"{sign} {getattr(rule, name):g}" for rule in field.metadata for name, sign in _BOUNDS if hasattr(rule, name)
    ]
    if limits:
        return f"; allowed: {' and '.join(limits)}"
    words = [word for word in get_args(field.annotation) if isinstance(word, str)]
    return nearest(setting.value, words) if words and isinstance(setting.value, str) else ""
