"""``python -m tools.api``: writes ``docs/api.md``: public names, their signatures and docstrings.

Needs the extra ``docs``. The source is read, not imported. Docstrings are in Google's form.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import griffe

import ebomlc_dist
from ebomlc_dist.files.durable import write_bytes

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"
HEAD = """# Python API

Everything that is meant to be used from Python. Shapes stand in brackets: N images, K classes.
What is not on this page may change.

This page is made by `python -m tools.api` from the docstrings.
"""
FOR_PLUG_INS = """## For plug-ins

What a method, a model or a data set of your own is made of ([how to add one](extending.md)).
"""
PLUG_INS = [
    "testing.method_contract.check_method",
    "testing.method_contract.ContractError",
    "methods.contract",
    "methods.method_config.MethodConfig",
    "numerics.network.gradients",
    "models.main_model.MainModel",
    "data.dataset.Source",
]
"""Objects; of a module, its public classes and functions."""
LINE = 100


def page() -> str:
    """The page, in Markdown."""
    package = griffe.load("ebomlc_dist", search_paths=[ROOT])
    parts = [HEAD, "## `ebomlc_dist`\n"]
    for name in sorted(ebomlc_dist._PUBLIC, key=_order):
        path = ebomlc_dist._PUBLIC[name].replace(":", ".")
        parts += _described(package[path], f"ebomlc_dist.{name}")
    parts.append(FOR_PLUG_INS)
    for path in PLUG_INS:
        found = package[path]
        for item in _public(found) if found.is_module else [found]:
            parts += _described(item, item.path)
    return "\n".join(parts)


def _order(name: str) -> tuple[bool, bool]:
    """Functions come first, errors last."""
    return name.endswith(("Error", "Fault")), name[0].isupper()


def _public(module: griffe.Object) -> list[griffe.Object]:
    own = [item for item in module.members.values() if not item.is_alias and not item.name.startswith("_")]
    return [item for item in own if item.is_class or item.is_function]


def _described(item: griffe.Object, title: str) -> Iterator[str]:
    """One object under its title, and the methods and properties of a class."""
    yield f"### `{title}`\n"
    yield from _text(item, title.rpartition(".")[2])
    for member in _public(item) if item.is_class else []:
        yield f"#### `{title.rpartition('.')[2]}.{member.name}`\n"
        yield from _text(member, member.name)
    if item.is_class:
        for member in item.members.values():
            if not member.is_alias and "property" in member.labels and not member.name.startswith("_"):
                yield f"#### `{title.rpartition('.')[2]}.{member.name}`\n"
                yield from _text(member, member.name)


def _text(item: griffe.Object, name: str) -> Iterator[str]:
    if item.is_function:
        yield f"```py\n{_signature(item, name)}\n```\n"
    elif item.is_class and item.bases:
        yield f"Bases: {', '.join(f'`{base}`' for base in item.bases)}\n"
    for section in item.docstring.parse("google", warnings=False) if item.docstring else []:
        if isinstance(section.value, str):
            yield f"{_markdown(section.value)}\n"
        else:
            yield f"{section.kind.value.replace('parameters', 'arguments').capitalize()}:\n"
            yield "\n".join(_entry(entry) for entry in section.value) + "\n"


def _entry(entry: griffe.DocstringElement) -> str:
    name, kind = getattr(entry, "name", None), str(entry.annotation) if entry.annotation else ""
    # "first, second: both of them" is read as a name and its type.
    names = ", ".join(f"`{part.rstrip(',')}`" for part in filter(None, [name or kind, name and kind]))
    return f"- {names}: {_markdown(' '.join(entry.description.split()))}" if names else f"- {entry.description}"


def _signature(function: griffe.Function, name: str) -> str:
    """The call, without `self`: on one line where that is short, else an argument a line."""
    arguments: list[str] = []
    for one in function.parameters:
        if one.name in ("self", "cls"):
            continue
        if one.kind is griffe.ParameterKind.keyword_only and "*" not in arguments and not _starred(arguments):
            arguments.append("*")
        stars = {griffe.ParameterKind.var_positional: "*", griffe.ParameterKind.var_keyword: "**"}.get(one.kind, "")
        kind = f": {one.annotation}" if one.annotation else ""
        default = f" = {one.default}" if one.default is not None and not stars else ""
        arguments.append(f"{stars}{one.name}{kind}{default}")
    returns = f" -> {function.returns}" if function.returns else ""
    line = f"{name}({', '.join(arguments)}){returns}"
    if len(line) <= LINE:
        return line
    return f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){returns}"


def _starred(arguments: list[str]) -> bool:
    return any(argument.startswith("*") for argument in arguments)


def _markdown(text: str) -> str:
    """reStructuredText's literals as Markdown's, and nothing that reads as HTML outside of them."""
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in re.split(r"(`[^`]*`)", text))


if __name__ == "__main__":
    write_bytes(PAGE, page().encode())
