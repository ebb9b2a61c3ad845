"""Every proof on every page can fail: broken backwards are refused by the page's call.

For each call of `prove` that succeeds on a page, the sign of each returned array is
flipped, and the source of the backward is mutated: a term dropped, a factor
transposed. The same call, with the broken subject, must then be false.
"""

import __future__

import ast
import builtins
import copy
import importlib
import re
import symtable
from pathlib import Path

import nbformat
import notebooks
import numpy as np
import pytest
from conftest import ROOT

symbolic = importlib.import_module("backprop_lit.symbolic")

PAGES = [
    path
    for path in sorted((ROOT / "nbs").glob("[0-9][0-9]_*.ipynb"))
    if "prove(" in path.read_text("utf8")
]

# Mutants that survive, "page: subject: mutation", each with the reason why they may.
ALLOWED: dict[str, str] = {}


# --- the part of a page that its proofs need ----------------------------------


PLAIN = (ast.Assign, ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom)


def names(tree):
    """Names that a cell may bind, those that it binds in any case, those it needs."""
    bound, surely, needed = set(), set(), set()
    for part in tree.body:
        binds, uses = names_of(part)
        needed |= uses - surely
        bound |= binds
        surely |= binds if isinstance(part, PLAIN) else set()
    return bound, surely, needed


def names_of(statement):
    """Names that a statement binds in the cell, and those that it finds there."""

    def found(table):
        for symbol in table.get_symbols():
            if symbol.is_referenced() and (table is whole or symbol.is_global()):
                yield symbol.get_name()
        for inner in table.get_children():
            yield from found(inner)

    whole = symtable.symtable(ast.unparse(statement), "statement", "exec")
    bound = {
        symbol.get_name()
        for symbol in whole.get_symbols()
        if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace()
    }
    used = set(found(whole))
    if isinstance(statement, ast.AugAssign):
        used |= bound
    if isinstance(statement, ast.For | ast.With):  # what it uses it has bound
        targets = ast.For, ast.comprehension
        loops = [
            part.target for part in ast.walk(statement) if isinstance(part, targets)
        ]
        used -= {
            part.id
            for loop in loops
            for part in ast.walk(loop)
            if isinstance(part, ast.Name)
        }
    return bound, used


def proves(tree):
    """Whether a cell proves something; a proof that must fail proves nothing."""
    refuted = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)
        for part in ast.walk(node)
    }
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, (ast.Name, ast.Attribute))
        and ast.unparse(node.func).split(".")[-1] == "prove"
        and id(node) not in refuted
        for node in ast.walk(tree)
    )


def needed_cells(path):
    """The cells with proofs, and those that they hang on, in order."""
    cells = []
    for cell in nbformat.read(path, 4).cells:
        found, code = notebooks.directives(cell.source)
        if cell.cell_type == "code" and "default_exp" not in found:
            tree = ast.parse(notebooks.plain(code))
            cells.append((f"<{path.stem} {cell.id}>", tree, *names(tree)))
    wanted, kept = set(), []
    for name, tree, bound, surely, needed in reversed(cells):
        asks = proves(tree) and not {"Checks", "checks"} & needed
        if asks or bound & wanted:
            wanted = wanted - surely | needed
            kept.append((name, tree))
    return kept[::-1]


class Call:
    """One call of `prove` that a page made, and its subject as it was then."""

    def __init__(self, subject, inputs, options, proof):
        self.subject, self.inputs, self.options = subject, inputs, options
        self.proof = proof

    def __str__(self):
        return self.proof.what

    def again(self, subject):
        """Whether the page's own call lets a broken subject pass."""
        try:
            with np.errstate(all="ignore"):
                options = copy.deepcopy(self.options)
                return bool(PROVE(subject, *self.inputs, **options))
        except Exception:
            return False


PROVE = symbolic.prove


def recorder(calls):
    def prove(subject, *inputs, **options):
        pair = isinstance(subject, (tuple, list))
        kept = subject if pair else copy.deepcopy(subject)
        before = copy.deepcopy(options)
        proof = PROVE(subject, *inputs, **options)
        if proof:
            calls.append(Call(kept, inputs, before, proof))
        return proof

    prove.recorder = True
    return prove


