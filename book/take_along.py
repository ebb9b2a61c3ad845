"""The book to take along: what PDF and EPUB need beyond the pages.

TeX sets text, code and mathematics. What a cell shows as HTML (figures, tables,
proofs) Chromium sets, from the site's own styles, as one small PDF for each.
"""

from __future__ import annotations

import hashlib
import html
import re
import shutil
from pathlib import Path
from typing import Any

import matplotlib
import nbformat
import notebooks
import sphinxcontrib.katex as katex
import yaml
from docutils import nodes
from fontTools.ttLib import TTFont
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from backprop_lit import __version__

BUILD = notebooks.ROOT / "_build"
FIGURES = BUILD / "figures"
STATIC = BUILD / "html" / "_static"
FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")
BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"
WIDTH = 660  # pixels: the text's own width on paper, at the site's type size

# TeX ---------------------------------------------------------------------------

PREAMBLE = r"""
\usepackage{unicode-math}
\setmathfont{latinmodern-math.otf}
\usepackage{newunicodechar}
\newfontfamily\elsewhere{DejaVuSans.ttf}[Path=FONTS/,Scale=0.88]
\newfontfamily\signs{DejaVuSans.ttf}[Path=FONTS/,Scale=0.88]
\AtBeginDocument{CHARACTERS}  % after unicode-math, which takes the fractions
\fvset{fontsize=\footnotesize,formatcom=\let\elsewhere\relax}
\setcounter{tocdepth}{1}
\AtBeginDocument{\renewcommand{\contentsname}{Contents}}
\usepackage{microtype}
"""
FAMILIES = r"""
\setmainfont{lmroman10-regular.otf}[BoldFont=lmroman10-bold.otf,
  ItalicFont=lmroman10-italic.otf,BoldItalicFont=lmroman10-bolditalic.otf]
\setsansfont{lmsans10-regular.otf}[BoldFont=lmsans10-bold.otf,
  ItalicFont=lmsans10-oblique.otf,BoldItalicFont=lmsans10-boldoblique.otf]
\setmonofont{DejaVuSansMono.ttf}[Path=FONTS/,Scale=0.86,
  BoldFont=DejaVuSansMono-Bold.ttf,ItalicFont=DejaVuSansMono-Oblique.ttf,
  BoldItalicFont=DejaVuSansMono-BoldOblique.ttf]
"""
TITLE = r"""
\begin{titlepage}\raggedright\vspace*{0.22\textheight}
{\Huge\bfseries Backpropagation,\\[0.3em] Literally\par}\vspace{2em}
{\Large A book that is a program:\\ every gradient derived, implemented in the next
cell, and proved.\par}\vfill
Built from \texttt{backprop\_lit} VERSION.
Text and figures CC BY 4.0, code MIT.
\end{titlepage}
"""
LOOK = (
    "TitleColor={rgb}{0.05,0.2,0.35},InnerLinkColor={rgb}{0,0.28,0.5},"
    "OuterLinkColor={rgb}{0.6,0.25,0},VerbatimColor={rgb}{0.975,0.975,0.98},"
    "VerbatimBorderColor={rgb}{0.9,0.9,0.92},verbatimsep=3pt"
)


NEW = r"\newunicodechar{"


def fallbacks() -> str:
    """Letters that Latin Modern lacks, from the sans face that comes with matplotlib.

    Inside code they stay with the code's own face. In bookmarks they are text.
    """
    known = TTFont(FONTS / "DejaVuSans.ttf", lazy=True).getBestCmap()
    ranges = (
        (0x2B0, 0x300),
        (0x370, 0x400),
        (0x2032, 0x2038),
        (0x1D2C, 0x1D6B),
        (0x2070, 0x20A0),
        (0x2153, 0x2200),
        (0x2200, 0x220F),
        (0x2212, 0x222B),
        (0x2234, 0x22C0),
        (0x22C4, 0x27C0),
    )  # without sums and integrals, which unicode-math needs for itself
    line = (
        NEW + r"%c}{\texorpdfstring"
        r'{{\elsewhere\Uchar"%04X }}{\Uchar"%04X }}'
    )
    points = [point for a, b in ranges for point in range(a, b) if point in known]
    lines = [line % (point, point, point) for point in points]
    marks = [text for text in lines if text[len(NEW)] in "✓✗"]  # no bold ones in code
    lines += [text.replace(r"\elsewhere", r"\signs") for text in marks]
    return "\n".join(lines)


