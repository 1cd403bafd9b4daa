"""The examples in the docstrings of the public API run, and give what they say."""

import doctest
from importlib import import_module

import pytest

MODULES = ["flareseg.io.files", "flareseg.results.measure", "flareseg.segmentation", "flareseg.volume"]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name):
    failed, tried = doctest.testmod(import_module(name))
    assert tried and not failed
