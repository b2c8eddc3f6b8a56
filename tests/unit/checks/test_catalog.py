"""docs/checks.md lists what the catalog lists, and every id is used."""

import re
from pathlib import Path

import mergekit_finance
from mergekit_finance.checks.catalog import CATALOG, LEVELS, catalog_table

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = Path(mergekit_finance.__file__).parent


def test_the_page_lists_every_finding_as_the_catalog_does():
    """`python -m mergekit_finance.checks.catalog` prints the tables."""
    page = (ROOT / "docs" / "checks.md").read_text()
    for level in LEVELS:
        assert f"## {level.capitalize()}s\n\n{catalog_table(level)}\n" in page
    assert page.count("\n| `") == len(CATALOG)


def test_entries_are_sentences_of_a_known_level():
    for entry in CATALOG.values():
        assert entry.level in LEVELS
        assert entry.meaning.endswith(".") and entry.remedy.endswith(".")
        assert "|" not in entry.meaning + entry.remedy


def test_every_id_in_the_code_is_in_the_catalog():
    code = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if not path.name.endswith("catalog.py"))
    areas = "|".join(
        sorted({name.partition(".")[0] for name in CATALOG} | {"data", "device", "share", "export"})
    )
    ids = set(re.findall(rf'(?:\bid=|\bID = |finding\(\s*|default_id\()"((?:{areas})\.[a-z-]+)"', code))
    assert ids - set(CATALOG) == set()
    assert len(ids) > len(CATALOG) / 2


def test_every_id_is_reported_somewhere():
    code = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if not path.name.endswith("catalog.py"))
    assert [name for name in CATALOG if f'"{name}"' not in code] == []
