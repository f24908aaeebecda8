"""A template as one HTML file that needs nothing else, and trusts no name that stands in it.

Text goes through jinja2's autoescape. The content security policy allows the page's own style by its hash, and nothing
else: no script, no connection.
"""

import base64
import hashlib
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(package: str, template: str, **values: Any) -> str:
    """The page of ``template`` in the folder ``templates`` of ``package``, which may extend ``page.html.j2``."""
    shared = PackageLoader("ebomlc_dist.pages", "templates")
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates"), shared]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["shown"] = visible
    style = Markup(shared.get_source(environment, "page.css")[0].strip())
    return environment.get_template(template).render(style=style, style_hash=source_hash(style), **values)


def visible(text: str) -> str:
    """A name with what cannot be seen, or turns the writing round, shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def source_hash(text: str) -> str:
    """A style or script as the content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
