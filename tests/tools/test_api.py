"""The page of the Python API says what the docstrings say."""

import pytest

import ebomlc_dist

pytest.importorskip("griffe", reason="the documentation's tools are not installed: pip install -e '.[docs]'")

from tools.api import PAGE, page


@pytest.fixture(scope="module")
def text() -> str:
    return page()


def test_the_page_is_the_docstrings_own(text: str) -> None:
    assert PAGE.read_text() == text, "run `python -m tools.api`"


def test_everything_public_stands_in_it(text: str) -> None:
    public = [f"### `ebomlc_dist.{name}`\n" for name in ebomlc_dist.__all__ if name != "__version__"]
    assert [title for title in public if title not in text] == []
    assert "- `trusted`, `Values | None`: indices (Nc,) of images whose label is right" in text
    assert "#### `TrainedRun.find_label_issues`\n\n```py\nfind_label_issues() -> LabelIssues\n```\n" in text
    assert "    *,\n    method: str = 'ebomlc-s',\n" in text


def test_nothing_is_left_unexplained(text: str) -> None:
    """A title and a signature are followed by a sentence."""
    blocks = text.split("\n### ")[1:]
    parts = [part for block in blocks for part in block.split("\n#### ")]
    without_code = {part.splitlines()[0]: "".join(part.split("```")[::2]) for part in parts}
    bare = [
        title
        for title, prose in without_code.items()
        if not [line for line in prose.splitlines()[1:] if line and not line.startswith("Bases")]
    ]
    assert bare == []
