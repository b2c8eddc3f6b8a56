"""Text from a study's folder that must not become markup or script."""

import pytest
from helpers.report import accept_any_name, change_study, damage, data_of, page_of, report, study

NASTY = "</script><script>alert(1)</script>{{ 7*7 }}{% raw %}</textarea><img src=x onerror=alert(1)>\u2028"
TURN = "\u202e"  # right-to-left override


def test_untrusted_text_is_escaped_everywhere(tmp_path, monkeypatch):
    accept_any_name(monkeypatch)
    out = study(tmp_path / "out", names={"math": NASTY}, text=NASTY, reply=NASTY, item=NASTY)

    def change(summary):
        summary["verdict"].append({"about": NASTY, "text": NASTY})
        for point in summary["selected"].values():
            point["sets"][NASTY] = point["sets"]["macro"]
            for effect in point["tasks"].values():
                effect["verdict"] = NASTY
        for task in summary["tasks"].values():
            task["version"] = task["license"] = NASTY

    damage(out, "summary.json", change)
    change_study(monkeypatch, name=NASTY, base=NASTY)
    page = page_of(out)
    assert page.count("<script") == 2 and page.count("</script>") == 2
    assert "<img src=x" not in page and "</textarea>" not in page
    assert "\u2028" not in page.split('id="data">')[1]
    task = data_of(page)["tasks"][0]
    assert task["texts"][0]["prompt"] == f"{NASTY} 0" and task["items"][0] == f"{NASTY}-0"
    assert NASTY in task["texts"][0]["answers"][0]


@pytest.mark.parametrize("name", ["<b>math</b>", f"ma{TURN}th", "`math`", "two\nlines"])
def test_names_with_markup_or_control_characters_are_refused(tmp_path, name):
    done = report(study(tmp_path / "out", names={"math": name}))
    assert done.exit_code == 1 and len(done.output.strip().splitlines()) == 1
    assert "is not a valid name" in done.output or "is not a folder under points/" in done.output


def test_characters_that_change_text_direction_are_removed_from_names(tmp_path, monkeypatch):
    """Text of items and recipes is unchanged, because people copy it."""
    accept_any_name(monkeypatch)
    out = study(tmp_path / "out", names={"math": f"ma{TURN}th"}, text=f"sai{TURN}d")
    (recipe,) = {next((out / "points").glob("stage1-finance-ta-lambda0.4-*")) / "recipe.yml"}
    recipe.write_text(f"merge_method: cpt # {TURN}")
    page = page_of(out)
    before, _, data = page.partition('id="data">')
    assert before.count(TURN) == 1 and f"merge_method: cpt # {TURN}</code>" in before
    page_data = data_of(page)
    assert TURN not in "".join(model["label"] + model["short"] for model in page_data["models"])
    assert "math" in [model["short"] for model in page_data["models"]] and "base + math" in before
    assert TURN in page_data["tasks"][0]["texts"][0]["prompt"] and data
