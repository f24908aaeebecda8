"""Where a check runs, and what every row of it is made of."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

State = Literal["done", "failed", "skipped"]


@dataclass(frozen=True)
class Place:
    """Where the check runs.

    Attributes:
        output: its result; work files lie beside it, under its name with ``.work``.
        data: folder of CIFAR-10, as the official files or as ``data DIR`` writes it; None: digits.
        device: ``cuda``, or ``cpu`` for a rehearsal.
    """

    output: Path
    data: Path | None
    device: str

    @property
    def work(self) -> Path:
        return self.output.with_suffix(".work")

    @property
    def rehearsal(self) -> bool:
        return self.device == "cpu"

    @property
    def patience(self) -> float:
        """By how much limits are longer: a CPU is slow."""
        return 20.0 if self.rehearsal else 1.0

    def folder(self, part: str) -> Path:
        """Where a part keeps its rows and files."""
        return self.work / part

    def text(self) -> str:
        """For the command line of a part's process."""
        return json.dumps({"output": str(self.output), "data": self.data and str(self.data), "device": self.device})

    @classmethod
    def of(cls, text: str) -> "Place":
        """The place that `text` stands for."""
        found = json.loads(text)
        return cls(Path(found["output"]), Path(found["data"]) if found["data"] else None, found["device"])


Take = Callable[[Place], Mapping[str, Any]]
"""Measures one row: its figures. Raises `InputError` for what this version refuses, `NotHeld` for a promise broken."""


class NotHeld(Exception):
    """What a row is there to show is not so."""


class Row(BaseModel):
    """One row of a part. ``reason``: why it failed or was skipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    seconds: float = 0.0
    reason: str = ""
    figures: dict[str, Any] = {}


class RowFile:
    """Rows as lines of JSON, each on the disk as soon as it is there.

    A row that begins has a line too, so that the one in which a process died is known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, name: str) -> None:
        """A row begins."""
        self._append({"begin": name})

    def end(self, name: str, row: Row) -> None:
        """A row is there."""
        self._append({"row": name, **row.model_dump()})

    def read(self) -> tuple[dict[str, Row], str | None, int]:
        """Rows by name; the one that began last and has no end, and how often it began."""
        rows: dict[str, Row] = {}
        begun: list[str] = []
        for line in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                found = json.loads(line)
            except ValueError:
                # The process ended within the line.
                continue
            if "begin" in found:
                begun.append(found["begin"])
            else:
                name = found.pop("row")
                rows[name] = Row.model_validate(found)
        last = begun[-1] if begun and begun[-1] not in rows else None
        return rows, last, 0 if last is None else begun.count(last)

    def _append(self, value: Mapping[str, Any]) -> None:
        # A line that was cut off stays a line of its own.
        start = "\n" if self.path.exists() and not self.path.read_bytes().endswith(b"\n") else ""
        with self.path.open("a") as file:
            file.write(start + json.dumps(value) + "\n")
