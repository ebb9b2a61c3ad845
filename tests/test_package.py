"""The package: exported from the notebooks, in the order of reading, and light."""

import ast
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import notebooks
import pytest
from conftest import ROOT

PACKAGE = ROOT / "backprop_lit"
CHAPTERS = notebooks.chapters()
INFRASTRUCTURE = {"exercises", "figures"}
# Functions of more than 15 lines of statements (never more than 25), with the reason.
LONG: dict[str, str] = {}


def statements(function):
    """Lines of a function that hold statements: docstring and blanks not counted."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    lines = set()
    for node in body:
        lines |= set(range(node.lineno, node.end_lineno + 1))
    return lines


def functions(path):
    """Every function and method of a module, with its dotted name."""
    source = path.read_text("utf8")
    blank = {
        number
        for number, line in enumerate(source.splitlines(), start=1)
        if not line.strip() or line.strip().startswith("#")
    }
    tree = ast.parse(source)
    parents = {
        child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            owner = parents.get(node)
            prefix = f"{owner.name}." if isinstance(owner, ast.ClassDef) else ""
            yield f"{path.stem}.{prefix}{node.name}", len(statements(node) - blank)


def test_the_package_equals_what_the_notebooks_export(tmp_path):
    for name in ("nbs", "pyproject.toml"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    lib = tmp_path / "backprop_lit"
    lib.mkdir()
    shutil.copy(PACKAGE / "__init__.py", lib)
    subprocess.run(
        [str(Path(sys.executable).parent / "nbdev-export")],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    exported = {path.name: path.read_text("utf8") for path in lib.glob("[!_]*.py")}
    committed = {p.name: p.read_text("utf8") for p in PACKAGE.glob("[!_]*.py")}
    assert exported.keys() == committed.keys()
    for name, text in exported.items():
        assert text == committed[name], f"{name} differs: run `make export`"


def test_no_two_notebooks_share_a_module():
    owners = {}
    for path in sorted((ROOT / "nbs").glob("*.ipynb")):
        for cell in nbformat.read(path, 4).cells:
            found, _ = notebooks.directives(cell.source)
            if "default_exp" in found:
                owners.setdefault(found["default_exp"], []).append(path.name)
    assert owners
    assert {name: at for name, at in owners.items() if len(at) > 1} == {}


def test_every_module_has_a_chapter_in_the_table_of_contents():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "_modidx"}
    assert modules == set(CHAPTERS)


@pytest.mark.parametrize("module", CHAPTERS)
def test_a_module_imports_only_modules_of_earlier_chapters(module):
    order = [name for name in CHAPTERS if name not in INFRASTRUCTURE]
    tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf8"))
    inside = notebooks.imported(ast.unparse(tree)) - {"__init__"}
    imports = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    at_top = notebooks.imported("\n".join(map(ast.unparse, imports)))
    assert not at_top & INFRASTRUCTURE, "drawing and checking load only when used"
    if module in INFRASTRUCTURE:
        assert inside <= {module}
    else:
        assert inside - INFRASTRUCTURE <= set(order[: order.index(module)])


@pytest.mark.parametrize("module", CHAPTERS)
def test_functions_are_short(module):
    for name, length in functions(PACKAGE / f"{module}.py"):
        assert length <= (25 if name in LONG else 15), f"{name} has {length} lines"


def test_the_allow_list_of_long_functions_is_needed():
    lengths = dict(pair for path in PACKAGE.glob("*.py") for pair in functions(path))
    assert all(lengths[name] > 15 and reason for name, reason in LONG.items())


def test_every_public_name_is_reachable_from_the_package():
    import backprop_lit

    for module in CHAPTERS:
        if module in INFRASTRUCTURE:
            continue
        listed = importlib.import_module(f"backprop_lit.{module}").__all__
        assert set(backprop_lit._names[module]) == set(listed), module
        for name in listed:
            assert getattr(backprop_lit, name).__doc__ or name.isupper(), name
            assert name in dir(backprop_lit)


def test_no_module_bears_the_name_of_a_public_object():
    import backprop_lit

    names = [name for listed in backprop_lit._names.values() for name in listed]
    assert len(names) == len(set(names)), "a name lives in one module"
    assert not set(names) & set(CHAPTERS)


def test_importing_loads_numpy_and_nothing_heavier():
    code = (
        "import sys, numpy; before = set(sys.modules); import backprop_lit;"
        "print(*sorted(set(sys.modules) - before))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    foreign = {name.partition(".")[0] for name in out} - {"backprop_lit"}
    assert not foreign - set(sys.stdlib_module_names), foreign
    assert not foreign & {"inspect", "dataclasses", "asyncio", "unittest", "sympy"}


@pytest.mark.parametrize("module", CHAPTERS)
def test_importing_a_chapter_loads_nothing_heavy(module):
    code = (
        f"import sys, numpy; before = set(sys.modules); import backprop_lit.{module};"
        "print(*sorted(set(sys.modules) - before))"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    loaded = {name.partition(".")[0] for name in out}
    heavy = {"sympy", "matplotlib", "scipy", "jax", "IPython", "inspect", "dataclasses"}
    assert not loaded & heavy


def test_docstrings_say_where_a_thing_is_derived():
    for module in CHAPTERS:
        if module in INFRASTRUCTURE:
            continue
        tree = ast.parse((PACKAGE / f"{module}.py").read_text("utf8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name[0] != "_":
                text = ast.get_docstring(node) or ""
                assert re.search(r"[Dd]erived in", text), f"{module}.{node.name}"
