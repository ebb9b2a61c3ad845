"""Every name is a door: code, prose, formulas and terms lead to what they mean.

What leads where is read from the notebooks (`survey`); this module puts it on the
pages: links in code and prose, the lines under each entry of the API, the indexes
of formulas and of identifiers, and what a pointer that rests on a term is told.
"""

from __future__ import annotations

import contextlib
import hashlib
import html
import importlib
import inspect
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import notebooks
import survey
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains import Domain, ObjType
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util.index_entries import split_index_msg
from survey import Catalog, Formula, Page

API, FORMULAS, GLOSSARY = "nbs/api", "nbs/formulas", "nbs/glossary"
GENERATED = (API, FORMULAS, "nbs/identifiers")


# What is known -----------------------------------------------------------------


def docname_of(path: Path) -> str:
    return path.relative_to(notebooks.ROOT).with_suffix("").as_posix()


def documents() -> dict[str, Path]:
    """Every page that `_toc.yml` names, in the order of reading."""
    toc = (notebooks.ROOT / "_toc.yml").read_text("utf8")
    names = re.findall(r"^\s*-?\s*(?:root|file):\s*(\S+)", toc, re.M)
    paths = [notebooks.ROOT / f"{n}{end}" for n in names for end in (".ipynb", ".md")]
    return {docname_of(path): path for path in paths if path.exists()}


