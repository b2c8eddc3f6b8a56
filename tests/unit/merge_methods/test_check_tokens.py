"""The tokenizer block of a recipe; tests/unit/checks/test_recipes_by_command.py has its faults by command."""

from types import SimpleNamespace

import pytest

from mergekit_finance.errors import RecipeError
from mergekit_finance.merge_methods import check_tokens


@pytest.mark.parametrize(("rows", "refused"), [(2, "<a>"), (3, "<b>"), (4, None)])
def test_new_tokens_fill_the_rows_that_the_base_has_left(rows, refused):
    """The base has 2 tokens, of which the recipe names one, and adds 2."""
    base = check_tokens._Vocabulary({"x": 0, "y": 1}, rows)
    vocabularies = SimpleNamespace(base="base", of=lambda model: base)
    tokens = dict.fromkeys(["<a>", "x", "<b>"])
    if refused is None:
        check_tokens._check_rows(tokens, vocabularies)
        return
    with pytest.raises(RecipeError, match=f"tokenizer.tokens.{refused}: mergekit adds no rows"):
        check_tokens._check_rows(tokens, vocabularies)
