"""What the book says of its own code, read from the notebooks without running them.

Which name of the package each word of a code cell means, where each name is made,
used and proved, and which code and proof belong to a formula.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import notebooks

Meaning = tuple[str, str] | None  # what a name stands for: its kind, and of what
UNSET = ("unset", "")
PROVERS = {"symbolic.prove", "symbolic.vanish"}


Claim = tuple[ast.Call, frozenset[str]]


class Door(NamedTuple):
    """A word of code and what it means: line and column from 0, and the target."""

    line: int
    column: int
    word: str
    target: str
    use: bool = True


class Cell(NamedTuple):
    """A cell, with the headings above its end."""

    number: int
    id: str
    code: bool
    source: str
    hidden: bool
    exports: tuple[str, ...]
    path: tuple[str, ...]


class Formula(NamedTuple):
    """A labelled equation, with the cells that hold its code and its proof."""

    label: str
    tex: str
    cell: str
    path: tuple[str, ...]
    code: tuple[str, ...] = ()
    proof: str = ""
    proved: tuple[str, ...] = ()
    near: bool = False  # the proof is only the next one of the section
    identity: str = ""


class Page(NamedTuple):
    """All that is known of one notebook."""

    module: str
    title: str
    cells: tuple[Cell, ...]
    doors: dict[str, list[Door]]
    proofs: list[tuple[str, frozenset[str]]]
    formulas: list[Formula]
    prose: dict[str, Meaning]  # what a name means wherever the page binds it

    foreign: frozenset[str] | None = None  # sections with letters of others


# The package -------------------------------------------------------------------


class Catalog:
    """Names of the package's modules, and the members of its classes."""

    def __init__(self) -> None:
        self.spaces: dict[str, dict[str, Meaning]] = {}
        self.bases: dict[str, list[str]] = {}
        self.members: dict[str, dict[str, tuple[str, Meaning]]] = {}
        self.returns: dict[str, Meaning] = {}
        self.lists: dict[str, set[str]] = {}
        trees = {
            path.stem: ast.parse(path.read_text("utf8"))
            for path in sorted(notebooks.PACKAGE.glob("[a-z]*.py"))
        }
        for module, tree in trees.items():
            self.spaces[module] = dict(self.names(module, tree))
        for module, tree in trees.items():
            self.fill(module, tree.body)

    def names(self, module: str, tree: ast.Module) -> Iterator[tuple[str, Meaning]]:
        """Top-level names of a module, its imports from the package among them."""
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                yield from self.imported(node)
            elif isinstance(node, ast.Import):
                for name in stored(node):
                    yield name, None
            elif isinstance(node, ast.ClassDef | ast.FunctionDef):
                yield node.name, ("object", f"{module}.{node.name}")
            else:
                for name in stored(node):
                    yield name, ("object", f"{module}.{name}")

    def imported(self, node: ast.ImportFrom) -> Iterator[tuple[str, Meaning]]:
        """What a `from … import …` binds."""
        source = "backprop_lit" if node.level else node.module or ""
        source += f".{node.module}" if node.level and node.module else ""
        package, _, module = source.partition(".")
        for alias in node.names:
            name = alias.asname or alias.name
            if package != "backprop_lit":
                yield name, None
            elif module:
                yield name, ("object", f"{module}.{alias.name}")
            elif (notebooks.PACKAGE / f"{alias.name}.py").exists():
                yield name, ("module", alias.name)
            else:
                home = notebooks.module_of(alias.name)
                known = home != "__init__"
                yield name, ("object", f"{home}.{alias.name}") if known else None

    def fill(self, module: str, body: list[ast.stmt]) -> None:
        """Learn what functions return and what classes have."""
        space = self.spaces[module]
        for node in body:
            if isinstance(node, ast.ClassDef):
                self.learn(f"{module}.{node.name}", node, space)
            elif isinstance(node, ast.FunctionDef):
                made = self.instance(node.returns, space)
                self.returns[f"{module}.{node.name}"] = made
            elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
                words = {n.id for n in ast.walk(node.value) if isinstance(n, ast.Name)}
                for name in stored(node):
                    self.lists[f"{module}.{name}"] = {f"{module}.{w}" for w in words}
                    if isinstance(node.value, ast.Call):
                        made = self.instance(node.value.func, space)
                        self.returns[f"{module}.{name}"] = made

    def learn(self, full: str, node: ast.ClassDef, space: dict[str, Meaning]) -> None:
        """The bases of a class and what can be asked of its instances."""
        known = (self.plain(base, space) for base in node.bases)
        self.bases[full] = [base[1] for base in known if base]
        members = self.members.setdefault(full, {})
        for part in node.body:
            if isinstance(part, ast.FunctionDef):
                made = self.instance(part.returns, space)
                if ast.unparse(part.returns or ast.Constant(0)) in ("Self", node.name):
                    made = ("instance", full)
                marks = {ast.unparse(mark) for mark in part.decorator_list}
                kind = "field" if "property" in marks else "method"
                members[part.name] = kind, made
                for name in own(part):
                    members.setdefault(name, ("field", None))
            elif isinstance(part, ast.AnnAssign):
                made = self.instance(part.annotation, space)
                members |= {name: ("field", made) for name in stored(part)}

    def plain(self, node: ast.AST | None, space: dict[str, Meaning]) -> Meaning:
        """What a dotted name means, without recording anything."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return space.get(node.value)
        return space.get(node.id) if isinstance(node, ast.Name) else None

    def instance(self, node: ast.AST | None, space: dict[str, Meaning]) -> Meaning:
        """What an annotation promises, if it is a class of the package."""
        if isinstance(node, ast.BinOp) and ast.unparse(node.right) == "None":
            node = node.left
        found = self.plain(node, space)
        return ("instance", found[1]) if found and found[0] == "object" else None

    def member(self, full: str, name: str) -> tuple[str, Meaning] | None:
        """Where a class gets a member from, and what that gives."""
        todo = [full]
        while todo:
            owner = todo.pop(0)
            if name in self.members.get(owner, {}):
                kind, made = self.members[owner][name]
                if made == ("instance", owner):
                    made = ("instance", full)
                place = f"{owner}.{name}"
                self.returns.setdefault(place, made)
                return place, made if kind == "field" else ("object", place)
            todo += self.bases.get(owner, [])
        return None


def stored(node: ast.AST) -> set[str]:
    """Names that a statement binds in its own scope."""
    found: set[str] = set()
    todo = [node]
    while todo:
        part = todo.pop()
        if isinstance(part, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            found.add(part.name)
        elif isinstance(part, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp):
            continue
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            found.add(part.id)
        elif isinstance(part, ast.alias):
            found.add((part.asname or part.name).partition(".")[0])
        elif isinstance(part, ast.ExceptHandler) and part.name:
            found.add(part.name)
        if not isinstance(part, ast.FunctionDef | ast.ClassDef | ast.GeneratorExp):
            todo += ast.iter_child_nodes(part)
    return found


def own(method: ast.FunctionDef) -> set[str]:
    """Attributes that a method gives to `self`."""
    return {
        node.attr
        for node in ast.walk(method)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


# What a piece of code means ----------------------------------------------------


class Reader:
    """Reads the cells of one page in order, and notes what each name means.

    It is sure or silent: where two ways through the code meet with different
    meanings, a name has none.
    """

    def __init__(self, catalog: Catalog, module: str = "") -> None:
        self.catalog, self.module = catalog, module
        self.scopes: list[dict[str, Meaning]] = [{}]
        self.kinds = ["page"]
        self.doors: list[Door] = []
        self.lines: list[str] = []
        self.quiet = self.exported = False
        self.calls: dict[str, set[str]] = {}
        self.sources: dict[str, ast.expr] = {}
        self.proofs: list[Claim] = []
        self.bound: dict[str, set[Meaning]] = {}

    def read(self, source: str, exported: bool = False) -> list[Door]:
        """The doors of a cell; what it binds holds in those that follow."""
        source = notebooks.plain(source)
        self.lines, self.exported = source.split("\n"), exported
        self.doors, self.proofs = [], []
        self.run(ast.parse(source).body)
        return sorted(set(self.doors))

    def note(self, line: int, offset: int, word: str, target: str, use: bool) -> None:
        """Note a door at a place that the parser counts in bytes."""
        text = self.lines[line - 1]
        column = len(text.encode()[:offset].decode("utf8", "ignore"))
        mine = word and not target.startswith("@") and text.startswith(word, column)
        if mine and not self.quiet:
            self.doors.append(Door(line - 1, column, word, target, use))

    def bind(self, name: str, meaning: Meaning) -> None:
        self.scopes[-1][name] = meaning
        if len(self.scopes) == 1:
            self.bound.setdefault(name, set()).add(meaning)

    def look(self, name: str) -> Meaning:
        """What a name means here."""
        innermost = len(self.scopes) - 1
        for depth in range(innermost, -1, -1):
            if self.kinds[depth] == "class" and depth != innermost:
                continue
            if name in self.scopes[depth]:
                found = self.scopes[depth][name]
                return None if found == UNSET else found
        return None

    # Statements

    def run(self, body: Iterable[ast.stmt]) -> None:
        for node in body:
            handler = getattr(self, f"do_{type(node).__name__}", None)
            if handler:
                handler(node)
            else:
                self.value(node)

    def full(self, name: str) -> str:
        top = len(self.scopes) == 1 and self.exported
        return f"{self.module}.{name}" if top else f"@{name}"

    def do_FunctionDef(self, node: ast.FunctionDef) -> None:
        full = self.full(node.name)
        for part in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
            self.value(part)
        self.define(node, full)
        made = self.value(node.returns)
        before = len(self.doors)
        self.function(node, node.body)
        if full.startswith("@") and self.kinds[-1] != "class":
            known = ("instance", made[1]) if made and made[0] == "object" else None
            self.catalog.returns[full] = known
            called = {door.target for door in self.doors[before:] if door.use}
            self.calls[full] = called - self.catalog.lists.keys()

    def define(self, node: ast.FunctionDef | ast.ClassDef, full: str) -> None:
        """Bind the name of a function or a class; a method belongs to its class."""
        word = "class " if isinstance(node, ast.ClassDef) else "def "
        owner = self.scopes[-1].get("@") if self.kinds[-1] == "class" else None
        target = f"{owner[1]}.{node.name}" if owner else full
        column = node.col_offset + len(word)
        self.note(node.lineno, column, node.name, target, False)
        self.bind(node.name, None if owner else ("object", full))

    def function(
        self, node: ast.FunctionDef | ast.Lambda, body: Iterable[ast.stmt]
    ) -> None:
        """Read a body in a scope of its own, where its arguments hide other names."""
        arguments = node.args
        named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        rest = [part for part in (arguments.vararg, arguments.kwarg) if part]
        scope: dict[str, Meaning] = {}
        for argument in [*named, *rest]:
            found = self.value(argument.annotation)
            sure = found and found[0] == "object" and argument in named
            scope[argument.arg] = ("instance", found[1]) if sure and found else None
        owner = self.scopes[-1].get("@") if self.kinds[-1] == "class" else None
        if owner and named and isinstance(node, ast.FunctionDef):
            marks = {ast.unparse(mark) for mark in node.decorator_list}
            kind = "object" if "classmethod" in marks else "instance"
            if "staticmethod" not in marks:
                scope[named[0].arg] = kind, owner[1]
        body = list(body)
        for name in {name for part in body for name in stored(part)} - scope.keys():
            scope[name] = UNSET
        with_module = self.exported and len(self.scopes) == 1 and self.module
        space = self.catalog.spaces.get(self.module, {}) if with_module else {}
        self.inside(space | scope, "function", body)

    def inside(
        self, scope: dict[str, Meaning], kind: str, body: Iterable[ast.stmt]
    ) -> None:
        self.scopes.append(scope)
        self.kinds.append(kind)
        self.run(body)
        self.scopes.pop()
        self.kinds.pop()

    def do_ClassDef(self, node: ast.ClassDef) -> None:
        full = self.full(node.name)
        for part in [*node.decorator_list, *node.bases]:
            self.value(part)
        self.define(node, full)
        if full.startswith("@"):
            names = [base.id for base in node.bases if isinstance(base, ast.Name)]
            space = {name: self.look(name) for name in names}
            self.catalog.members.pop(full, None)
            self.catalog.learn(full, node, space)
        space = self.catalog.spaces.get(self.module, {}) if self.exported else {}
        if len(self.scopes) == 1 and space:  # methods see the whole module
            self.scopes.append(dict(space))
            self.kinds.append("module")
            self.inside({"@": ("class", full)}, "class", node.body)
            self.scopes.pop()
            self.kinds.pop()
        else:
            self.inside({"@": ("class", full)}, "class", node.body)

    def do_ImportFrom(self, node: ast.ImportFrom) -> None:
        start = node.col_offset + len("from ")
        if (node.module or "").partition(".")[0] == "backprop_lit":
            target = f"module:{(node.module or '').partition('.')[2]}"
            self.note(node.lineno, start, node.module or "", target, False)
        meant = list(self.catalog.imported(node))
        for alias, (name, meaning) in zip(node.names, meant, strict=True):
            self.bind(name, meaning)
            if meaning:
                kind = "module:" if meaning[0] == "module" else ""
                target = kind + meaning[1]
                self.note(alias.lineno, alias.col_offset, alias.name, target, False)

    def do_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            package, _, module = alias.name.partition(".")
            mine = package == "backprop_lit"
            if mine:
                target = f"module:{module}"
                self.note(alias.lineno, alias.col_offset, alias.name, target, False)
            name = alias.asname or package
            path = module if alias.asname else ""
            self.bind(name, ("module", path) if mine else None)

    def do_Assign(self, node: ast.Assign) -> None:
        made = self.value(node.value)
        for target in node.targets:
            self.store(target, made)

    def do_AnnAssign(self, node: ast.AnnAssign) -> None:
        held = self.value(node.annotation)
        made = self.value(node.value) if node.value else None
        if not made and held and held[0] == "object":
            made = ("instance", held[1])
        self.store(node.target, made)

    def store(self, target: ast.expr | None, made: Meaning) -> None:
        """Bind what stands left of an equals sign."""
        if isinstance(target, ast.Name):
            full = self.full(target.id)
            if not full.startswith("@"):
                self.note(target.lineno, target.col_offset, target.id, full, False)
                made = ("object", full)
            self.bind(target.id, made)
        elif isinstance(target, ast.Tuple | ast.List):
            for part in target.elts:
                self.store(part, None)
        elif isinstance(target, ast.Starred):
            self.store(target.value, None)
        else:
            self.value(target)

    def do_AugAssign(self, node: ast.AugAssign) -> None:
        self.value(node.value)
        self.store(node.target, None)

    def do_If(self, node: ast.If) -> None:
        self.value(node.test)
        self.fork([node.body, node.orelse])

    def fork(self, branches: list[list[ast.stmt]]) -> None:
        """Read each branch from the same state; keep what they agree on."""
        start, ends = dict(self.scopes[-1]), []
        for branch in branches:
            self.scopes[-1] = dict(start)
            self.run(branch)
            ends.append(self.scopes[-1])
        self.scopes[-1] = ends[0]
        for end in ends[1:]:
            self.meet(end)

    def meet(self, other: dict[str, Meaning]) -> None:
        here = self.scopes[-1]
        for name in here.keys() | other.keys():
            first, second = here.get(name, UNSET), other.get(name, UNSET)
            if first == UNSET or second == UNSET:
                first = second = first if second == UNSET else second
            here[name] = first if first == second else None

    def loop(self, node: Any, target: ast.expr | None = None) -> None:
        start, quiet, self.quiet = dict(self.scopes[-1]), self.quiet, True
        for silent in (True, False):
            self.store(target, None) if target else None
            self.quiet = quiet or silent
            self.run(node.body)
            self.meet(start)
        self.run(node.orelse)

    def do_For(self, node: ast.For) -> None:
        self.value(node.iter)
        self.remember(node.target, node.iter)
        self.loop(node, node.target)

    def remember(self, target: ast.expr, iterable: ast.expr) -> None:
        """What the names of a loop run over."""
        for part in ast.walk(target):
            if isinstance(part, ast.Name):
                self.sources[part.id] = iterable

    def do_While(self, node: ast.While) -> None:
        self.value(node.test)
        self.loop(node)

    def do_With(self, node: ast.With) -> None:
        for item in node.items:
            self.value(item.context_expr)
            if item.optional_vars:
                self.store(item.optional_vars, None)
        self.run(node.body)

    def do_Try(self, node: ast.Try) -> None:
        start = dict(self.scopes[-1])
        self.run([*node.body, *node.orelse])
        for handler in node.handlers:
            end = self.scopes[-1]
            self.scopes[-1] = dict(start)
            self.value(handler.type)
            if handler.name:
                self.bind(handler.name, None)
            self.run(handler.body)
            self.meet(end)
        self.run(node.finalbody)

    # Expressions

    def value(self, node: ast.AST | None) -> Meaning:
        """What an expression stands for; its names are noted on the way."""
        handler = getattr(self, f"of_{type(node).__name__}", None)
        if handler:
            return handler(node)
        for part in ast.iter_child_nodes(node) if node else ():
            if isinstance(part, ast.stmt):
                self.run([part])
            else:
                self.value(part)
        return None

    def of_Name(self, node: ast.Name) -> Meaning:
        found = self.look(node.id)
        if found and found[0] in ("object", "module"):
            kind = "module:" if found[0] == "module" else ""
            target = kind + found[1]
            self.note(node.lineno, node.col_offset, node.id, target, True)
        if found and found[0] == "object" and found[1] in self.catalog.lists:
            return self.catalog.returns.get(found[1]) or found
        return found

    def of_Attribute(self, node: ast.Attribute) -> Meaning:
        base = self.value(node.value)
        found: tuple[str, Meaning] | None = None
        if base and base[0] == "module":
            space = self.catalog.spaces.get(base[1])
            inside = space.get(node.attr) if space else None
            if not base[1] and node.attr in self.catalog.spaces:
                inside = "module", node.attr
            elif not base[1] and notebooks.module_of(node.attr) != "__init__":
                inside = "object", f"{notebooks.module_of(node.attr)}.{node.attr}"
            kind = "module:" if inside and inside[0] == "module" else ""
            found = (kind + inside[1], inside) if inside else None
        elif base and base[0] in ("object", "instance"):
            found = self.catalog.member(base[1], node.attr)
        if found and node.end_lineno and node.end_col_offset:
            start = node.end_col_offset - len(node.attr.encode())
            self.note(node.end_lineno, start, node.attr, found[0], True)
        return found[1] if found else None

    def of_Call(self, node: ast.Call) -> Meaning:
        made = self.value(node.func)
        for part in [*node.args, *(word.value for word in node.keywords)]:
            self.value(part)
        if not made or made[0] != "object":
            return None
        if node.args and not self.quiet and self.proves(made[1]):
            parts = node.args[:1] if made[1] in PROVERS else node.args
            found = {name for part in parts for name in self.subjects(part)}
            self.proofs.append((node, frozenset(found)))
        if made[1] in self.catalog.members:
            return "instance", made[1]
        return self.catalog.returns.get(made[1])

    def proves(self, full: str) -> bool:
        """Whether this is `prove`, or a function of the page that calls it."""
        return full in PROVERS or bool(self.calls.get(full, set()) & PROVERS)

    def of_Lambda(self, node: ast.Lambda) -> Meaning:
        self.function(node, [ast.copy_location(ast.Expr(node.body), node)])
        return None

    def comprehension(self, node: Any) -> Meaning:
        self.scopes.append({})
        self.kinds.append("function")
        for part in node.generators:
            self.value(part.iter)
            self.remember(part.target, part.iter)
            self.store(part.target, None)
            for test in part.ifs:
                self.value(test)
        for field in ("key", "value", "elt"):
            self.value(getattr(node, field, None))
        self.scopes.pop()
        self.kinds.pop()
        return None

    of_ListComp = comprehension  # noqa: N815
    of_SetComp = comprehension  # noqa: N815
    of_DictComp = comprehension  # noqa: N815
    of_GeneratorExp = comprehension  # noqa: N815

    def subjects(self, node: ast.expr) -> set[str]:
        """Names of the package that a proof speaks of."""
        quiet, self.quiet = self.quiet, True
        found = self.value(node)
        self.quiet = quiet
        if found and found[0] in ("object", "instance"):
            if not found[1].startswith("@"):
                return {found[1]} | self.catalog.lists.get(found[1], set())
            return self.calls.get(found[1], set())
        if isinstance(node, ast.Tuple):
            return {name for part in node.elts for name in self.subjects(part)}
        if isinstance(node, ast.Call):
            return {name for part in node.args for name in self.subjects(part)}
        if isinstance(node, ast.Name) and node.id in self.sources:
            return self.inside_of(self.sources.pop(node.id))
        return set()

    def inside_of(self, node: ast.expr) -> set[str]:
        """The data of the package that a loop runs over."""
        meant = (self.look(n.id) for n in ast.walk(node) if isinstance(n, ast.Name))
        names = {found[1] for found in meant if found and found[0] == "object"}
        listed = [self.catalog.lists.get(name, set()) for name in names]
        return names.union(*listed)


# A whole notebook --------------------------------------------------------------

HEADING = re.compile(r"^(#{1,6})\s+(.+?)\s*#*$")
FENCE = re.compile(r"^\s*(`{3,}|:{3,}|~{3,})")
LABELLED = re.compile(r"\$\$(?P<tex>(?:[^$]|\\\$)+?)\$\$\s*\((?P<label>eq-[\w-]+)\)")


def headings(source: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """The headings that hold at the end of a Markdown text."""
    fence = ""
    for line in source.splitlines():
        mark = FENCE.match(line)
        if mark and mark[1][0] in "`~" and (not fence or line.strip() == fence):
            fence = "" if fence else mark[1]
        match = None if fence else HEADING.match(line)
        if match:
            level = len(match[1])
            path = (*path[: level - 1], *[""] * (level - 1 - len(path)), match[2])
    return path


def cells(nb: nbformat.NotebookNode) -> Iterator[Cell]:
    """The cells of a notebook, each with what is known of it."""
    path: tuple[str, ...] = ()
    for number, cell in enumerate(nb.cells):
        code, source = cell.cell_type == "code", cell.source
        exports: tuple[str, ...] = ()
        found: dict[str, str] = {}
        if code:
            found, source = notebooks.directives(source)
            body = ast.parse(notebooks.plain(source)).body if "export" in found else []
            exports = tuple(sorted({name for node in body for name in made(node)}))
        else:
            path = headings(source, path)
        tags = {tag for name in found for tag in notebooks.TAGS.get(name, [])}
        hidden = bool(tags & {"remove-cell", "remove-input"}) or not source
        where = cell.get("id", "")
        yield Cell(number, where, code, source, hidden, exports, path)


def made(node: ast.stmt) -> set[str]:
    """Names that a statement of an export cell makes, rather than imports."""
    return set() if isinstance(node, ast.Import | ast.ImportFrom) else stored(node)


def holds(cell: Cell, proofs: list[Claim]) -> frozenset[str] | None:
    """What a cell proves, or nothing if its proofs are shown to fail.

    A proof holds if the cell asserts it, or if it is of the package's own code.
    """
    tree = ast.parse(notebooks.plain(cell.source))
    asserts = [ast.unparse(n.test) for n in ast.walk(tree) if isinstance(n, ast.Assert)]
    givers = [n for n in ast.walk(tree) if isinstance(n, ast.Assign)]
    asserted, named = False, set[str]()
    for call, subjects in proofs:
        text = ast.unparse(call)
        names = {ast.unparse(n.targets[0]) for n in givers if text in ast.unparse(n)}
        if any(f"not {name}" in test for test in asserts for name in {text, *names}):
            continue
        asserted |= any(text in test or test in names for test in asserts)
        named |= {name for name in subjects if not name.startswith("@")}
    return frozenset(named) if asserted or named else None


IDENTITY = re.compile(r"assert .*(?:simplify\(|\.expand\(\)).*==", re.S)


def opened(path: Path) -> nbformat.NotebookNode:
    if path.suffix != ".md":
        return nbformat.read(path, 4)
    text = nbformat.v4.new_markdown_cell(path.read_text("utf8"))
    return nbformat.v4.new_notebook(cells=[text])


def survey(path: Path, catalog: Catalog) -> Page:
    """Read one notebook, or one page of text as if it were a single cell."""
    nb = opened(path)
    found = tuple(cells(nb))
    modules = (re.match(r"#\|\s*default_exp\s+(\w+)", c.source) for c in nb.cells)
    module = next((match[1] for match in modules if match), "")
    reader, doors, proofs = Reader(catalog, module), {}, []
    for cell in found:
        if not cell.code:
            continue
        exported = "export" in notebooks.directives(nb.cells[cell.number].source)[0]
        doors[cell.id] = reader.read(cell.source, exported)
        proved = holds(cell, reader.proofs) if reader.proofs else None
        if proved is not None:
            proofs.append((cell.id, proved - PROVERS))
    title = next((cell.path[0] for cell in found if cell.path), path.stem)
    prose = {
        name: next(iter(meanings)) if len(meanings) == 1 else None
        for name, meanings in reader.bound.items()
    }
    page = Page(module, title, found, doors, proofs, [], prose)
    page.formulas.extend(formulas(page))
    return page._replace(
        foreign=foreign(page), cells=tuple(c._replace(source="") for c in found)
    )


LABEL = re.compile(r"^\((sec-[\w-]+)\)=\s*\n#+\s+(.+?)\s*$", re.M)
BOX = re.compile(r"^:::\{admonition\} Letters of this chapter\n(.*?)^:::", re.M | re.S)


def foreign(page: Page) -> frozenset[str] | None:
    """Titles of sections that the box of letters excepts; nothing without a box."""
    text = "\n".join(cell.source for cell in page.cells if not cell.code)
    box = BOX.search(text)
    if not box:
        return None
    labels = dict(LABEL.findall(text))
    linked = re.findall(r"\]\((sec-[\w-]+)\)", box[1])
    return frozenset(labels[name] for name in linked if name in labels)


# Formulas ----------------------------------------------------------------------

REFERENCE = re.compile(r"\{eq\}`([\w-]+)`")
RANGE = re.compile(r"\{eq\}`([\w-]+)` to \{eq\}`([\w-]+)`")
SHORT = 700  # characters of a text that is about the cell after it


def formulas(page: Page) -> Iterator[Formula]:
    """Labelled equations, each with the cells that belong to it."""
    before: tuple[str, ...] = ()
    named = introductions(page.cells)
    for cell in page.cells:
        if not cell.code:
            for match in LABELLED.finditer(cell.source):
                path = headings(cell.source[: match.start()], before)
                formula = Formula(match["label"], match["tex"].strip(), cell.id, path)
                about = set(named.get(formula.label, []))
                formula = with_code(page, cell, formula, about)
                yield with_proof(page, cell, formula, about)
        before = cell.path


def run_after(found: tuple[Cell, ...], number: int) -> list[Cell]:
    """The code cells that follow a cell, up to the next text."""
    return list(itertools.takewhile(lambda cell: cell.code, found[number + 1 :]))


def introductions(found: tuple[Cell, ...]) -> dict[str, list[str]]:
    """Formula to the code cells right after a short text that names it.

    A line that says "not" does not count; "(3) to (5)" names all three.
    """
    text = "\n".join(cell.source for cell in found if not cell.code)
    labels = [match["label"] for match in LABELLED.finditer(text)]
    result: dict[str, list[str]] = {}
    for cell in found:
        last = cell.source.rstrip().rpartition("\n\n")[2]
        about = cell.source if len(cell.source) <= SHORT else last
        for line in about.splitlines() if not cell.code else ():
            names = REFERENCE.findall(line) if " not " not in line else []
            for start, end in RANGE.findall(line):
                if start in labels and end in labels:
                    names += labels[labels.index(start) : labels.index(end)]
            for name in dict.fromkeys(names):
                after = [c.id for c in run_after(found, cell.number)]
                result.setdefault(name, []).extend(after)
    return result


def with_code(page: Page, cell: Cell, formula: Formula, about: set[str]) -> Formula:
    """Code that the text introduces by the formula, else what follows it."""
    found = [c for c in page.cells if c.id in about and c.exports and not c.hidden]
    if not any(public(page, found)):
        found = following(page, cell, formula)
    return formula._replace(code=tuple(dict.fromkeys(c.id for c in found)))


def public(page: Page, found: Iterable[Cell]) -> Iterator[str]:
    """Public names that export cells make."""
    for cell in found:
        for name in cell.exports:
            if not name.startswith("_"):
                yield f"{page.module}.{name}"


def following(page: Page, cell: Cell, formula: Formula) -> list[Cell]:
    """The next export cells in the section, up to a text; of a public name, if any."""
    runs: list[list[Cell]] = [[]]
    for later in page.cells[cell.number + 1 :]:
        if later.path[:2] != formula.path[:2]:
            break
        if not later.code and runs[-1]:
            runs.append([])
        elif later.exports and not later.hidden:
            runs[-1].append(later)
    return next((run for run in runs if any(public(page, run))), runs[0])


def with_proof(page: Page, cell: Cell, formula: Formula, about: set[str]) -> Formula:
    """The proof that the text introduces by the formula, else that of its code."""
    names = set(public(page, (c for c in page.cells if c.id in formula.code)))
    proofs = dict(page.proofs)
    stated = [where for where in proofs if where in about]
    of_code = [where for where, subjects in page.proofs if subjects & names]
    both = [where for where in of_code if where in stated]
    place = next(iter(both or of_code or stated), "")
    if place:
        proved = tuple(sorted(proofs[place] & names))
        return formula._replace(proof=place, proved=proved)
    for later in page.cells[cell.number + 1 :]:
        if later.path != formula.path:
            break
        if later.id in proofs:
            return formula._replace(proof=later.id, near=True)
        if later.code and IDENTITY.search(later.source):
            return formula._replace(identity=later.id)
    return formula