def tex_options(app: Sphinx, config: Any) -> None:
    """Paper, faces and colors of the PDF."""
    preamble = PREAMBLE.replace("CHARACTERS", fallbacks())
    config.latex_elements = {
        "papersize": "a4paper",
        "pointsize": "10pt",
        "fncychap": "",
        "extraclassoptions": "openany,oneside",
        "fontpkg": FAMILIES.replace("FONTS", FONTS.as_posix()),
        "preamble": preamble.replace("FONTS", FONTS.as_posix()),
        "sphinxsetup": LOOK,
        "maketitle": TITLE.replace("VERSION", __version__),
        "makeindex": "",
        "printindex": "",
    }
    config.latex_show_urls = "no"
    config.latex_domain_indices = False
    config.latex_use_xindy = False


class Browser:
    """One headless Chromium for a whole build, started when first needed."""

    driver: Any = None
    browser: Any = None
    page: Any = None

    @classmethod
    def open(cls) -> Any:
        if cls.page is None:
            from playwright.sync_api import sync_playwright

            path = next(filter(None, map(shutil.which, BROWSERS)))
            cls.driver = sync_playwright().start()
            flags = ["--headless", "--no-sandbox", "--disable-gpu"]
            cls.browser = cls.driver.chromium.launch(executable_path=path, args=flags)
            cls.page = cls.browser.new_page(viewport={"width": WIDTH, "height": 800})
        return cls.page

    @classmethod
    def close(cls, *_: Any) -> None:
        if cls.page is not None:
            cls.browser.close()
            cls.driver.stop()
            cls.page = None


PAGE = """<!doctype html><html data-theme="light" data-mode="light"><head>
<meta charset="utf-8">{styles}<style>
@page {{ margin: 0 }} html, body {{ margin: 0; background: white }}
body {{ display: block; width: {width}px }} main {{ overflow: hidden; width: auto }}
main figure {{ margin: 0 !important }} main table {{ margin: 0 auto !important }}
</style></head><body><main class="bd-content"><article class="bd-article">
<div class="cell_output">{body}</div></article></main></body></html>"""


def set_by_chromium(body: str) -> tuple[Path, int]:
    """A piece of HTML as a PDF of its own size, and its width in pixels."""
    order = "styles/theme.css", "styles/sphinx-book-theme.css", "palette.css"
    sheets = [STATIC / name for name in (*order, "book.css")]
    key = "".join(sheet.read_text("utf8") for sheet in sheets[2:]) + body + PAGE
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    target = FIGURES / f"{name}.pdf"
    if not target.exists():
        FIGURES.mkdir(parents=True, exist_ok=True)
        styles = "".join(f'<link rel="stylesheet" href="{s.as_uri()}">' for s in sheets)
        source = target.with_suffix(".html")
        source.write_text(PAGE.format(styles=styles, width=WIDTH, body=body), "utf8")
        page = Browser.open()
        page.goto(source.as_uri())
        box = "() => document.querySelector('main').getBoundingClientRect().height"
        height = f"{page.evaluate(box) + 2:.0f}px"
        page.pdf(
            path=str(target), width=f"{WIDTH}px", height=height, print_background=True
        )
        source.unlink()
    return target, WIDTH


class SetHtml(SphinxPostTransform):
    """For TeX, put a picture in the place of what a cell shows as HTML."""

    default_priority = 5  # right after the choice among a cell's outputs
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        for node in list(self.document.findall(nodes.raw)):
            if "html" in node.get("format", "").split():
                path, _width = set_by_chromium(node.astext())
                command = r"\includegraphics[width=\linewidth]"
                tex = rf"\par\noindent{command}{{{path.as_posix()}}}\par"
                node.replace_self(nodes.raw("", tex, format="latex"))


PLUMBING = "tag_hide-input"


class LeaveOutPlumbing(SphinxPostTransform):
    """On paper, folded code that is not part of the package stays out."""

    default_priority = 6
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        for cell in list(self.document.findall(nodes.container)):
            classes = cell.get("classes", [])
            if PLUMBING in classes and "tag_export" not in classes:
                for part in list(cell.children):
                    if "cell_input" in part.get("classes", []):
                        cell.remove(part)


class Anchors(SphinxPostTransform):
    """Cells can be led to, as on the site: TeX's writer forgets their ids."""

    default_priority = 8
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        for start in self.document.findall(addnodes.start_of_file):
            for cell in list(start.findall(nodes.container)):
                for name in cell["ids"]:
                    label = rf"\detokenize{{{start['docname']}:{name}}}"
                    tex = rf"\phantomsection\label{{{label}}}"
                    cell.insert(0, nodes.raw("", tex, format="latex"))


class Parts(SphinxPostTransform):
    """The landing page becomes a preface, the captions of `_toc.yml` parts."""

    default_priority = 7
    builders = ("latex",)

    def run(self, **_: Any) -> None:
        files = list(self.document.findall(addnodes.start_of_file))
        for start in files:
            if caption := captions().get(start["docname"]):
                start.insert(0, nodes.raw("", part(caption), format="latex"))
        root = next(iter(self.document.findall(nodes.section)), None)
        if files and root is not None:
            preface = nodes.section("", nodes.title("", "Preface"), ids=["preface"])
            for child in list(root.children):
                inside = any(child.findall(addnodes.start_of_file))
                if not inside and not isinstance(child, nodes.title):
                    root.remove(child)
                    preface += child
            root.insert(1, [nodes.raw("", UNNUMBERED, format="latex"), preface])


