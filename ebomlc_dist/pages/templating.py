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
    environment = templates_of(package, "ebomlc_dist.pages", autoescape=True)
    environment.filters["shown"] = visible
    style = source_of(environment, "page.css")
    return environment.get_template(template).render(style=style, style_hash=source_hash(style), **values)


def templates_of(*packages: str, **options: Any) -> Environment:
    """The files in the folders ``templates`` of ``packages``; the first that has a name serves it.

    A value that a template asks for and is not given raises jinja2's ``UndefinedError``.

    Args:
        packages: dotted names.
        options: further ones of jinja2's ``Environment``, of which ``autoescape`` is off without it.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates") for package in packages]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )


def source_of(environment: Environment, name: str) -> Markup:
    """A style or a script among the templates, as it stands in its file."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0].strip())


def visible(text: str) -> str:
    """A name with what cannot be seen, or turns the writing round, shown as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def source_hash(text: str) -> str:
    """A style or script as the content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
