"""Rows of names and values: a panel on a terminal, plain lines elsewhere."""

import sys
from typing import TextIO

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text


def show_panel(rows: list[tuple[str, str]], stream: TextIO | None = None) -> None:
    """Show rows on ``stream`` (stderr). Values are shown as they are, never read as markup."""
    stream = stream or sys.stderr
    if not stream.isatty():
        for name, value in rows:
            print(f"{name + ':':<11}{value}", file=stream, flush=True)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value))
    Console(file=stream).print(Panel(table, expand=False))