def calls_of(path, monkeypatch):
    """Run what is needed of a page; every call of prove that succeeded there."""
    calls, sources, space = [], {}, {"__name__": "__main__"}
    watching = recorder(calls)
    monkeypatch.setattr(symbolic, "prove", watching)
    package = importlib.import_module("backprop_lit")
    monkeypatch.setitem(vars(package), "prove", watching)
    monkeypatch.setattr(builtins, "print", lambda *args, **options: None)
    for name, tree in needed_cells(path):
        sources[name] = tree
        flags = __future__.annotations.compiler_flag  # which its first cell sets
        exec(compile(tree, name, "exec", flags), space)
        if "prove" in space and not hasattr(space["prove"], "recorder"):
            space["prove"] = watching
    monkeypatch.undo()
    return calls, sources


# --- mutants: signs -----------------------------------------------------------


def replaced(subject, method, function):
    """The same layer or loss, with another method."""
    kind = type(subject)
    mutant = copy.copy(subject)
    mutant.__class__ = type(kind.__name__, (kind,), {method: function})
    return mutant


def flipped_signs(call):
    """For each array that comes back, the subject that returns it negated."""
    checked = {entry.split("[")[0] for entry in call.proof.decided}
    alive = {
        entry.split("[")[0]
        for entry in call.proof.decided
        if entry not in call.proof.zeros
    }
    for name in sorted(checked & alive):
        if name.startswith("v_"):
            yield f"sign of {name}", with_sign(call, name)
        elif name.startswith("g_"):
            yield f"sign of {name}", with_gradient_sign(call.subject, name[2:])


def with_sign(call, name):
    subject = call.subject
    if isinstance(subject, (tuple, list)):
        forward, backward = subject
        names = symbolic._arguments(forward)
        if len(names) < len(call.inputs):
            names = [f"x{k}" for k in range(len(call.inputs))]
        which = names.index(name[2:])

        def negated(v, *inputs):
            back = backward(v, *inputs)
            if not isinstance(back, (tuple, list)):
                return -back
            return tuple(-b if k == which else b for k, b in enumerate(back))

        return forward, negated
    original = type(subject).backward
    return (
        replaced(subject, "backward", lambda self, *v: -original(self, *v))
        if (symbolic._arguments(subject.backward))
        else replaced(subject, "backward", lambda self: -original(self))
    )


def with_gradient_sign(layer, name):
    original = type(layer).backward

    def backward(self, v):
        back = original(self, v)
        self.gradients[name][...] = -self.gradients[name]
        return back

    return replaced(layer, "backward", backward)


# --- mutants: terms and transposes --------------------------------------------


class Skip(ast.NodeTransformer):
    """Counts the places that can be mutated, and mutates one of them."""

    def __init__(self, target=None):
        self.target, self.count, self.done = target, 0, ""

    def hit(self, node, change):
        self.count += 1
        if self.count - 1 != self.target:
            return None
        mutated = change()
        shown = "pass" if isinstance(mutated, ast.Pass) else ast.unparse(mutated)
        self.done = f"{ast.unparse(node)} → {shown}"
        return mutated

    def visit_Raise(self, node):
        return node

    def visit_Assert(self, node):
        return node

    def visit_Subscript(self, node):
        node.value = self.visit(node.value)
        return node

    def visit_Constant(self, node):
        return node

    def visit_AugAssign(self, node):
        if isinstance(node.op, (ast.Add, ast.Sub)):
            mutated = self.hit(node, ast.Pass)
            if mutated is not None:
                return mutated
        return self.generic_visit(node)

    def visit_Attribute(self, node):
        if node.attr == "T":
            mutated = self.hit(node, lambda: node.value)
            if mutated is not None:
                return mutated
        return self.generic_visit(node)

    def visit_BinOp(self, node):
        changes = []
        if isinstance(node.op, ast.Add):
            changes = [lambda: node.left, lambda: node.right]
        elif isinstance(node.op, ast.Sub):
            changes = [lambda: node.left, lambda: ast.UnaryOp(ast.USub(), node.right)]
        elif isinstance(node.op, ast.MatMult):
            changes = [
                lambda: ast.BinOp(turned(node.left), node.op, node.right),
                lambda: ast.BinOp(node.left, node.op, turned(node.right)),
            ]
        for change in changes:
            mutated = self.hit(node, change)
            if mutated is not None:
                return mutated
        return self.generic_visit(node)

    def visit_Call(self, node):
        called = ast.unparse(node.func)
        if called in ("np.dot", "np.matmul"):
            for k in (0, 1):
                mutated = self.hit(node, lambda k=k: with_turned(node, k))
                if mutated is not None:
                    return mutated
        return self.generic_visit(node)