UNNUMBERED = r"\setcounter{secnumdepth}{-1}"


def part(caption: str) -> str:
    """TeX that opens a part; only those with a Roman number count chapters."""
    number, _, title = caption.partition(" ")
    if not re.fullmatch("[IVX]+", number):
        listed = rf"\addcontentsline{{toc}}{{part}}{{{caption}}}"
        return (
            rf"{UNNUMBERED}\cleardoublepage\phantomsection{listed}\part*{{{caption}}}"
        )
    first = r"\setcounter{chapter}{0}" if number == "I" else ""
    return rf"\setcounter{{secnumdepth}}{{1}}{first}\part{{{title}}}"


def captions() -> dict[str, str]:
    """First document of each part, and the part's caption."""
    toc = yaml.safe_load((notebooks.ROOT / "_toc.yml").read_text("utf8"))
    parts = [(part["caption"], part["chapters"][0]["file"]) for part in toc["parts"]]
    return {file: " ".join(caption.split()) for caption, file in parts}


# EPUB --------------------------------------------------------------------------


def epub_options(app: Sphinx, config: Any) -> None:
    """Title page, language and mathematics of the EPUB."""
    config.epub_title, config.epub_author = config.project, config.author
    config.version = config.release = __version__
    config.epub_show_urls = "no"
    config.epub_tocscope = "includehidden"
    config.epub_exclude_files = ["search.html", "genindex.html", ".nojekyll"]
    config.epub_css_files = ["palette.css", "epub.css"]
    config.epub_identifier = config.epub_scheme = "backpropagation-literally"
    config.suppress_warnings += [
        "epub.unknown_project_files",
        "epub.duplicated_toc_entry",
    ]


def mathml(app: Sphinx) -> None:
    """Readers of EPUB set MathML themselves: the pages need no script and no font."""
    if app.builder.name == "epub":
        katex.KATEX_DEFAULT_OPTIONS["output"] = "mathml"


class WellFormed(SphinxPostTransform):
    """An EPUB is XML: HTML from cells must be well formed, its colors literal."""

    default_priority = 5
    builders = ("epub",)

    def run(self, **_: Any) -> None:
        for node in list(self.document.findall(nodes.raw)):
            if "html" in node.get("format", "").split():
                node.replace_self(nodes.raw("", xhtml(node.astext()), format="html"))


def xhtml(body: str) -> str:
    """HTML of a cell as XML, the theme's variables replaced by the light colors."""
    text = re.sub(r"<(script|style)\b.*?</\1>", "", body, flags=re.S)
    text = re.sub(r"<(br|hr|img|input)\b([^>]*?)/?>", r"<\1\2/>", text)
    text = re.sub(r"&(?!#|(?:amp|lt|gt|quot|apos);)(\w+);", named_letter, text)
    return re.sub(r"var\(--[\w-]+,\s*([^()]+)\)", r"\1", text)


def named_letter(match: re.Match[str]) -> str:
    """XML knows no `&nbsp;`: write the letter itself."""
    return html.unescape(match[0])


# Notebooks ---------------------------------------------------------------------


def copy_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Each chapter's notebook, as it runs against the released package."""
    if error or app.builder.name != "html":
        return
    target = Path(app.outdir, "notebooks")
    target.mkdir(exist_ok=True)
    for path in notebooks.notebooks():
        nb = nbformat.read(path, 4)
        nb.metadata["kernelspec"] = KERNEL
        nbformat.write(nb, target / path.name)


KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}
OFFER = (
    '<p class="take-along">Take it along: <a href="{0}" download>this chapter as a '
    "notebook</a>, which runs where the package backprop_lit is installed.</p>"
)


def offer_notebook(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """At the end of each chapter's page, the notebook it was made from."""
    path = notebooks.ROOT / f"{page}.ipynb"
    if app.builder.name == "html" and "body" in context and path.exists():
        up = "../" * page.count("/")
        context["body"] += OFFER.format(f"{up}notebooks/{path.name}")


def setup(app: Sphinx) -> dict[str, Any]:
    app.config.nb_mime_priority_overrides = [("latex", "text/html", 1)]
    app.connect("config-inited", tex_options)
    app.connect("config-inited", epub_options)
    app.connect("builder-inited", mathml)
    app.connect("build-finished", Browser.close)
    app.connect("build-finished", copy_notebooks)
    app.connect("html-page-context", offer_notebook)
    for transform in (SetHtml, LeaveOutPlumbing, Anchors, Parts, WellFormed):
        app.add_post_transform(transform)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
