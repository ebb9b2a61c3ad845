"""The look of the site: its own frame around every page, and its own fonts.

The pages stand on our templates, one style sheet and one small script. What themes
and extensions would add is left out, and fonts hold only the characters in use.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import notebooks
import sphinxcontrib.katex as katex
from docutils import nodes
from fontTools import subset
from fontTools.ttLib import TTFont, woff2
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.jinja2glue import SphinxFileSystemLoader

HERE = Path(__file__).resolve().parent
MODULES = HERE / "node_modules"
FACTS = ("You will", "Builds on", "Letters", "Time")

# What a page is --------------------------------------------------------------------


def note_facts(app: Sphinx, doctree: nodes.document) -> None:
    """Remember a page's promise, minutes and exercises, and mark its facts."""
    known = app.env.metadata[app.env.docname]
    promise = next(doctree.findall(nodes.block_quote), None)
    known["promise"] = promise.astext() if promise else ""
    titles = [title.astext() for title in doctree.findall(nodes.title)]
    known["exercises"] = sum(title.startswith("Exercise ") for title in titles)
    section = next(doctree.findall(nodes.section), nodes.section())
    for paragraph in [part for part in section if isinstance(part, nodes.paragraph)]:
        first = next((part for part in paragraph if part.astext()), None)
        word = first.astext() if isinstance(first, nodes.strong) else ""
        if word in FACTS:
            paragraph["classes"].append("fact")
        if word == "Time":
            said = paragraph.astext()
            minutes = re.search(r"(\d+) minutes", said)
            known["minutes"] = minutes[1] if minutes else ""
            known["more"] = not re.fullmatch(r"Time about \d+ minutes\.", said)
            if not known["more"]:
                section.remove(paragraph)  # the strip under the title says it


def pages_of(app: Sphinx) -> list[dict[str, Any]]:
    """The parts of the book, each with its pages, as `_toc.yml` orders them."""
    parts = []
    for tree in app.env.external_site_map.root.subtrees:  # type: ignore[attr-defined]
        numeral, _, title = (tree.caption or "").rpartition("  ")
        pages = [facts_of(app.env, str(name)) for name in tree.items]
        parts.append({"number": numeral, "title": title, "pages": pages})
    return parts


def facts_of(env: BuildEnvironment, name: str) -> dict[str, Any]:
    """What the contents say of a page."""
    number = env.toc_secnumbers.get(name, {}).get("")
    title = env.titles[name].astext() if name in env.titles else name
    known = {"name": name, "title": title, "number": number[0] if number else 0}
    return known | {"module": modules().get(name, "")} | env.metadata.get(name, {})


@functools.cache
def modules() -> dict[str, str]:
    """Page to the module that it makes."""
    root = notebooks.ROOT
    return {
        path.relative_to(root).with_suffix("").as_posix(): module
        for module, path in notebooks.chapters().items()
    }


# Asides and definitions stand in the margin -------------------------------------------

FITS = range(50, 321)  # characters: what is shorter or longer stays in its line


def set_aside(app: Sphinx, doctree: nodes.document) -> None:
    """Mark sentences in parentheses that stand among others."""
    for paragraph in list(doctree.findall(nodes.paragraph)):
        if isinstance(paragraph.parent, nodes.section):
            parts, done = list(paragraph.children), list[nodes.Node]()
            while parts:
                begins = not done or done[-1].astext() == "\n"
                size = length_of_aside(parts) if begins else 0
                if size == len(paragraph):  # with nothing to stand beside
                    break
                done += (
                    [nodes.inline("", "", *parts[:size], classes=["aside"])]
                    if size
                    else parts[:1]
                )
                parts = parts[size or 1 :]
            else:
                paragraph.children = []
                paragraph += done


def length_of_aside(parts: list[nodes.Node]) -> int:
    """How many nodes from here on are a sentence in parentheses, to a line's end."""
    said, depth = "", 0
    for size, part in enumerate(parts, start=1):
        said += part.astext()
        if isinstance(part, nodes.Text):
            depth += part.count("(") - part.count(")")
        ends = size == len(parts) or parts[size].astext() == "\n"
        if ends and depth == 0:
            whole = said.startswith("(") and said.endswith(")")
            leads_on = said.endswith(":)")
            return size if whole and not leads_on and len(said) in FITS else 0
    return 0


