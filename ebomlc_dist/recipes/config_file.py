"""A configuration read from a file: the ``config.json`` of a run folder, or a few keys in YAML."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from ebomlc_dist.errors import InputError
from ebomlc_dist.files.reading import read_bytes
from ebomlc_dist.files.safe_json import MAX_BYTES, MAX_DEPTH, parse_json

_YAML = (".yaml", ".yml")


def read_config_file(path: Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file (by its ending). Raises `InputError` in one line.

    YAML is read without tags and without aliases, which can blow a small file up to gigabytes. Its scalars stay text
    and get their types from their keys, as on a command line: ``precision: no`` is the word, not false.
    """
    data = read_bytes(path, MAX_BYTES)
    value = _parse_yaml(data, path) if path.suffix.lower() in _YAML else parse_json(data, str(path))
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{path} must hold a mapping of sections, as `ebomlc show-config` prints it")
    return value


class _PlainLoader(yaml.BaseLoader):
    """YAML that stands for what it says: no tags, no aliases, no key twice, a bounded depth."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ConstructorError(None, None, "aliases are not accepted", self.peek_event().start_mark)
        if self._depth >= MAX_DEPTH:
            raise ConstructorError(None, None, f"nested deeper than {MAX_DEPTH}", self.peek_event().start_mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        found = super().construct_mapping(node, deep=deep)
        if len(found) < len(node.value):
            raise ConstructorError(None, None, "a key stands twice in one mapping", node.start_mark)
        return found


def _parse_yaml(data: bytes, path: Path) -> Any:
    try:
        return yaml.load(data, Loader=_PlainLoader)  # noqa: S506 — builds text, lists and mappings only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise InputError(f"{path} is not accepted as YAML: {problem}{place}") from None
