"""From nbdev notebook to page: what a reader sees, and what an execution hangs on."""

from __future__ import annotations

import ast
import functools
import hashlib
import platform
import re
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "backprop_lit"
DIRECTIVE = re.compile(r"^#\|\s*([\w-]+)[ \t]*:?[ \t]*(.*?)\s*$")
TAGS = {
    "hide": ["remove-cell"],
    "hide_input": ["remove-input"],
    "hide_output": ["remove-output"],
    "default_exp": ["remove-cell"],
    "code-fold": ["hide-input"],
    "solution": ["hide-cell", "solution"],
    "export": ["export"],
}
PROMPTS = {"solution": "solution", "code-fold": "code"}


def notebooks() -> list[Path]:
    """Paths of the notebooks that `_toc.yml` names, in the order of reading."""
    toc = (ROOT / "_toc.yml").read_text("utf8")
    names = re.findall(r"^\s*-?\s*(?:root|file):\s*(\S+)", toc, re.M)
    paths = (ROOT / f"{name}.ipynb" for name in names)
    return [path for path in paths if path.exists()]


def directives(source: str) -> tuple[dict[str, str], str]:
    """Split a code cell into its `#|` directives and the code that remains."""
    found, code = {}, []
    for line in source.splitlines():
        match = DIRECTIVE.match(line)
        if match:
            found[match[1]] = match[2]
        else:
            code.append(line)
    return found, "\n".join(code).strip("\n")


def imported(source: str) -> set[str]:
    """Modules of the package that a piece of Python imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = "backprop_lit" if node.level else node.module or ""
            if node.level and node.module:
                base += f".{node.module}"
            names |= {f"{base}.{alias.name}" for alias in node.names}
    parts = (name.split(".") for name in names if name.startswith("backprop_lit"))
    return {module_of(part[1]) if len(part) > 1 else "__init__" for part in parts}


def module_of(name: str) -> str:
    """The module that `backprop_lit.NAME` means: a module, or a name's home."""
    if (PACKAGE / f"{name}.py").exists():
        return name
    for module, names in public_names().items():
        if name in names:
            return module
    return "__init__"


@functools.cache
def public_names() -> dict[str, tuple[str, ...]]:
    """The table in `__init__` that says which module each public name lives in."""
    return literal("__init__", "_names")


def literal(module: str, name: str) -> Any:
    """The value that a module of the package gives to a name, without importing it."""
    for node in ast.parse((PACKAGE / f"{module}.py").read_text("utf8")).body:
        targets = {ast.Assign: "targets", ast.AnnAssign: "target"}.get(type(node))
        named = getattr(node, targets or "", [])
        for target in named if isinstance(named, list) else [named]:
            if ast.unparse(target) == name:
                return ast.literal_eval(node.value)  # type: ignore[attr-defined]
    raise ValueError(f"{module}.py gives no value to {name}")


def closure(modules: set[str]) -> set[str]:
    """The modules, and all that they import in turn."""
    done: set[str] = set()
    while todo := modules - done:
        name = todo.pop()
        done.add(name)
        if (PACKAGE / f"{name}.py").exists():
            modules = modules | imported((PACKAGE / f"{name}.py").read_text("utf8"))
    return done


def plain(source: str) -> str:
    """Python without IPython's magics, so that it parses."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.M)


def key(nb: nbformat.NotebookNode) -> str:
    """Digest of all that an execution depends on beside the notebook's own code.

    The modules that it imports and theirs, their data, the locked environment and
    the version of Python: an edit elsewhere leaves the chapter alone.
    """
    code = "\n".join(directives(c.source)[1] for c in nb.cells if c.cell_type == "code")
    try:
        modules = closure(imported(plain(code)))
    except SyntaxError:  # the execution will say where
        modules = set()
    files = [PACKAGE / f"{name}.py" for name in sorted(modules)]
    sources = [path.read_bytes() for path in files if path.exists()]
    if any(b"assets" in source for source in sources):
        data = sorted((PACKAGE / "assets").glob("*"))
        # Scripts and styles are put in place when a page is written.
        data = [path for path in data if path.suffix not in {".css", ".js"}]
        sources += [path.read_bytes() for path in data]
    sources += [(ROOT / "requirements.lock").read_bytes()]
    sources += [platform.python_version().encode()]
    return hashlib.sha256(b"\0".join(sources)).hexdigest()[:16]


def read(text: str) -> nbformat.NotebookNode:
    """Notebook reader for myst-nb: no `#|` line reaches the page.

    Directives become cell tags, each code cell remembers its id, and the key of
    the execution joins the metadata that the cache looks at.
    """
    nb = nbformat.reads(text, as_version=4)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb.metadata["kernelspec"] = kernel | {"key": key(nb)}
    for cell in nb.cells:
        if cell.cell_type != "code":
            continue
        found, cell.source = directives(cell.source)
        tags = {tag for name in found for tag in TAGS.get(name, [])}
        if found.get("eval", "").lower() == "false":
            tags.add("skip-execution")
        if not cell.source:
            tags.add("remove-cell")
        for name in PROMPTS.keys() & found.keys():
            cell.metadata["mystnb"] = {
                "code_prompt_show": f"Show {PROMPTS[name]}",
                "code_prompt_hide": f"Hide {PROMPTS[name]}",
            }
        cell.metadata["tags"] = sorted(tags | set(cell.metadata.get("tags", [])))
        cell.metadata["cellid"] = cell.get("id", "")
    return nb


def chapters() -> dict[str, Path]:
    """Module name to notebook, in the order of reading."""
    found = {}
    for path in notebooks():
        match = re.search(r"#\|\s*default_exp\s+(\w+)", path.read_text("utf8"))
        if match:
            found[match[1]] = path
    return found
