"""A configuration file may come from a stranger: it is refused in one line, at once and within memory."""

from pathlib import Path

import pytest

from ebomlc_dist.errors import InputError
from ebomlc_dist.recipes.config_file import read_config_file

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_plain_yaml_is_text_lists_and_mappings(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("a: no\nb: [1, 2020-01-01]\nc: {d: 1:30}\n")
    assert read_config_file(file) == {"a": "no", "b": ["1", "2020-01-01"], "c": {"d": "1:30"}}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("c.yaml", BOMB, "aliases are not accepted"),
        ("c.yaml", "a: 1\na: 2", "stands twice"),
        ("c.yaml", f"a: {'[' * 5000}{']' * 5000}", "nested deeper"),
        ("c.yaml", "a: [", "not accepted as YAML"),
        ("c.yaml", "- a", "must hold a mapping"),
        ("c.yaml", "", "must hold a mapping"),
        ("c.yaml", "a: \x07", "not accepted as YAML"),
        ("c.yaml", "? [a]\n: b", "not accepted as YAML"),
        ("c.json", '{"a": 1, "a": 2}', "stands twice"),
        ("c.json", '{"a": NaN}', "NaN"),
        ("c.json", "[1]", "must hold a mapping"),
        ("c.json", "{", "not JSON"),
    ],
)
def test_a_hostile_or_broken_file_is_one_line(name: str, text: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read_config_file(file)
    assert "\n" not in str(error.value)


def test_a_tag_builds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(f"a: !!python/object/apply:pathlib.Path.touch ['{tmp_path}/pwned']")
    read_config_file(file)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("name", ["missing.json", "folder.json"])
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InputError, match=name):
        read_config_file(tmp_path / name)
