"""Pages with a part that keeps itself fresh: htmx asks the same address again and gets that part alone."""

from typing import Any

from flask import render_template, request
from jinja2_fragments.flask import render_block


def page(template: str, block: str, **context: Any) -> str:
    """The whole page; only its block where htmx asks."""
    if request.headers.get("HX-Request") == "true":
        return render_block(template, block, **context)
    return render_template(template, **context)
