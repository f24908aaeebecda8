"""The page of all options says what the configuration says."""

from ebomlc_dist.keys import keys_of
from ebomlc_dist.methods import METHODS
from tools.options import PAGE, page


def test_the_page_is_the_configurations_own() -> None:
    assert PAGE.read_text() == page(), "run `python -m tools.options`"


def test_every_key_stands_in_it() -> None:
    text = page()
    keys = {key for method in METHODS for key in keys_of(method) if "." in key}
    assert all(f"| `{key}` |" in text for key in keys)
    assert (
        "| `train.precision` | `no`, `tf32`, `bf16`, `fp16`, `auto` | no | `--precision`, `--mixed-precision` | frame |"
        in text
    )


def test_no_key_is_left_unexplained() -> None:
    rows = [line for line in page().splitlines() if line.startswith("| `")]
    assert [row for row in rows if row.endswith("| |")] == []
