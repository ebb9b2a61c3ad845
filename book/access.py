"""What pages lack for some of their readers, mended as they are written.

Sphinx and its extensions leave some HTML that is not valid, or that a screen reader
or a keyboard stumbles over. Each mend says what it is for; a page without the fault
passes through unchanged.
"""

from __future__ import annotations

import functools
import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

Mend = Callable[[str], str]


# What stands in the head ---------------------------------------------------------

DESCRIPTIONS = {
    "genindex": "Every name of the package and every term of the book, from A to Z.",
    "search": "Search the book: its words, its terms and the names in its code.",
}
LONGEST = 300  # characters of a description; search engines show about half


def promise(doctree: nodes.document | None) -> str:
    """The one-line promise of a page, or its first paragraph."""
    if doctree is None:
        return ""
    quote = next(doctree.findall(nodes.block_quote), None)
    first = next(doctree.findall(nodes.paragraph), None)
    found = quote if quote is not None else first
    words = " ".join(found.astext().split()) if found is not None else ""
    return words if len(words) <= LONGEST else words[:LONGEST].rsplit(" ", 1)[0] + " …"


def describe(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Keep what search engines are told of the page until it is written."""
    context["description"] = DESCRIPTIONS.get(page) or promise(doctree)


DESCRIPTION = re.compile(r'<meta name="description"[^>]*>\s*')


def with_description(page: str, words: str) -> str:
    """Say in the head, once, what the page is about."""
    tag = f'<meta name="description" content="{html.escape(words)}">\n'
    return DESCRIPTION.sub("", page).replace("<title>", tag + "<title>", 1)


STYLE = re.compile(r"<style\b[^>]*>.*?</style>\s*", re.S)


def lift_styles(page: str) -> str:
    """Styles that outputs bring along stand in the head, once each."""
    head, end, body = page.partition("</head>")
    styles = dict.fromkeys(style.strip() for style in STYLE.findall(body))
    return head + "\n".join(styles) + end + STYLE.sub("", body) if styles else page


# What stands in the body ---------------------------------------------------------

SUMMARY = re.compile(
    r'<summary aria-label="Toggle hidden content">(.*?)</summary>', re.S
)


def plain_summaries(page: str) -> str:
    """A fold is named by the words on it; these are spans, for HTML's sake."""
    return SUMMARY.sub(
        lambda match: (
            "<summary>"
            + match[1].replace("<p ", "<span ").replace("</p>", "</span>")
            + "</summary>"
        ),
        page,
    )


LISTED = re.compile(
    r"<p>(<(ul|ol|dl)\b(?:(?!</?\2\b|</?p>\s*</p>).)*</\2>)\s*</p>", re.S
)


def lists_outside_paragraphs(page: str) -> str:
    """A paragraph holds no list: Sphinx puts one there in a field of a docstring."""
    return LISTED.sub(r"\1", page)


SCOPE = re.compile(r"""\s*scope=["']?\w+["']?""")
EMPTY_HEADER = re.compile(r"<th\b([^>]*)>(?:\s|<p>\s*</p>|&#160;)*</th>")


def corners(page: str) -> str:
    """The empty corner of a table heads nothing."""
    return EMPTY_HEADER.sub(lambda m: f"<td{SCOPE.sub('', m[1])}></td>", page)


HEADER = re.compile(r"(</?thead\b)|<th\b(?![^>]*\bscope=)")


def scopes(page: str) -> str:
    """A header says whether it heads a column or a row."""
    inside = False

    def scope(match: re.Match[str]) -> str:
        nonlocal inside
        if match[1]:
            inside = match[1] == "<thead"
            return match[0]
        return f'<th scope="{"col" if inside else "row"}"'

    return HEADER.sub(scope, page)


def listed_works(page: str) -> str:
    """ARIA has given up the role that docutils gives the works of a bibliography."""
    return page.replace('role="doc-biblioentry"', 'role="listitem"')


MENDS: tuple[Mend, ...] = (
    lift_styles,
    plain_summaries,
    lists_outside_paragraphs,
    corners,
    scopes,
    listed_works,
)


def mend(page: str) -> str:
    """Apply every mend."""
    for one in MENDS:
        page = one(page)
    return page


# Where it is done ----------------------------------------------------------------


def mend_pages(app: Sphinx) -> None:
    """Let whole pages pass through the mends on their way to the disk."""
    templates: Any = getattr(app.builder, "templates", None)
    if app.builder.name != "html" or templates is None:
        return
    render = templates.render

    @functools.wraps(render)
    def mended(template: str, context: dict[str, Any]) -> str:
        page: str = render(template, context)
        if "</head>" not in page:
            return page
        return with_description(mend(page), context.get("description", ""))

    templates.render = mended


FRONT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="description" content="{description}">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={first}">{canonical}
</head>
<body>
<main><h1>{title}</h1><p><a href="{first}">To the book</a></p></main>
</body>
</html>
"""


def write_front(app: Sphinx, error: Exception | None) -> None:
    """The site's address leads to the landing page, as a page of its own right."""
    if error or app.builder.name != "html" or app.config.root_doc == "index":
        return
    first = app.builder.get_target_uri(app.config.root_doc)
    values = {
        "title": app.config.html_title,
        "description": promise(app.env.get_doctree(app.config.root_doc)),
        "first": first,
    }
    told = {name: html.escape(text) for name, text in values.items()}
    base = html.escape(app.config.html_baseurl or "")
    canonical = f'\n<link rel="canonical" href="{base}{first}">' if base else ""
    page = FRONT.format(canonical=canonical, **told)
    Path(app.outdir, "index.html").write_text(page, "utf8")


def one_description(app: Sphinx, config: Any) -> None:
    """The description is ours also where social cards are wanted."""
    if "ogp_enable_meta_description" in config:
        config.ogp_enable_meta_description = False


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_css_file("access.css")
    app.add_js_file("access.js", loading_method="defer")
    app.connect("config-inited", one_description)
    app.connect("builder-inited", mend_pages)
    app.connect("html-page-context", describe)
    app.connect("build-finished", write_front, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
