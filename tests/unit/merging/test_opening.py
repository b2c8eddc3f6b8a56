"""Opening a recipe before any tensor is computed."""

from mergekit_finance.merging import opening


def test_the_checks_run_unless_the_caller_made_them(recipe, monkeypatch):
    checked = []
    monkeypatch.setattr(opening, "check_configs", lambda *_: checked.append(True))
    opening.open_recipe(recipe(), trust_remote_code=False, check=False)
    assert not checked
    opening.open_recipe(recipe(), trust_remote_code=False)
    assert checked
