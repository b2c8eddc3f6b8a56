"""Items that became right and wrong, as they stand beside Gain and OG."""

from pathlib import Path

from helpers.synthetic import PAIR, SAME, build, shares

from mergekit_finance.study.analysis.item_flips import flips_note, flips_of_gain, flips_of_og
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.schema import Effects


def effects(**flips_by_task: dict[str, tuple[int, int]]) -> Effects:
    scores = {"fpb": {"math": 0.5, "finance": 0.8}, "arc": {"math": 0.7, "finance": 0.6}}
    tasks = {
        task: {
            "items": 9, "clusters": 9, "score": (0.6, 0.5, 0.7), "gain": (0, 0, 0), "og": (0, 0, 0),
            "constituents": scores[task],
            "flips": {model: {"gained": gained, "lost": lost} for model, (gained, lost) in flips.items()},
        }
        for task, flips in flips_by_task.items()
    }  # fmt: skip
    return Effects.model_validate({"constituents": ["finance", "math"], "sets": {}, "tasks": tasks})


def test_og_counts_flips_against_the_best_constituent_of_each_task_and_gain_against_all() -> None:
    row = effects(
        fpb={"finance": (1, 2), "math": (30, 4), "base": (9, 9)}, arc={"finance": (50, 6), "math": (7, 8)}
    )
    assert flips_note(flips_of_og(row, ["fpb", "arc"])) == " (items: +8 -10)"  # 1 + 7, 2 + 8
    assert flips_note(flips_of_gain(row, ["fpb", "arc"])) == " (items: +88 -20)"
    assert flips_note(flips_of_og(row, ["fpb"])) == " (items: +1 -2)"
    assert flips_note(flips_of_gain(row, ["fpb"])) == " (items: +31 -6)"


def test_flips_that_one_task_lacks_are_not_summed() -> None:
    row = effects(fpb={"finance": (1, 2), "math": (3, 4)}, arc={})
    assert flips_of_og(row, ["fpb", "arc"]) is None and flips_of_gain(row, ["fpb", "arc"]) is None
    assert flips_note(None) == ""


def test_every_point_has_its_flips_over_the_tasks_of_the_macro_average(tmp_path: Path) -> None:
    """The first n items are right. Retention does not count."""
    tables = {
        "f": shares(100, base=10, finance=60, math=20, pair=50),
        "m": shares(100, base=10, finance=15, math=40, pair=45),
        "r": shares(100, base=90, pair=10),
    }
    retention = {"r": {"kind": "retention", "skills": []}}
    point = summary(build(tmp_path, tables, retention, selection=SAME).folder).points[PAIR]
    assert point.flips_gain and point.flips_og
    # f: -10 against finance, +30 against math; m: +30 and +5
    assert (point.flips_gain.gained, point.flips_gain.lost) == (65, 10)
    # f: finance is the best, m: math
    assert (point.flips_og.gained, point.flips_og.lost) == (5, 10)
