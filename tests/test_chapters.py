"""The chapters: clean, whole in their anatomy, every backward proved on its page."""

import ast
import re

import nbformat
import notebooks
import pytest
from conftest import ROOT

PATHS = sorted((ROOT / "nbs").glob("*.ipynb"))
CHAPTERS = [path for path in PATHS if re.match(r"(?!00|99)\d\d_", path.name)]
HEADINGS = (
    "What goes wrong",
    "Exercises",
    "The same in PyTorch",
    "One number to remember",
    "Summary",
    "Further reading",
)
SHOWN = {  # what returns a thing to be seen, and does nothing else
    "diagram",
    "drawing",
    "network_diagram",
    "prove",
    "shades",
    "show",
    "step_through",
    "table",
    "typeset",
}


def cells(path, kind):
    return [c.source for c in nbformat.read(path, 4).cells if c.cell_type == kind]


def prose(path):
    return "\n\n".join(cells(path, "markdown"))


def named(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


@named(PATHS)
def test_a_notebook_is_clean(path):
    nb = nbformat.read(path, 4)
    assert set(nb.metadata) <= {"kernelspec"}
    for cell in nb.cells:
        assert set(cell.metadata) <= {"tags", "mystnb"}, cell.id
        if cell.cell_type == "code":
            assert cell.outputs == [], cell.id
            assert cell.execution_count is None, cell.id


@named(PATHS)
def test_what_a_cell_shows_ends_it(path):
    """A picture or a bare value in the middle of a cell is computed, and not seen."""
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type == "code":
            *before, _ = [None, *ast.parse(notebooks.plain(cell.source)).body]
            for value in (s.value for s in before if isinstance(s, ast.Expr)):
                if isinstance(value, ast.Call):
                    name = ast.unparse(value.func).rpartition(".")[2]
                    assert name not in SHOWN, (cell.id, name)
                else:
                    assert isinstance(value, ast.Constant), cell.id


@named(PATHS)
def test_every_notebook_is_in_the_table_of_contents(path):
    assert path in notebooks.notebooks()


@named(PATHS)
def test_code_fits_eighty_columns(path):
    for source in cells(path, "code"):
        for line in source.splitlines():
            assert len(line) <= 80, line


@named(CHAPTERS)
def test_a_chapter_opens_with_its_promise_and_its_letters(path):
    first = nbformat.read(path, 4).cells[0]
    assert first.cell_type == "markdown"
    assert re.match(r"# .+\n\n> .+", first.source)
    opening = "\n".join(cells(path, "markdown")[:3])
    for word in ("You will", "derive", "implement", "prove", "Builds on", "Letters"):
        assert word in opening, word
    assert re.search(r"\d+ minutes", opening)


@named(CHAPTERS)
def test_a_chapter_has_its_sections_in_order(path):
    found = re.findall(r"^## (.+?)\s*$", prose(path), re.M)
    assert [heading for heading in found if heading in HEADINGS] == list(HEADINGS)


@named(CHAPTERS)
def test_exercises_are_open_checked_and_solved(path):
    number = path.name[:2]
    code = cells(path, "code")
    text = "\n".join(code)
    keys = re.findall(rf"^### Exercise ({number}\.\d+)", prose(path), re.M)
    assert 3 <= len(keys) <= 5
    assert keys == [f"{number}.{k + 1}" for k in range(len(keys))]
    for key in keys:
        answer = f"answer_{key.replace('.', '_')}"
        opened = [c for c in code if re.search(rf"^{answer} = \.\.\.$", c, re.M)]
        assert len(opened) == 1, f"{key} has no open answer"
        assert re.search(rf'checks\("{key}",\s*{answer}\)', opened[0]), key
        solved = [
            c
            for c in code
            if "solution" in notebooks.directives(c)[0]
            and re.search(rf'assert checks\(\s*"{key}"', c)
            and re.search(rf'checks\.rejects\(\s*"{key}"', c)
        ]
        assert len(solved) == 1, f"{key} has no executed solution with wrong answers"
        assert re.search(rf'checks\.add\(\s*"{key}"', text), key


@named(CHAPTERS)
def test_the_number_to_remember_is_asserted(path):
    nb = nbformat.read(path, 4)
    heading = re.compile(r"^## One number to remember", re.M)
    where = next(k for k, c in enumerate(nb.cells) if heading.search(c.source))
    following = nb.cells[where + 1 : where + 4]
    assert any("assert" in c.source for c in following if c.cell_type == "code")


@named(CHAPTERS)
def test_every_exported_backward_is_proved_on_its_page(path):
    exported, page = [], []
    for source in cells(path, "code"):
        found, code = notebooks.directives(source)
        (exported if "export" in found else page).append(code)
    nodes = [n for code in page for n in ast.walk(ast.parse(notebooks.plain(code)))]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    proofs = [ast.unparse(c) for c in calls if ast.unparse(c.func).endswith("prove")]
    made = [node for node in nodes if isinstance(node, ast.Assign)]
    tree = ast.parse("\n".join(exported))
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        if {"forward", "backward"} <= methods and node.name not in ("Layer", "Loss"):
            names = [node.name]
            names += [
                ast.unparse(m.targets[0])
                for m in made
                if re.match(rf"{node.name}\(", ast.unparse(m.value))
            ]
            either = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
            about = [call for call in proofs if either.search(call)]
            assert about, f"{node.name} has no proof on {path.name}"
            assert any("formula=" in call for call in about), node.name


@named(PATHS)
def test_every_equation_that_is_referred_to_has_one_label(path):
    labels = re.findall(r"\$\$ \((eq-[\w-]+)\)", prose(path))
    assert len(labels) == len(set(labels))
    assert all(label.startswith(f"eq-{path.name[:2]}") for label in labels)


@named(PATHS)
def test_exp_is_written_out(path):
    assert not re.search(r"(?<![\w\\])e\^\{?\s*[-\w(]", prose(path))


@named(PATHS)
def test_no_filler(path):
    text = re.sub(r"`[^`]*`|\$[^$]*\$", "", prose(path)).lower()
    for word in ("simply", "obviously", "it is easy to see", "trivially", "clearly,"):
        assert word not in text, word


@named(PATHS)
def test_array_formulas_stand_beside_their_shapes(path):
    shape = re.compile(r"\([a-z\\_{}·\d` $]+,[^()]*\)|\bcolumns?\b|\\times")
    for source in cells(path, "markdown"):
        for formula in re.findall(r"\$\$(.*?)\$\$", source, re.S):
            if re.search(r"\\top\b|\\circ\b|\\odot\b", formula):
                assert shape.search(source), formula
