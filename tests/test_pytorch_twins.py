"""The PyTorch lines of each chapter hold what they claim, where PyTorch is."""

import re

import nbformat
import pytest
from conftest import ROOT

BLOCK = re.compile(r"```\{code-block\} python\n:class: pytorch\n+(.*?)```", re.S)
PATHS = sorted((ROOT / "nbs").glob("[0-8][1-9]_*.ipynb"))


def twin(path):
    """The fenced lines of a chapter's section *The same in PyTorch*."""
    cells = nbformat.read(path, 4).cells
    return "\n".join(
        block
        for cell in cells
        if cell.cell_type == "markdown"
        for block in BLOCK.findall(cell.source)
    )


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_chapter_shows_its_twin_with_an_assertion(path):
    assert "import torch" in twin(path)
    assert "assert" in twin(path)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_the_twin_holds(path):
    pytest.importorskip("torch")
    exec(compile(twin(path), path.name, "exec"), {})
