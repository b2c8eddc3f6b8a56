"""The package root: what it exports, how it is documented, and what importing it costs."""

import inspect
import subprocess
import sys

import pytest

import mergekit_finance

HEAVY = {"torch", "transformers", "mergekit", "lm_eval", "datasets", "numpy", "scipy", "matplotlib"}
FUNCTIONS = ["compute_similarity", "evaluate", "load_results", "merge", "register", "run_study"]


def test_the_root_exports_the_documented_names():
    documented = {"MergeSession", "Study", "errors", "hookimpl", *FUNCTIONS}
    assert documented <= set(mergekit_finance.__all__)
    assert set(dir(mergekit_finance)) == set(mergekit_finance.__all__)


@pytest.mark.parametrize("name", mergekit_finance.__all__)
def test_every_exported_name_can_be_loaded(name):
    assert getattr(mergekit_finance, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'study_of'"):
        _ = mergekit_finance.study_of


def test_importing_the_root_loads_neither_torch_nor_a_host():
    code = "import sys, mergekit_finance; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_public_functions_document_arguments_results_and_errors(name):
    function = getattr(mergekit_finance, name)
    text = inspect.getdoc(function) or ""
    if inspect.signature(function).parameters:
        assert "Args:" in text
    if inspect.signature(function).return_annotation not in (None, "None"):
        assert "Returns:" in text
    assert "Raises:" in text


@pytest.mark.parametrize("name", ["MergeSession", "Study"])
def test_public_classes_are_documented(name):
    assert len(inspect.getdoc(getattr(mergekit_finance, name)).splitlines()) >= 3
