"""The examples in the docstrings run, and print what they say."""

import doctest
import importlib
import re

import notebooks
import pytest
from conftest import ROOT


@pytest.mark.parametrize("module", notebooks.chapters())
def test_the_examples_of_a_module_hold(module):
    loaded = importlib.import_module(f"backprop_lit.{module}")
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(loaded, optionflags=options)
    assert result.failed == 0


def test_the_example_of_the_readme_runs(capsys):
    text = (ROOT / "README.md").read_text("utf8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    exec(example, {})
    printed = capsys.readouterr().out
    assert float(re.search(r"'accuracy': (0\.\d+)", printed)[1]) > 0.94
    assert "✓ proved" in printed