GLOSSARY = "nbs/glossary"
ONWARD = re.compile(r"\s*(?:See|Derived in|Compare) <a(?:(?!</a>).)*</a>\.", re.S)
NOTE = '<p class="margin definition" role="note"><dfn>{}</dfn> {}</p>'


def definitions(app: Sphinx) -> dict[str, str]:
    """The entries of the glossary, each by its id, as a note for the margin."""
    if not hasattr(app.env, "margin_notes"):
        tree = app.env.get_doctree(GLOSSARY)
        app.env.resolve_references(tree, GLOSSARY, app.builder)
        found: dict[str, str] = {}
        for item in tree.findall(nodes.definition_list_item):
            terms = [part for part in item if isinstance(part, nodes.term)]
            sense = next(item.findall(nodes.definition))[0]
            if len(sense.astext()) > 260:
                continue
            render = app.builder.render_partial  # type: ignore[attr-defined]
            text = ONWARD.sub("", render(sense)["fragment"])
            text = re.sub(r"^<p>|</p>\s*$", "", text)
            text = text.replace('href="#', 'href="glossary.html#')
            note = NOTE.format(terms[0].astext(), text)
            found |= {key: note for term in terms for key in term["ids"]}
        app.env.margin_notes = found  # type: ignore[attr-defined]
    notes: dict[str, str] = app.env.margin_notes  # type: ignore[attr-defined]
    return notes


