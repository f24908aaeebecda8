"""``--help`` of a command with many flags, in groups.

The groups are typer's ``rich_help_panel``. They are shown as plain text: importing rich takes about as long as all else
that ``--help`` needs.
"""

from typing import Any

from typer.core import TyperCommand

_FIRST = ("Arguments", "Options")
PANELS = ("Data", "Noise", "Model", "Training", "Output", "Processes")


class GroupedCommand(TyperCommand):
    """A command whose help shows its options under the names of their panels, in the order of `PANELS`."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the groups."""
        groups: dict[str, list[tuple[str, str]]] = {name: [] for name in (*_FIRST, *PANELS)}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            own = _FIRST[parameter.param_type_name == "option"]
            if record is not None:
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or own, []).append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)
