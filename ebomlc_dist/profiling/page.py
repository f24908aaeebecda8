"""A report as one HTML file that needs nothing else: no script, no network, readable on a small screen."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from ebomlc_dist.profiling.charts import bar_charts, line_charts
from ebomlc_dist.profiling.report import Report
from ebomlc_dist.profiling.tables import about, tables


def page(report: Report) -> str:
    """The page of a report. Every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("ebomlc_dist.profiling", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        about=about(report),
        bar_charts=bar_charts(report),
        line_charts=line_charts(report),
        tables=tables(report),
        setting=report.setting,
    )
