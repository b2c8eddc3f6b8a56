"""Items that became right and wrong, as they stand beside Gain and OG."""

from mergekit_finance.study.analysis.item_flips import flips_note, flips_of_gain, flips_of_og
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
