"""A report as one HTML file that needs nothing else: no script, no network, readable on a small screen."""

from ebomlc_dist.pages.templating import render
from ebomlc_dist.profiling.charts import bar_charts, line_charts
from ebomlc_dist.profiling.report import Report
from ebomlc_dist.profiling.tables import about, tables


def page(report: Report) -> str:
    """The page of a report. Every text in it is escaped."""
    return render(
        "ebomlc_dist.profiling",
        "profile.html.j2",
        about=about(report),
        bar_charts=bar_charts(report),
        line_charts=line_charts(report),
        tables=tables(report),
        setting=report.setting,
    )
