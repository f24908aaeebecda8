"""``python -m tools.options``: writes ``docs/options.md``: every key of a run, its values, default and meaning."""

from pathlib import Path

from pydantic.fields import FieldInfo

from ebomlc_dist.config import RunConfig, Section
from ebomlc_dist.fields import role
from ebomlc_dist.files.durable import write_bytes
from ebomlc_dist.keys import keys_of
from ebomlc_dist.methods import METHODS, method_class
from ebomlc_dist.recipes.described import default_of, in_words, values_of
from ebomlc_dist.recipes.flags import FLAGS, Flag

PAGE = Path(__file__).parents[1] / "docs" / "options.md"
HEAD = """# Every option

Keys of a run, as `ebomlc show-config` prints them. Each is set by `--set KEY=VALUE`, in a file for `--config`, or by
its flag where it has one; a recipe sets some of them. The role says what a key does to a run:

| role | meaning | may change on a resume |
|---|---|---|
| frame | decides the result | no |
| place | where something lies | yes |
| habit | how the run is carried out | yes |

This page is made by `python -m tools.options` from the configuration itself.
"""


def page() -> str:
    """The page, in Markdown."""
    parts = [HEAD]
    flags = {flag.key: flag for flag in FLAGS}
    known = keys_of("ebomlc")
    for name, field in RunConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            rows = {key: found for key, found in known.items() if key.startswith(f"{name}.")}
            parts.append(_section(f"`{name}`", _first_line(field.annotation), rows, flags))
    for method in METHODS:
        rows = {key: field for key, field in keys_of(method).items() if key.startswith("method.")}
        config = method_class(method).Config
        own = ", ".join(f"`optim.{key}` = {in_words(value)}" for key, value in config.optim_defaults.items())
        text = " ".join(filter(None, [_first_line(config), f"Defaults of its own: {own}." if own else ""]))
        parts.append(_section(f"`--method {method}`", text, rows, {}))
    return "\n".join(parts)


def _section(title: str, text: str, rows: dict[str, FieldInfo], flags: dict[str, Flag]) -> str:
    lines = [f"## {title}", "", text, ""]
    if rows:
        lines += ["| key | values | default | flag | role | |", "|---|---|---|---|---|---|"]
        lines += [_row(key, field, flags.get(key)) for key, field in rows.items()]
        lines.append("")
    return "\n".join(lines)


def _row(key: str, field: FieldInfo, flag: Flag | None) -> str:
    names = "" if flag is None else ", ".join(f"`{name}`" for name in flag.names)
    meaning = (field.description or "").replace("<", "&lt;")
    cells = (f"`{key}`", values_of(field.annotation, "`"), default_of(field), names, role(field).value, meaning)
    return f"| {' | '.join(cells)} |".replace("  ", " ")


def _first_line(of: type) -> str:
    return (of.__doc__ or "").strip().splitlines()[0]


if __name__ == "__main__":
    write_bytes(PAGE, page().encode())
