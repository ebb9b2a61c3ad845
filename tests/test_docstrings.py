"""The examples in the docstrings run, and print what they say."""

import doctest
import importlib

import notebooks
import pytest


@pytest.mark.parametrize("module", notebooks.chapters())
def test_the_examples_of_a_module_hold(module):
    loaded = importlib.import_module(f"backprop_lit.{module}")
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testmod(loaded, optionflags=options)
    assert result.failed == 0