def house() -> Any:
    """Digest of what every survey hangs on: the package, and how it is read."""
    sources = [Path(survey.__file__), *sorted(notebooks.PACKAGE.glob("*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources))


class Atlas:
    """The surveys of all notebooks, kept from build to build."""

    def __init__(self, env: BuildEnvironment) -> None:
        self.known: Catalog | None = None
        kept = getattr(env, "book_surveys", {})
        now = {key: self.read(path, kept) for key, path in documents().items()}
        env.book_surveys = now  # type: ignore[attr-defined]
        self.pages: dict[str, Page] = {key: page for key, (_, page) in now.items()}
        self.homes: dict[str, tuple[str, str]] = {}
        self.docs: dict[str, str] = {}
        for docname, page in self.pages.items():
            for cell in page.cells:
                if cell.code:
                    self.docs[cell.id] = docname
                for name in cell.exports:
                    self.homes[f"{page.module}.{name}"] = docname, cell.id

    def read(self, path: Path, kept: dict[str, Any]) -> tuple[str, Page]:
        """The survey of a page, read again only if it or the package has changed."""
        digest = house()
        digest.update(path.read_bytes())
        key = digest.hexdigest()
        old = kept.get(docname_of(path))
        return (
            old if old and old[0] == key else (key, survey.survey(path, self.catalog))
        )

    @property
    def catalog(self) -> Catalog:
        """The names of the package; read only when a page has to be written."""
        self.known = self.known or Catalog()
        return self.known

    def uses(self, full: str) -> Iterator[tuple[str, str]]:
        """Pages that use a name, each with its first cell that does."""
        for docname, page in self.pages.items():
            for cell in page.cells:
                doors = page.doors.get(cell.id, []) if not cell.hidden else []
                if any(d.use and d.target == full for d in doors):
                    yield docname, cell.id
                    break

    def proofs(self, full: str) -> list[str]:
        """Cells that prove a name, those of its own chapter first."""
        home = self.homes.get(full, ("", ""))[0]
        found = [
            (docname != home, cell)
            for docname, page in self.pages.items()
            for cell, subjects in page.proofs
            if full in subjects
        ]
        return [cell for _, cell in sorted(found, key=lambda item: item[0])]

    def formulas(self, full: str) -> list[str]:
        """Labels of the formulas that a name is the code of."""
        place = self.homes.get(full)
        page = self.pages[place[0]] if place else None
        return (
            [f.label for f in page.formulas if place and place[1] in f.code]
            if page
            else []
        )


def atlas(env: BuildEnvironment) -> Atlas:
    """The atlas of this build."""
    found = getattr(env.app, "book_atlas", None)
    if not found:
        found = env.app.book_atlas = Atlas(env)  # type: ignore[attr-defined]
    return found


def outdated(app: Sphinx, env: BuildEnvironment, *_: Any) -> list[str]:
    """The generated pages, when anything that they tell has changed."""
    app.book_atlas = Atlas(env)  # type: ignore[attr-defined]
    told = [
        (
            name,
            page._replace(proofs=[], foreign=None),
            sorted(page.foreign or ()),
            proofs,
        )
        for name, page in app.book_atlas.pages.items()  # type: ignore[attr-defined]
        for proofs in [[(cell, sorted(found)) for cell, found in page.proofs]]
    ]
    new = hashlib.sha256(repr(told).encode()).hexdigest()
    old, env.book_told = getattr(env, "book_told", new), new  # type: ignore[attr-defined]
    return [name for name in GENERATED if old != new and name in env.found_docs]


# Where things are --------------------------------------------------------------


class BookDomain(Domain):
    """Cells and formulas, so that links and the search find them."""

    name = "book"
    label = "Book"
    object_types = {"formula": ObjType("formula")}  # noqa: RUF012
    initial_data: dict[str, Any] = {  # noqa: RUF012
        "sections": {},
        "terms": {},
        "asked": {},
    }

    def get_type_name(self, type: ObjType, primary: bool = False) -> str:
        return type.lname  # in the results of a search, without the domain

    def clear_doc(self, docname: str) -> None:
        for kept in ("sections", "asked"):
            self.data[kept].pop(docname, None)

    def merge_domaindata(self, docnames: list[str], otherdata: dict[str, Any]) -> None:
        for kept, values in otherdata.items():
            self.data[kept] |= values

    def get_objects(self) -> Iterator[tuple[str, str, str, str, str, int]]:
        for docname, page in atlas(self.env).pages.items():
            for formula in page.formulas:
                words = f"{title_of(formula)}: {', '.join(formula.path[1:])}"
                shown = re.sub(r"[`$.\\]+", "", words).strip(": ")
                anchor = f"equation-{formula.label}"
                yield formula.label, shown, "formula", docname, anchor, 1


def book(env: BuildEnvironment) -> BookDomain:
    return cast(BookDomain, env.get_domain("book"))


def title_of(formula: Formula) -> str:
    """A formula's name, from its label."""
    return re.sub(r"^eq-(\d+-)?", "", formula.label).replace("-", " ")


def remember(app: Sphinx, doctree: nodes.document) -> None:
    """Which section each cell of a page lies in, and which terms the page uses."""
    data, docname = book(app.env).data, app.env.docname
    sections = data["sections"][docname] = {}
    for node in doctree.findall(nodes.container):
        if node.get("nb_element") != "cell_code":
            continue
        cell = node.get("cell_metadata", {}).get("cellid")
        parent = node.parent
        while parent is not None and not isinstance(parent, nodes.section):
            parent = parent.parent
        if cell and parent is not None:
            sections[cell] = parent["ids"][0], parent[0].astext()
    for box in doctree.findall(nodes.admonition):
        if box[0].astext() == "Letters of this chapter":
            box["classes"].append("letters")
    data["asked"][docname] = {
        node["reftarget"].lower()
        for node in doctree.findall(addnodes.pending_xref)
        if node.get("reftype") == "term"
    }
    if docname == GLOSSARY:
        data["terms"] = dict(definitions(doctree))


def address(app: Sphinx, page: str, target: str) -> str:
    """Where a target of the survey stands: its entry in the API, else its cell."""
    known = cast(PythonDomain, app.env.get_domain("py")).objects
    place, anchor = "", ""
    if target.startswith("module:"):
        module = target.removeprefix("module:")
        place, anchor = API, f"module-backprop_lit.{module}" if module else ""
        if module and f"backprop_lit.{module}" not in known:
            return ""
    else:
        entry = f"backprop_lit.{target}"
        while entry.count(".") > 2 and entry not in known:
            entry = entry.rpartition(".")[0]
        if entry in known:
            place, anchor = known[entry].docname, known[entry].node_id
        else:
            name = ".".join(target.split(".")[:2])
            place, cell = atlas(app.env).homes.get(name, ("", ""))
            anchor = f"cell-{cell}"
            if cell not in book(app.env).data["sections"].get(place, {}):
                return ""
    uri = cast(Any, app.builder).get_relative_uri(page, place) if place else ""
    return f"{uri}#{anchor}" if anchor and place else uri


# Doors in the text -------------------------------------------------------------


class door(nodes.inline):  # noqa: N801
    """A link that is made when all pages are known."""


def to(target: str, text: str = "", **options: Any) -> door:
    return door("", text, target=target, **options)


def open_doors(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Make the links of the generated pages, the prose and the terms."""
    for node in list(doctree.findall(door)):
        node.replace_self(opened(app, docname, node))
    if app.builder.format != "html":
        return
    link_prose(app, doctree, docname)
    tell_terms(app, doctree)


def opened(app: Sphinx, docname: str, node: door) -> nodes.Node:
    """The link of a door, or its text where the builder makes no pages."""
    kind, _, target = node["target"].partition(":")
    text = chapter(app.env, node["chapter"]) if "chapter" in node else node.astext()
    pages = app.builder.format == "html"
    if kind == "name":
        uri = address(app, docname, target) if pages else ""
        inner: nodes.Node = nodes.literal("", text or target.rpartition(".")[2])
    else:
        place = atlas(app.env).docs.get(target, "") if kind == "cell" else target
        sections = book(app.env).data["sections"].get(place, {})
        anchor = f"#cell-{target}" if kind == "cell" and target in sections else ""
        link = cast(Any, app.builder).get_relative_uri
        uri = link(docname, place) + anchor if pages else ""
        inner = nodes.Text(text or heading(app.env, place, target))
    if not uri:
        return inner
    return nodes.reference("", "", inner, internal=True, refuri=uri, **hint(node))


def hint(node: nodes.Element) -> dict[str, str]:
    return {"reftitle": node["hint"]} if node.get("hint") else {}


def heading(env: BuildEnvironment, docname: str, cell: str) -> str:
    """Number and title of the section of a cell."""
    anchor, title = book(env).data["sections"].get(docname, {}).get(cell, ("", ""))
    numbers = env.toc_secnumbers.get(docname, {})
    number = numbers.get(f"#{anchor}") or numbers.get("") or ()
    return f"{'.'.join(map(str, number))} {title}".strip()


def chapter(env: BuildEnvironment, docname: str) -> str:
    """What a chapter is called in a list: its number, or its title if it has none."""
    number = env.toc_secnumbers.get(docname, {}).get("")
    if docname == env.config.root_doc:
        return "first page"
    return str(number[0]) if number else atlas(env).pages[docname].title


# Prose ---

WORD = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\(.*\))?", re.S)
ELSEWHERE = re.compile(r"PyTorch|torch|NumPy|SciPy|scikit|sklearn|JAX|Keras|TensorFlow")


def link_prose(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Lead inline code that is surely a name of the package to its definition."""
    kinds: tuple[Any, ...] = (nodes.title, nodes.reference, nodes.term, nodes.caption)
    kinds += (addnodes.pending_xref, addnodes.desc_signature)
    for node in list(doctree.findall(nodes.literal)):
        parent: Any = node
        while parent is not None and not isinstance(parent, kinds):
            parent = parent.parent
        if parent is not None or foreign_words(node):
            continue
        target = meant(app.env, docname, node.astext())
        uri = address(app, docname, target) if target else ""
        if uri:
            link = nodes.reference("", "", internal=True, refuri=uri, classes=["name"])
            node.replace_self(link)
            link += node


def foreign_words(node: nodes.Element) -> bool:
    """Whether the text around speaks of another library."""
    text, word = node.parent.astext(), node.astext()
    at = text.find(word)
    section: Any = node
    while section is not None and not isinstance(section, nodes.section):
        section = section.parent
    title = section[0].astext() if section is not None else ""
    around = text[max(at - 40, 0) : at + len(word) + 25]
    return bool(ELSEWHERE.search(around) or ELSEWHERE.search(title))


def meant(env: BuildEnvironment, docname: str, text: str) -> str:
    """The target of a name in the prose of a page, if it is sure."""
    match = WORD.fullmatch(text)
    if not match:
        return ""
    first, *rest = match[1].split(".")
    known, page = atlas(env), atlas(env).pages.get(docname)
    found: survey.Meaning = None
    if first == "backprop_lit":
        found = "module", ""
    elif page and first in page.prose:
        found = page.prose[first]
    elif first != first.lower() or "_" in first:  # no word of other libraries
        module = notebooks.module_of(first)
        found = ("object", f"{module}.{first}") if module != "__init__" else None
    target = found[1] if found and found[0] == "object" else ""
    for name in rest:
        target, found = step(known.catalog, found, name)
    return "" if not found or target.startswith("@") else target


def step(
    catalog: Catalog, found: survey.Meaning, name: str
) -> tuple[str, survey.Meaning]:
    """From a thing to one of its members."""
    if found and found[0] == "module":
        if not found[1] and name in catalog.spaces:
            return f"module:{name}", ("module", name)
        space = catalog.spaces.get(found[1] or notebooks.module_of(name), {})
        inside = space.get(name)
        return (inside[1], inside) if inside else ("", None)
    member = catalog.member(found[1], name) if found else None
    return (member[0], member[1] or ("member", "")) if member else ("", None)


# Terms ---


def definitions(doctree: nodes.document) -> Iterator[tuple[str, tuple[str, Any]]]:
    """Each term's anchor, with its name and the first sentence of its definition."""
    for item in doctree.findall(nodes.definition_list_item):
        body = next(iter(item.findall(nodes.definition)))
        first = first_sentence(cast(nodes.paragraph, body[0]))
        for term in item.findall(nodes.term):
            for anchor in term["ids"]:
                yield anchor, (term.astext(), first)


def first_sentence(paragraph: nodes.paragraph) -> nodes.paragraph:
    """A paragraph up to its first full stop."""
    result = nodes.paragraph()
    for child in paragraph.children:
        end = None
        if isinstance(child, nodes.Text):
            end = re.search(r"[.?!](?=\s|$)", child.astext())
        if end:
            result += nodes.Text(child.astext()[: end.end()])
            break
        result += child.deepcopy()
    return result


GREEK = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "eta", "theta", "kappa"),
    *("lambda", "mu", "nu", "rho", "sigma", "tau", "phi", "varphi", "omega"),
    *("Delta", "Theta", "Lambda", "Sigma", "Omega"),
}
SIGNS = {
    "circ": "∘", "partial": "∂", "sum": "Σ", "sqrt": "√", "top": "ᵀ", "cdot": "·",
    "approx": "≈", "le": "≤", "ge": "≥", "leftarrow": "←", "to": "→", "infty": "∞",
    "times": "×", "pm": "±", "in": "∈", "ldots": "…", "dots": "…", "Vert": "‖",
    "varepsilon": "ε", "tfrac12": "½", "bar": "", "hat": "", "mathrm": "", "text": "",
    "operatorname": "", "Bigl": "", "Bigr": "", "bigl": "", "bigr": "", "left": "",
    "right": "", "mathbb": "", "mathsf": "", "textstyle": "", "lvert": "|",
    "rvert": "|",
}  # fmt: skip


def plain(node: nodes.Node) -> str:
    """Text with its mathematics as signs, for a title that holds no markup."""
    if isinstance(node, nodes.math):
        tex = node.astext()
        tex = tex.replace(r"\tfrac12", "½").replace(r"\|", "‖")
        tex = re.sub(r"\\[td]?frac\{(.*?)\}\{(.*?)\}", r"\1/\2", tex)
        tex = re.sub(r"\^\{?([0-9])\}?", lambda m: "⁰¹²³⁴⁵⁶⁷⁸⁹"[int(m[1])], tex)
        tex = re.sub(r"\\([A-Za-z]+)", sign, tex)
        return re.sub(
            r"\\[,;!]|\\\\|[{}]", lambda m: " " * (m[0] == r"\,"), tex
        ).replace("~", " ")
    if isinstance(node, nodes.Text):
        return node.astext()
    return "".join(plain(child) for child in node.children)


def sign(match: re.Match[str]) -> str:
    """A TeX command as a sign."""
    name = match[1]
    if name in SIGNS:
        return SIGNS[name]
    if name in GREEK:
        size = "CAPITAL" if name[0].isupper() else "SMALL"
        word = name.removeprefix("var").upper().replace("LAMBDA", "LAMDA")
        return unicodedata.lookup(f"GREEK {size} LETTER {word}")
    return name


def tell_terms(app: Sphinx, doctree: nodes.document) -> None:
    """Say what a term means where it is linked."""
    terms = book(app.env).data["terms"]
    for link in doctree.findall(nodes.reference):
        anchor = link.get("refuri", "").partition("glossary.html#")[2]
        if anchor in terms:
            link["reftitle"] = plain(terms[anchor][1]).replace("\n", " ")
            link["classes"].append("term")


def retell(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Pages to write again, since a definition that they tell has changed."""
    data = book(env).data
    new = {key: plain(first) for key, (_, first) in data["terms"].items()}
    names = {key: name.lower() for key, (name, _) in data["terms"].items()}
    old = getattr(env, "book_tellings", new)
    env.book_tellings = new  # type: ignore[attr-defined]
    changed = {names[key] for key in new if old.get(key) != new[key]}
    return [page for page, asked in data["asked"].items() if asked & changed]


# The API -----------------------------------------------------------------------


def under_entries(app: Sphinx, doctree: nodes.document) -> None:
    """Under each name of the API: where it is derived, proved and used."""
    for entry in doctree.findall(addnodes.desc):
        signature = next(iter(entry.findall(addnodes.desc_signature)))
        full, module = signature.get("fullname", ""), signature.get("module", "")
        if entry["domain"] != "py" or "." in full or not full:
            continue
        line = told(app.env, f"{module.partition('.')[2]}.{full}")
        content = cast(addnodes.desc_content, entry[-1])
        texts = [isinstance(child, nodes.paragraph) for child in content.children]
        at = texts.index(False) if False in texts else len(texts)
        if line.children:
            content.insert(at, line)


def told(env: BuildEnvironment, full: str) -> nodes.paragraph:
    """The line of doors of a name."""
    found, line = atlas(env), nodes.paragraph(classes=["doors"])
    groups: list[tuple[str, list[nodes.Node]]] = []
    if full in found.homes:
        groups.append(("Derived in", [to(f"cell:{found.homes[full][1]}")]))
    numbers: list[nodes.Node] = [equation(env, name) for name in found.formulas(full)]
    groups.append(("Formulas", numbers))
    proofs: list[nodes.Node] = [to(f"cell:{cell}") for cell in found.proofs(full)]
    groups.append(("Proved in", proofs))
    uses: list[nodes.Node] = []
    for docname, cell in found.uses(full):
        title = found.pages[docname].title
        uses.append(to(f"cell:{cell}", hint=title, chapter=docname))
    groups.append(("Used in", uses))
    for label, doors in groups:
        if doors:
            line += nodes.strong("", label)
            for number, node in enumerate(doors):
                line += [nodes.Text(", " if number else " "), node]
            line += nodes.Text(" ")
    return line


def equation(env: BuildEnvironment, label: str) -> addnodes.pending_xref:
    """A link to an equation, by its number."""
    return addnodes.pending_xref(
        "",
        nodes.literal("", label),
        refdomain="math",
        reftype="eq",
        reftarget=label,
        refexplicit=False,
        refwarn=True,
        refdoc=env.docname,
    )


def name_quotes(app: Sphinx, doctree: nodes.document) -> None:
    """In a docstring, `name` is code; a name of its class or module is a door."""
    if app.env.docname != API:
        return
    catalog = atlas(app.env).catalog
    for quote in list(doctree.findall(nodes.title_reference)):
        code = nodes.literal("", quote.astext())
        quote.replace_self(code)
        entry: Any = code
        while entry is not None and not isinstance(entry, addnodes.desc):
            entry = entry.parent
        if entry is None:
            continue
        signature = next(iter(entry.findall(addnodes.desc_signature)))
        taken = {p.astext() for p in signature.findall(addnodes.desc_sig_name)}
        module = (signature.get("module") or "").partition(".")[2]
        owner = f"{module}.{signature.get('fullname', '').partition('.')[0]}"
        name = code.astext()
        inside = catalog.member(owner, name)
        meaning = catalog.spaces.get(module, {}).get(name)
        target = inside[0] if inside else meaning[1] if meaning else ""
        if target and name not in taken and "." in target:
            code.replace_self(to(f"name:{target}", name))


# Indexes -----------------------------------------------------------------------


class FormulaIndex(Directive):
    """`{formula-index}`: every labelled equation, its code and its proof."""

    def run(self) -> list[nodes.Node]:
        document = self.state.document
        env: BuildEnvironment = document.settings.env
        result: list[nodes.Node] = []
        for docname, page in atlas(env).pages.items():
            if not page.formulas:
                continue
            number = re.search(r"/(\d\d)_", docname)
            chapter = int(number[1]) if number else 0
            title = f"{chapter} {page.title}" if chapter else page.title
            section = nodes.section(names=[title])
            section += nodes.title("", title)
            document.note_implicit_target(section, section)
            for formula in page.formulas:
                section += self.entry(env, docname, page, formula)
            result.append(section)
        return result

    def entry(
        self, env: BuildEnvironment, docname: str, page: Page, formula: Formula
    ) -> nodes.container:
        """One formula: its number and place, itself, its code and its proof."""
        box = nodes.container(classes=["formula"], ids=[f"formula-{formula.label}"])
        known = page.foreign is not None and not page.foreign & set(formula.path)
        if known:
            box["classes"].append(f"letters-{docname.rpartition('/')[2]}")
        head = nodes.paragraph(classes=["formula-head"])
        place = ", ".join(re.sub(r"[`$\\]", "", part) for part in formula.path[1:])
        name = nodes.strong("", title_of(formula))
        head += [equation(env, formula.label), nodes.Text(" "), name]
        head += nodes.Text(f" · {place}" if place else "")
        box += [head, nodes.math_block("", formula.tex, nowrap=False, number=None)]
        box += self.held(page, formula)
        return box

    def held(self, page: Page, formula: Formula) -> nodes.paragraph:
        """The code and the proof of a formula, in a line."""
        line = nodes.paragraph(classes=["doors"])
        if not (formula.code or formula.proof or formula.identity):
            line += nodes.Text("No code of its own, no proof on the page")
            return line
        cells = [cell for cell in page.cells if cell.id in formula.code]
        line += [nodes.strong("", "Code"), nodes.Text(" ")]
        names = list(survey.public(page, cells))
        doors: list[nodes.Node] = [to(f"name:{name}") for name in names]
        if cells and not doors:
            doors = [to(f"cell:{cells[0].id}")]
        line += separated(doors) or [nodes.Text("none of its own")]
        line += [nodes.Text(" "), nodes.strong("", "Proof"), nodes.Text(" ")]
        if formula.proof:
            text = ", the next of the section" if formula.near else ""
            line += [to(f"cell:{formula.proof}"), nodes.Text(text)]
        elif formula.identity:
            text = "no proof of code on the page; the algebra is asserted in "
            line += [nodes.Text(text), to(f"cell:{formula.identity}")]
        else:
            line += nodes.Text("no proof on the page")
        return line


def separated(found: list[nodes.Node]) -> list[nodes.Node]:
    result: list[nodes.Node] = []
    for node in found:
        result += [nodes.Text(", "), node] if result else [node]
    return result


class IdentifierIndex(Directive):
    """`{identifier-index}`: every public name, with what it is and where it is made."""

    def run(self) -> list[nodes.Node]:
        env: BuildEnvironment = self.state.document.settings.env
        found = atlas(env)
        summaries = {key: first_line(key) for key in found.homes}
        public = {
            f"{module}.{name}"
            for module, names in notebooks.public_names().items()
            for name in names
        }
        rows = sorted(public, key=lambda full: full.rpartition(".")[2].lower())
        listing = nodes.definition_list(classes=["identifiers"])
        for full in rows:
            module, _, name = full.partition(".")
            where = found.homes.get(full)
            term = nodes.term("", "", to(f"name:{full}", name))
            words = re.split(r"`+", summaries.get(full, ""))
            kinds = (nodes.Text, lambda word: nodes.literal("", word))
            told = nodes.paragraph()
            told += [kinds[i % 2](word) for i, word in enumerate(words) if word]
            told += [nodes.Text(" "), self.origin(module, where)]
            body = nodes.definition("", told)
            listing += nodes.definition_list_item("", term, body)
        return [listing]

    def origin(self, module: str, where: tuple[str, str] | None) -> nodes.inline:
        """The module of a name, and the section that makes it."""
        line = nodes.inline(classes=["origin"])
        line += to(f"name:module:{module}", module)
        if where:
            line += [nodes.Text(" · "), to(f"cell:{where[1]}")]
        return line


def first_line(full: str) -> str:
    """The first sentence of a name's docstring, or what kind of value it is."""
    module, _, name = full.partition(".")
    thing = getattr(importlib.import_module(f"backprop_lit.{module}"), name, None)
    if not isinstance(thing, type) and not inspect.isfunction(thing):
        kinds = (kind.__name__ for kind in type(thing).__mro__)
        return f"A value: a `{next(k for k in kinds if not k.startswith('_'))}`."
    if not thing.__module__.startswith("backprop_lit"):
        return f"A shorter name for `{thing.__module__}.{thing.__name__}`."
    first = (thing.__doc__ or "").strip().partition("\n\n")[0]
    return re.sub(r"\s+", " ", first)


# Code on the pages -------------------------------------------------------------

CELL = re.compile(
    r'id="cell-(?P<id>\w+)">(?:(?!id="cell-).)*?<div class="cell_input[^>]*>\s*'
    r'<div class="highlight-\w+ notranslate"><div class="highlight"><pre>'
    r"(?P<code>.*?)</pre>",
    re.S,
)
BLOCK = re.compile(
    r'<div class="highlight-(?:python|ipython3)[^"]*"><div class="highlight"><pre>'
    r"(?P<code>(?:(?!<a ).)*?)</pre>",
    re.S,
)
TOKEN = re.compile(r'(<span class="n[a-z]*">)([^<]*)(</span>)|<[^>]*>|[^<]+')


def link_code(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Lead every name of the package in the code of a page to its definition."""
    if "body" not in context or not doctree:
        return
    known = atlas(app.env).pages.get(page)
    doors = known.doors if known else {}

    def cell(match: re.Match[str]) -> str:
        found = doors.get(match["id"], [])
        start, end = (
            match.start("code") - match.start(),
            match.end("code") - match.start(),
        )
        code = linked(app, page, match["code"], found)
        return match[0][:start] + code + match[0][end:]

    def block(match: re.Match[str]) -> str:
        if "backprop_lit" not in match["code"]:
            return match[0]
        source = html.unescape(re.sub(r"<[^>]*>", "", match["code"]))
        try:
            found = survey.Reader(atlas(app.env).catalog).read(source)
        except SyntaxError:
            return match[0]
        return match[0].replace(match["code"], linked(app, page, match["code"], found))

    body = CELL.sub(cell, context["body"])
    context["body"] = BLOCK.sub(block, body)


def linked(app: Sphinx, page: str, code: str, doors: list[survey.Door]) -> str:
    """Highlighted code with links where the doors are."""
    places = {(door.line, door.column): door for door in doors}
    line, column, result = 0, 0, []
    for token in TOKEN.finditer(code):
        whole, word = token[0], token[2]
        text = html.unescape(word if word is not None else whole)
        if word is None and whole.startswith("<"):
            result.append(whole)
            continue
        found = places.get((line, column)) if word else None
        if found and found.word == text:
            uri = address(app, page, found.target)
            whole = f'<a class="name" href="{uri}">{whole}</a>' if uri else whole
        result.append(whole)
        line, column = line + text.count("\n"), column + len(text)
        if "\n" in text:
            column = len(text.rpartition("\n")[2])
    return "".join(result)


NUMBER = re.compile(
    r'(<span class="eqno">)(\([\d.]+\))'
    r'(<a class="headerlink" href="#equation-(eq-[^"]+)")'
)


def link_numbers(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """The number of a formula leads to its code and its proof."""
    if "body" not in context or FORMULAS not in app.env.found_docs:
        return
    place = cast(Any, app.builder).get_relative_uri(page, FORMULAS)
    link = rf'\1<a class="number" href="{place}#formula-\4">\2</a>\3'
    context["body"] = NUMBER.sub(link, context["body"])


# What the script looks up ------------------------------------------------------

LETTERS = re.compile(r'<div class="[^"]*\bletters\b[^"]*">.*?</div>(?=\s*<p)', re.S)
SIGNS_OF = re.compile(r'<p><span class="math">(?:(?!</p>|chapter).)*</p>', re.S)


def write_tellings(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """Definitions and boxes of letters as small scripts, loaded on demand."""
    if app.builder.name != "html":
        return
    body, folder = context.get("body", ""), Path(app.outdir, "_static", "doors")
    name = page.rpartition("/")[2]
    if page == GLOSSARY:
        terms = book(app.env).data["terms"]
        told = {key: rendered(app, page, first) for key, (_, first) in terms.items()}
        write(folder / "glossary.js", "glossary", told)
    elif page == "nbs/notation":
        tables = re.findall(r"<table.*?</table>", body, re.S)
        texts = SIGNS_OF.findall(re.sub(r"<table.*?</table>", "", body, flags=re.S))
        write(folder / "notation.js", "notation", "".join(tables[:1] + texts))
    elif box := LETTERS.search(body):
        write(folder / f"{name}.js", name, box[0])


def write(path: Path, name: str, told: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(told, ensure_ascii=False)
    path.write_text(f"doors.told({json.dumps(name)}, {text})\n", "utf8")


def rendered(app: Sphinx, page: str, node: nodes.Element) -> str:
    """A piece of the glossary as HTML, with its links taken out."""
    copy = node.deepcopy()
    for link in list(copy.findall(addnodes.pending_xref)):
        link.replace_self(nodes.Text(link.astext()))
    fragment = cast(Any, app.builder).render_partial(copy)["fragment"]
    return re.sub(r"^<p>|</p>$", "", fragment.strip())


def lighten(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any
) -> None:
    """In the index of formulas, the sources of the formulas are not said again."""
    if page == FORMULAS and "body" in context:
        sources = r"<annotation encoding=.*?</annotation>"
        context["body"] = re.sub(sources, "", context["body"], flags=re.S)


def keep_entries(app: Sphinx, env: BuildEnvironment) -> None:
    """Give the search the index entries of all pages.

    Sphinx (7.4) forgets those of pages that it need not write again.
    """
    held = getattr(env, "_search_index_index_entries", {})
    for docname, entries in env.get_domain("index").entries.items():  # type: ignore[attr-defined]
        found = set()
        for kind, value, anchor, main, _ in entries:
            with contextlib.suppress(ValueError):
                words = split_index_msg(kind, value)
                found |= {(word, anchor or "", main) for word in words}
        held[docname] = sorted(found)


def score_search(app: Sphinx, config: Any) -> None:
    config.html_search_scorer = str(Path(__file__).parent / "search.js")


def add_script(app: Sphinx) -> None:
    """Only pages in a browser have pointers."""
    if app.builder.name == "html":
        app.add_js_file("doors.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_domain(BookDomain)
    app.add_directive("formula-index", FormulaIndex)
    app.add_directive("identifier-index", IdentifierIndex)
    app.add_css_file("doors.css")
    app.connect("builder-inited", add_script)
    app.connect("env-get-outdated", outdated, priority=400)
    app.connect("doctree-read", remember)
    app.connect("doctree-read", under_entries)
    app.connect("doctree-read", name_quotes)
    app.connect("env-updated", retell)
    app.connect("doctree-resolved", open_doors)
    app.connect("html-page-context", link_code, priority=400)
    app.connect("html-page-context", link_numbers)
    app.connect("html-page-context", write_tellings)
    app.connect("html-page-context", lighten)
    app.connect("config-inited", score_search)
    app.connect("env-updated", keep_entries)
    safe = {"parallel_read_safe": True, "parallel_write_safe": True}
    return {"version": "1", "env_version": 2} | safe
