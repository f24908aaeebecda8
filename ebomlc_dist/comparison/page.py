"""The page that compares runs: one file, no script, no network, readable on a small screen and by keyboard."""

from collections.abc import Sequence

from ebomlc_dist.comparison.curves import line_charts
from ebomlc_dist.comparison.tables import cost, cost_chart, heats, named, scores, settings_that_differ, warnings
from ebomlc_dist.pages.templating import render, visible
from ebomlc_dist.reporting.finished import FinishedRun


def page(runs: Sequence[FinishedRun]) -> str:
    """The page of these runs, in their order. Every name in it is escaped."""
    by_name = named(list(runs))
    return render(
        "ebomlc_dist.comparison",
        "comparison.html.j2",
        folders=[(name, visible(str(run.folder))) for name, run in by_name.items()],
        warnings=warnings(by_name),
        scores=scores(by_name),
        settings=settings_that_differ(by_name),
        line_charts=line_charts(by_name),
        heats=heats(by_name),
        cost=cost(by_name),
        cost_chart=cost_chart(by_name),
    )
