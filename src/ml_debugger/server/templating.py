"""The server's own pages as HTML."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["DOCS", "LOGIN", "MESSAGE", "RESULTS", "render"]

DOCS: Final = "docs.html.jinja"
LOGIN: Final = "login.html.jinja"
MESSAGE: Final = "message.html.jinja"
RESULTS: Final = "results.html.jinja"


def render(template: str, **values: Any) -> str:
    """A page; every value is escaped."""
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader

    return Environment(loader=PackageLoader("ml_debugger.server"), autoescape=True, trim_blocks=True)