def turned(node):
    """A transposed factor; for a vector it raises, which counts as refused."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        return node.value
    return ast.parse(f"np.swapaxes({ast.unparse(node)}, -1, -2)").body[0].value


def with_turned(call, k):
    call = copy.deepcopy(call)
    call.args[k] = turned(call.args[k])
    return call


def source_of(function, sources):
    """The syntax tree of a function, alone; None for what has no source."""
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    tree = sources.get(code.co_filename)
    if tree is None and Path(code.co_filename).exists():
        tree = ast.parse(Path(code.co_filename).read_text("utf8"))
    kinds = ast.Lambda if code.co_name == "<lambda>" else ast.FunctionDef
    found = [
        node
        for node in ast.walk(tree or ast.Module([], []))
        if isinstance(node, kinds)
        and min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
        == code.co_firstlineno
        and len(node.args.args) == code.co_argcount
    ]
    return copy.deepcopy(found[0]) if len(found) == 1 else None


def rebuilt(function, tree):
    """A function from a changed tree, in the scope of the original."""
    code = function.__code__
    result = tree
    if isinstance(tree, ast.Lambda):
        result = ast.Return(tree)
        body = [result]
    else:
        tree.decorator_list = []
        body = [tree, ast.Return(ast.Name(tree.name, ast.Load()))]
    free = [ast.arg(name) for name in code.co_freevars]
    factory = ast.FunctionDef(
        name="factory",
        args=ast.arguments([], free, None, [], [], None, []),
        body=body,
        decorator_list=[],
        type_params=[],
    )
    module = ast.fix_missing_locations(ast.Module([factory], []))
    scope = {}
    exec(compile(module, "<mutant>", "exec"), function.__globals__, scope)
    values = [cell.cell_contents for cell in function.__closure__ or ()]
    return scope["factory"](*values)


def mutants_of(function, sources):
    tree = source_of(function, sources)
    if tree is None:
        return
    counter = Skip()
    counter.visit(copy.deepcopy(tree))
    for target in range(counter.count):
        mutation = Skip(target)
        mutated = mutation.visit(copy.deepcopy(tree))
        yield mutation.done, rebuilt(function, mutated)


def mutated_sources(call, sources):
    """The subject with a term dropped, or a factor transposed, in its backward."""
    subject = call.subject
    if isinstance(subject, (tuple, list)):
        forward, backward = subject
        for text, function in mutants_of(backward, sources):
            yield text, (forward, function)
        return
    kind = type(subject)
    forward, backward = (f.__code__.co_names for f in (kind.forward, kind.backward))
    helpers = [
        name
        for name in dict.fromkeys(backward)
        if name not in forward and hasattr(getattr(kind, name, None), "__code__")
    ]
    for method in ("backward", *helpers):
        for text, function in mutants_of(getattr(kind, method), sources):
            yield text, replaced(subject, method, function)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_broken_backwards_are_refused(path, monkeypatch):
    calls, sources = calls_of(path, monkeypatch)
    survivors, lifeless = [], []
    for call in calls:
        mutants = [*flipped_signs(call), *mutated_sources(call, sources)]
        if not mutants and not call.proof.zeros:  # all 0: declared on the page
            lifeless.append(str(call))
        for text, mutant in mutants:
            if call.again(mutant):
                survivors.append(f"{path.stem}: {call}: {text}")
    assert calls, "no proof on the page succeeded"
    assert lifeless == [], "proofs in which nothing can be broken"
    assert sorted(set(survivors)) == sorted(
        key for key in ALLOWED if key.startswith(f"{path.stem}:")
    )


def test_every_exception_has_a_reason():
    assert all(re.search(r"\w+ \w+", reason) for reason in ALLOWED.values())


def test_the_mutants_are_what_they_say():
    def backward(v, x):
        return v @ x.T + 2 * v - x

    tree = ast.parse("def backward(v, x):\n    return v @ x.T + 2 * v - x").body[0]
    counter = Skip()
    counter.visit(copy.deepcopy(tree))
    texts = []
    for target in range(counter.count):
        mutation = Skip(target)
        mutation.visit(copy.deepcopy(tree))
        texts.append(mutation.done.split(" → ")[1])
    assert texts == [
        "v @ x.T + 2 * v",
        "-x",
        "v @ x.T",
        "2 * v",
        "np.swapaxes(v, -1, -2) @ x.T",
        "v @ x",
        "x",
    ]
    v, x = np.ones((2, 2)), np.arange(4.0).reshape(2, 2)
    sources = {backward.__code__.co_filename: ast.parse(Path(__file__).read_text())}
    values = [function(v, x) for _, function in mutants_of(backward, sources)]
    assert np.array_equal(values[0], v @ x.T + 2 * v)
    assert np.array_equal(values[1], -x)