def define(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Beside the paragraph that first speaks of a term, say what the term means."""
    chapter = app.env.metadata.get(docname, {}).get("exercises")
    if app.builder.name != "html" or not chapter:
        return
    seen: set[str] = set()
    for reference in list(doctree.findall(nodes.reference)):
        key = reference.get("refuri", "").partition("glossary.html#")[2]
        if not key or key in seen:
            continue
        seen.add(key)
        place: Any = reference
        while place is not None and not isinstance(place, nodes.paragraph):
            place = place.parent
        if place is not None and isinstance(place.parent, nodes.section):
            note = nodes.raw("", definitions(app).get(key, ""), format="html")
            place.parent.insert(place.parent.index(place), note)


# The frame -------------------------------------------------------------------------


PROGRESS = """</blockquote>
<section id="progress" aria-label="Your progress" hidden></section>"""


def frame(app: Sphinx, page: str, template: str, context: Any, doctree: Any) -> None:
    """Tell the templates where a page stands, and what lies before and after it."""
    if app.builder.name != "html":
        return
    parts = pages_of(app)
    root = app.config.root_doc
    link = functools.partial(app.builder.get_relative_uri, page)
    order = [facts_of(app.env, root)] + [p for part in parts for p in part["pages"]]
    for known in order:
        known |= {"href": link(known["name"]), "here": known["name"] == page}
        known["href"] = known["href"] or f"{page.rpartition('/')[2]}.html"
    for part in parts:
        part["here"] = any(known["here"] for known in part["pages"])
        part["open"] = part["here"] or page == root
    place = next((i for i, known in enumerate(order) if known["here"]), None)
    before, after = None, None
    if place is not None:
        before, after = ([None, *order, None][i] for i in (place, place + 2))
    context |= {"parts": parts, "before": before, "after": after}
    context["landing"] = page == root
    context["sections"] = sections_of(context.get("toc", ""))
    context["promise"] = app.env.metadata.get(page, {}).get("promise", "")
    context["page_metatags"] = re.sub(
        r'<meta name="viewport"[^>]*>', "", context.get("metatags", "")
    )
    context["author"] = app.config.author
    context["preload"] = [f"{face}-0.woff2" for face in FIRST]
    if context["landing"]:
        context["body"] = context["body"].replace("</blockquote>", PROGRESS, 1)
    elif place and "body" in context:
        strip = where_strip(app, context, order[place], parts)
        context["body"] = context["body"].replace("</h1>", "</h1>" + strip, 1)


def where_strip(app: Sphinx, context: Any, here: Any, parts: Any) -> str:
    """The line under the title, for someone who lands in the middle."""
    part = next(part for part in parts if part["here"])
    numbers = [known["number"] for one in parts for known in one["pages"]]
    link = functools.partial(app.builder.get_relative_uri, here["name"])
    values = {
        "part": part,
        "here": here,
        "last": max(numbers),
        "api": link("nbs/api"),
        "notation": link("nbs/notation") if here["module"] else "",
    }
    assert app.builder.templates
    return app.builder.templates.render("where.html", context | values)


def sections_of(toc: str) -> list[dict[str, str]]:
    """Links to the sections of a page, from Sphinx's list of them."""
    depth, found = 0, []
    for tag, href, title in re.findall(
        r'(</?ul>)|<a class="reference internal" href="(#[^"]*)">(.*?)</a>', toc, re.S
    ):
        depth += {"<ul>": 1, "</ul>": -1}.get(tag, 0)
        if href and depth == 2:
            mark = re.match(r"([\d.]+)\. (.*)", title, re.S)
            number, title = mark.groups() if mark else ("", title)
            found.append({"href": unescape(href), "number": number, "title": title})
    return found


# Faces that the top of every page is set in: asked for at once, so that nothing moves.
FIRST = (
    "serif-400-normal",
    "serif-400-italic",
    "serif-600-normal",
    "sans-400-normal",
    "sans-600-normal",
)

# What a page loads -----------------------------------------------------------------

FOREIGN = re.compile(
    r"basic|pygments|togglebutton|copybutton|clipboard|mystnb|sphinx-design|design-tabs"
    r"|katex-math|sphinx-book-theme|documentation_options|doctools|sphinx_highlight"
)


def lighten(app: Sphinx, page: str, template: str, context: Any, doctree: Any) -> None:
    """Leave out the styles and scripts of themes and extensions: ours do without."""
    if app.builder.name != "html":
        return
    for kind in ("css_files", "script_files"):
        context[kind] = [
            one
            for one in context[kind]
            if (name := str(getattr(one, "filename", one) or ""))
            and not FOREIGN.search(name)
        ]


PLAIN = re.compile(r'<span class="(?:n|p|o|w|x)">([^<]*)</span>')
JOINT = re.compile(r"(</span></span></span>)(?=[.,;:!?)’-])")  # no line ends here
NUMBERED = re.compile(r'<span class="section-number">[\d.]+ </span>(?=Exercise )')
NUMBER = re.compile(r'(<h\d><span class="section-number">[\d.]+)\. ')


def slim(app: Sphinx, page: str, template: str, context: Any, doctree: Any) -> None:
    """Drop the marks that no style looks at: half of the elements of a page."""
    if "body" in context and app.builder.name == "html":
        body = PLAIN.sub(r"\1", context["body"])
        body = body.replace("<pre><span></span>", "<pre>")
        body = JOINT.sub("\\1\u2060", body)
        context["body"] = NUMBER.sub(r"\1 ", NUMBERED.sub("", body))


UNUSED = (
    "vendor scripts styles locales images *.png basic.css pygments.css katex-math.css"
    " sphinx-codeautolink.css togglebutton.* copybutton* clipboard* check-solid.svg"
    " copy-button.svg mystnb.* sphinx-design* design-tabs.js *webpack-macros.html"
)


def prune(app: Sphinx, error: Exception | None) -> None:
    """Take away what no page asks for, and pages that earlier builds have left."""
    if error or app.builder.name != "html":
        return
    pages = {*app.env.found_docs, "genindex", "search", "index"}
    for path in Path(app.outdir).rglob("*.html"):
        name = path.relative_to(app.outdir).with_suffix("").as_posix()
        if name not in pages and not name.startswith("_static/"):
            path.unlink()
    static = Path(app.outdir, "_static")
    for pattern in UNUSED.split():
        for path in static.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


# Fonts -----------------------------------------------------------------------------

REST = {"serif": "Serif", "sans": "Sans", "mono": "SansMono"}
PACKAGE = {"serif": "source-serif-4", "sans": "source-sans-3"}
SCRIPTS = ("latin", "latin-ext", "greek")
FACES = (
    ("serif", 400, "normal"),
    ("serif", 400, "italic"),
    ("serif", 600, "normal"),
    ("sans", 400, "normal"),
    ("sans", 600, "normal"),
    ("mono", 400, "normal"),
)
RULE = """@font-face {{ font-family: "Book {}"; font-weight: {}; font-style: {};
  font-display: swap; src: url("fonts/{}") format("woff2"); unicode-range: {}; }}
"""
ALWAYS = "".join(map(chr, range(32, 127))) + "′·…–—‘’“”−×✓→←©"
MARKED = re.compile(r'<(?:span|i) class="([^"]*)"[^>]*>([^<]+)')
ALPHABETS = {  # the classes that send a letter to a font of KaTeX
    "AMS-Regular": {"amsrm", "mathbb", "textbb"},
    "Math-Italic": {"mathnormal", "letter"},
    "Math-BoldItalic": {"boldsymbol"},
    "Main-Bold": {"mathbf", "textbf"},
    "Main-Italic": {"mathit", "textit"},
    "Caligraphic-Regular": {"mathcal"},
    "Fraktur-Regular": {"mathfrak"},
    "SansSerif-Regular": {"mathsf", "textsf"},
    "Script-Regular": {"mathscr"},
    "Typewriter-Regular": {"mathtt", "texttt"},
}
MATH = re.compile(r"<script.*?</script>|<style.*?</style>|<math.*?</math>", re.S)


def characters(pages: list[str]) -> dict[str, set[str]]:
    """The characters of the pages, all of them and for some fonts of formulas."""
    used: dict[str, set[str]] = {name: set() for name in ("all", *ALPHABETS)}
    used["all"] |= set(ALWAYS)
    for page in pages:
        page = MATH.sub("", page)
        used["all"] |= set(unescape(re.sub(r"<[^>]*>", "", page)))
        for classes, text in set(MARKED.findall(page)):
            for name, senders in ALPHABETS.items():
                if senders & set(classes.split()):
                    used[name] |= set(unescape(text))
    used["all"] -= {"\n", "\t", "\u200b", "\u2060"}
    return used


def sources(family: str, weight: int, style: str) -> list[Path]:
    """The font files of a face, the first that has a character giving it."""
    rest = MODULES / f"dejavu-fonts-ttf/ttf/DejaVu{REST[family]}.ttf"
    if family == "mono":
        return [MODULES / "source-code-pro/TTF/SourceCodePro-Regular.ttf", rest]
    name = PACKAGE[family]
    parts = [f"{name}-{part}-{weight}-{style}.woff" for part in SCRIPTS]
    return [*(MODULES / "@fontsource" / name / "files" / part for part in parts), rest]


class NodeBrotli:
    """Node compresses: woff2 wants Brotli, and Python has none of its own."""

    MODE_FONT = 2
    SCRIPT = """const z = require('zlib'), c = z.constants;
        process.stdout.write(z.brotliCompressSync(require('fs').readFileSync(0),
        {params: {[c.BROTLI_PARAM_MODE]: c.BROTLI_MODE_FONT}}))"""

    @classmethod
    def compress(cls, data: bytes, mode: int) -> bytes:
        command = [katex.NODEJS_BINARY, "-e", cls.SCRIPT]
        return subprocess.run(command, input=data, stdout=-1, check=True).stdout


def cut(source: Path, wanted: set[str], cache: Path) -> tuple[bytes, set[str]]:
    """The font with the wanted characters alone, as woff2, and which of them it has."""
    font = TTFont(source, lazy=True)
    held = {char for char in wanted if ord(char) in font.getBestCmap()}
    recipe = source.read_bytes() + "".join(sorted(held)).encode() + b"1"
    kept = cache / f"{hashlib.sha256(recipe).hexdigest()[:24]}.woff2"
    if held and not kept.exists():
        options = subset.Options(flavor="woff2", hinting=False, notdef_outline=True)
        options.name_IDs = [0, 13, 14]  # whose it is, and under which license
        cutter = subset.Subsetter(options)
        cutter.populate(text="".join(held))
        cutter.subset(font)
        font.flavor = "woff2"
        cache.mkdir(parents=True, exist_ok=True)
        vars(woff2).update(brotli=NodeBrotli, haveBrotli=True)
        font.save(kept)
    return (kept.read_bytes() if held else b""), held


def ranges(chars: set[str]) -> str:
    """A `unicode-range` that names exactly these characters."""
    spans: list[list[int]] = []
    for code in sorted(map(ord, chars)):
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return ", ".join(f"U+{a:X}" if a == b else f"U+{a:X}-{b:X}" for a, b in spans)


def write_fonts(app: Sphinx, error: Exception | None) -> None:
    """Cut every face to the characters of the site, and write its rules."""
    if error or app.builder.name != "html":
        return
    outdir, cache = Path(app.outdir), Path(app.outdir).parent / "fonts"
    used = characters([path.read_text("utf8") for path in outdir.rglob("*.html")])
    folder = outdir / "_static" / "fonts"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    rules = []
    for family, weight, style in FACES:
        wanted = set(used["all"])
        for number, source in enumerate(sources(family, weight, style)):
            data, held = cut(source, wanted, cache)
            wanted -= held
            if not held:
                continue
            name = f"{family}-{weight}-{style}-{number}.woff2"
            (folder / name).write_bytes(data)
            rules.append(RULE.format(family.title(), weight, style, name, ranges(held)))
    (outdir / "_static" / "fonts.css").write_text("".join(rules), "utf8")
    texts = sorted(MODULES.glob("*/LICENSE*")) + sorted(MODULES.glob("@*/*/LICENSE*"))
    said = (f"{path.parent.name}\n\n{path.read_text('utf8')}" for path in texts)
    (folder / "LICENSES.txt").write_text("\n\n".join(said), "utf8")
    write_formula_fonts(outdir, used, cache)


FACE = re.compile(r"@font-face\{[^}]*url\(fonts/([^)]+)\)[^}]*\}")


def write_formula_fonts(outdir: Path, used: dict[str, set[str]], cache: Path) -> None:
    """Cut KaTeX's fonts, which hold alphabets of which little is used."""
    folder = outdir / "_static/katex/fonts"
    for source in (MODULES / "katex/dist/fonts").glob("*.ttf"):
        wanted = used.get(source.stem.removeprefix("KaTeX_"), used["all"])
        data, held = cut(source, wanted, cache)
        target = folder / f"{source.stem}.woff2"
        target.write_bytes(data) if held else target.unlink(missing_ok=True)
    forget_formula_fonts(folder)


def forget_formula_fonts(folder: Path) -> None:
    """Drop the rules for fonts of which no letter is used: nobody asks for them."""
    style = folder.parent / "katex.min.css"
    kept = FACE.sub(
        lambda rule: rule[0] if (folder / rule[1]).exists() else "",
        style.read_text("utf8"),
    )
    style.write_text(kept, "utf8")


def own_templates(app: Sphinx) -> None:
    """Our templates come first, on the site and nowhere else."""
    if app.builder.name == "html":
        templates: Any = app.builder.templates
        folder = str(HERE / "templates")
        templates.loaders.insert(0, SphinxFileSystemLoader(folder))
        templates.pathchain.insert(0, folder)


def setup(app: Sphinx) -> dict[str, Any]:
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    app.add_css_file("fonts.css", priority=300)
    app.add_js_file("reading.js", loading_method="defer")
    app.connect("builder-inited", own_templates)
    app.connect("doctree-read", note_facts)
    app.connect("doctree-read", set_aside)
    app.connect("doctree-resolved", define)
    app.connect("html-page-context", frame, priority=800)
    app.connect("html-page-context", lighten, priority=900)
    app.connect("html-page-context", slim, priority=900)
    app.connect("build-finished", prune, priority=900)
    app.connect("build-finished", write_fonts, priority=950)
    parallel = {"parallel_read_safe": True, "parallel_write_safe": True}
    return {"version": "1", "env_version": 4} | parallel
