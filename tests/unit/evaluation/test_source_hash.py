"""The hash of source code: what counts as a change of a function."""

import pytest

from mergekit_finance.evaluation import keys
from mergekit_finance.evaluation.source_hash import SourceTree

RAISES = "def f(x):\n    if x > 1:\n        {}\n    return x\n"


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("raise ValueError('a')", "raise ValueError(f'b {x}') from None", True),
        ("raise ValueError('a')", "raise ValueError", True),
        ("assert x < 5, 'a'", "assert x < 5, 'b'", True),
        ("raise ValueError('a')", "raise KeyError('a')", False),
        ("raise ValueError('a')", "return ValueError('a')", False),
        ("raise ValueError('a')", "pass", False),
        ("assert x < 5, 'a'", "assert x < 6, 'a'", False),
        ("reject(x)", "reject(2 * x)", True),
        ("reject(x)", "pass", False),
        ("double(x)", "double(2 * x)", False),
    ],
)
def test_the_text_of_an_exception_does_not_count_but_what_is_raised_does(tmp_path, old, new, same):
    package = tmp_path / "mergekit_finance"
    package.mkdir()
    for name, function in (("refuse", "reject"), ("helper", "double")):
        (package / f"{name}.py").write_text(f"def {function}(x):\n    return x\n")
    head = "from mergekit_finance.helper import double\nfrom mergekit_finance.refuse import reject\n"
    hashes = []
    for statement in (old, new):
        (package / "main.py").write_text(head + RAISES.format(statement))
        tree = SourceTree(package, ["mergekit_finance.refuse"])
        hashes.append(tree.hash(["mergekit_finance.main"]))
    assert (hashes[0] == hashes[1]) is same


def test_imports_may_move_between_functions_and_the_top_of_a_file(tmp_path):
    package = tmp_path / "mergekit_finance"
    package.mkdir()
    (package / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    (package / "other.py").write_text("def double(x):\n    return 3 * x\n")
    module = package / "main.py"
    module.write_text(
        "import json\n\ndef f(x):\n    from mergekit_finance import helper\n    return helper.double(x)\n"
    )
    before = SourceTree(package, keys.LEFT_OUT).hash(["mergekit_finance.main"])
    module.write_text(
        "from mergekit_finance import helper as h\nimport json\n\ndef f(x):\n    return h.double(x)\n"
    )
    assert SourceTree(package, keys.LEFT_OUT).hash(["mergekit_finance.main"]) == before
    module.write_text(
        "from mergekit_finance import other as h\nimport json\n\ndef f(x):\n    return h.double(x)\n"
    )
    assert SourceTree(package, keys.LEFT_OUT).hash(["mergekit_finance.main"]) != before


def test_imports_for_type_checking_do_not_count(tmp_path):
    package = tmp_path / "mergekit_finance"
    package.mkdir()
    (package / "types.py").write_text("class A: ...\n")
    module = package / "main.py"
    module.write_text("def f():\n    return 1\n")
    before = SourceTree(package, keys.LEFT_OUT).hash(["mergekit_finance.main"])
    module.write_text("from typing import TYPE_CHECKING\n" + module.read_text())
    typed = SourceTree(package, keys.LEFT_OUT).hash(["mergekit_finance.main"])
    module.write_text(
        module.read_text().replace("\n", "\nif TYPE_CHECKING:\n    from mergekit_finance.types import A\n", 1)
    )
    tree = SourceTree(package, keys.LEFT_OUT)
    assert tree.hash(["mergekit_finance.main"]) == typed != before
    assert tree.closure(["mergekit_finance.main"]) == {"mergekit_finance.main"}


def test_a_function_named_in_a_string_is_followed(tmp_path):
    package = tmp_path / "mergekit_finance"
    package.mkdir()
    (package / "rows.py").write_text("def records():\n    return []\n")
    (package / "main.py").write_text('SOURCE = "mergekit_finance.rows:records"\n')
    before = SourceTree(package, keys.LEFT_OUT).hash(["mergekit_finance.main"])
    (package / "rows.py").write_text("def records():\n    return [1]\n")
    assert SourceTree(package, keys.LEFT_OUT).hash(["mergekit_finance.main"]) != before
