"""Pictures to touch: one script and one style, and only where a page has some.

In a notebook each such picture carries them along. A page of the site gets them
from two files, which are those of the package.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

ASSETS = "backprop_lit/assets"
FILES = ("touch.css", "touch.js")
CARRIED = re.compile(r'<(style|script) class="touch-source">.*?</\1>', re.S)


def serve_assets(app: Sphinx, config: Any) -> None:
    """Copy the two files as they are."""
    config.html_static_path += [f"{ASSETS}/{name}" for name in FILES]


def load_once(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Take out what the pictures carry along, and load it once instead."""
    body, carried = CARRIED.subn("", context.get("body", ""))
    if carried:
        context["body"] = body
        app.add_css_file("touch.css")
        app.add_js_file("touch.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", serve_assets)
    app.connect("html-page-context", load_once)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
