"""The paper's Tables I and II, as `paper.json` has them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Setting = tuple[str, float]


@dataclass(frozen=True)
class PaperTable:
    """One table of the paper.

    Attributes:
        number: I or II.
        dataset: as this program calls it.
        accuracy: method → setting → test accuracy in per cent, mean over three seeds.
        average_rank: method → its mean rank over the settings.
    """

    number: str
    dataset: str
    accuracy: dict[str, dict[Setting, float]]
    average_rank: dict[str, float]


@dataclass(frozen=True)
class Paper:
    """What is known of the paper's experiments.

    Attributes:
        source: where the figures stand.
        frame: dotted key of a configuration → the paper's value; two where its text and its code disagree.
        frame_note: what of ``frame`` is not in its text.
        settings: (noise kind, noise rate), in the tables' order.
        methods: method → the paper's name for it, in the tables' order.
        tables: data set → its table.
    """

    source: str
    frame: dict[str, list[Any]]
    frame_note: str
    settings: tuple[Setting, ...]
    methods: dict[str, str]
    tables: dict[str, PaperTable]

    def differences(self, config: Mapping[str, Any]) -> dict[str, tuple[Any, list[Any]]]:
        """Keys in which a run's configuration is not the paper's: key → (ours, the paper's)."""
        return {
            key: (config[key], values)
            for key, values in self.frame.items()
            if key in config and config[key] not in values
        }


@cache
def paper() -> Paper:
    """The figures, read once."""
    value = json.loads((files(__package__) / "paper.json").read_text(encoding="utf-8"))
    settings = tuple((setting["noise.kind"], setting["noise.rate"]) for setting in value["settings"])
    tables = {
        table["dataset"]: PaperTable(
            table["number"],
            table["dataset"],
            {method: dict(zip(settings, row, strict=True)) for method, row in table["accuracy"].items()},
            table["average_rank"],
        )
        for table in value["tables"]
    }
    return Paper(value["source"], value["frame"], value["frame_note"], settings, value["methods"], tables)
