"""What a study advises, in one sentence and with its numbers, and a sentence for each combination."""

import pytest
from helpers.synthetic import PAIR, SAME, build, noisy_summary, shares

from mergekit_finance.study.analysis import advice_wording, combination_wording, verdict
from mergekit_finance.study.analysis.summary import summary
from mergekit_finance.study.schema import Advice, AdviceKind, Effect, EffectKind, Interval, ObjectiveResult

UP, AROUND, DOWN = [0.033, 0.01, 0.06], [0.012, -0.004, 0.028], [-0.114, -0.2, -0.05]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    return noisy_summary(tmp_path_factory.mktemp("study"))


@pytest.fixture
def advised(stored):
    """Return a function that puts an advice and its numbers into a summary of three experts."""

    def change(kind, between=(), optimistic=False, **ship):
        changed = stored.model_copy(deep=True)
        changed.points[changed.ship.best_merge].combination = ["finance", "math", "japanese"]
        numbers = {
            "is_merge": True,
            "best_single": "finance",
            "merge_over_single": UP,
            "retention_over_base": AROUND,
        }
        numbers |= {"retention_over_single": AROUND, "clusters": 150, "ranges": {}} | ship
        changed.shipped = type(changed.ship).model_validate(changed.ship.as_json() | numbers)
        changed.ship.advice = Advice(kind=kind, between=list(between), optimistic=optimistic)
        return changed

    return change


SHIP, COST, NOT_CLEAR = AdviceKind.SHIP, AdviceKind.SHIP_AT_A_COST, AdviceKind.NOT_CLEAR
MERGE = "finance + math + japanese"


@pytest.mark.parametrize(
    ("changes", "answer", "look"),
    [
        ({"kind": SHIP}, f"Ship {MERGE}: it gains 3.3 points over your finance expert, and nothing is significantly lost.", "yes"),
        ({"kind": SHIP, "optimistic": True}, f"Ship {MERGE}: it gains 3.3 points over your finance expert, measured on the items that selected it.", "unclear"),
        ({"kind": SHIP, "retention_over_base": None}, f"Ship {MERGE}: it gains 3.3 points over your finance expert; retention was not measured.", "yes"),
        ({"kind": COST, "retention_over_base": DOWN}, f"Ship {MERGE} at a cost: gains 3.3 over finance, loses 11.4 of retention.", "unclear"),
        ({"kind": AdviceKind.BORDERLINE, "between": [SHIP, COST]}, f"Ship {MERGE} with care: it gains 3.3 points over finance; whether it loses something depends on the random seed.", "unclear"),
        ({"kind": AdviceKind.BORDERLINE, "between": [SHIP, NOT_CLEAR]}, f"Keep your finance expert for now: whether {MERGE} is better (+3.3 [+1.0, +6.0] points) depends on the random seed.", "no"),
        ({"kind": NOT_CLEAR, "merge_over_single": AROUND, "best_single": "base"}, f"Keep your base: no merge is clearly better; the selected merge, {MERGE}, differs by +1.2 [-0.4, +2.8] points.", "no"),
        ({"kind": AdviceKind.NO_MERGE, "merge_over_single": DOWN, "model": "math", "is_merge": False}, f"Keep your math expert, the best model; the selected merge, {MERGE}, differs by -11.4 [-20.0, -5.0] points.", "no"),
        ({"kind": AdviceKind.CONTRADICTION, "model": "base", "is_merge": False}, f"Keep your base for now: it was selected; {MERGE} is better by 3.3 points on report items.", "no"),
        ({"kind": AdviceKind.TOO_FEW_ITEMS, "clusters": 66}, f"Keep your finance expert for now: 66 independent items are too few to tell whether {MERGE} is better.", "no"),
    ],
)  # fmt: skip
def test_the_answer_is_one_short_sentence(advised, changes, answer, look):
    changed = advised(**changes)
    assert advice_wording.short_advice(changed) == answer
    assert (
        len(answer.split()) <= advice_wording.MOST_WORDS and answer.count(".") == answer.count(".", 0, -1) + 1
    )
    assert advice_wording.advice_look(changed) == look

    changed.objective = ObjectiveResult(weights={}, bounds={}, models={})
    answer = advice_wording.short_advice(changed)
    assert len(answer.split()) <= advice_wording.MOST_WORDS
    assert ("of the objective" in answer) is (changes["kind"] is not AdviceKind.TOO_FEW_ITEMS)


def test_many_costs_of_an_objective_fit_the_sentence(advised, monkeypatch):
    changed = advised(COST)
    changed.objective = ObjectiveResult(weights={}, bounds={}, models={})
    skills = ("retention", "math", "finance+math")
    lost = [verdict.Loss(what, "base", Interval(*DOWN)) for what in skills]
    monkeypatch.setattr(verdict, "losses", lambda summary: lost)
    answer = advice_wording.short_advice(changed)
    assert answer.endswith(
        "gains 3.3 of the objective over finance, loses 11.4 of retention, 11.4 on math and more."
    )
    assert len(answer.split()) <= advice_wording.MOST_WORDS


def test_more_than_three_experts_are_counted(advised):
    changed = advised(SHIP)
    changed.points[changed.ship.best_merge].combination = list("abcdef")
    assert advice_wording.short_advice(changed).startswith("Ship the merge of 6 experts: it gains")


def test_a_loss_on_a_group_of_skills_is_a_cost_and_the_answer_names_it(tmp_path):
    """Better on average than every model, and 40 points lower than the base on the tasks of one skill."""
    tables = {
        "f": shares(200, base=20, finance=20, math=20, pair=180),
        "m": shares(200, base=150, finance=60, math=60, pair=70),
    }
    infos = {"f": {"skills": ["finance"]}, "m": {"skills": ["math"]}}
    answered = summary(build(tmp_path, tables, infos, selection=SAME, resamples=200).folder)
    assert answered.ship.best_merge == PAIR and verdict.advice(answered).kind is COST
    assert [(loss.what, loss.versus) for loss in verdict.losses(answered)] == [("math", "base")]
    assert advice_wording.short_advice(answered).endswith(" over base, loses 40.0 on math.")
    assert "but it loses 40.0 [" in advice_wording.advice_sentences(answered)

    row = answered.selected[PAIR].sets["skills: math"]
    row.ranges = row.ranges | {"over_base": (-0.5, -0.4, -0.3, 0.1)}  # another seed may end above 0
    answered.ship.advice = None
    assert verdict.advice(answered).between == [COST, SHIP]
    answered.ship.advice = Advice(kind=SHIP)  # as an earlier version stored it
    assert advice_wording.advice_look(answered) == "unclear"


@pytest.mark.parametrize("kind", list(EffectKind))
def test_every_effect_has_one_plain_sentence(stored, kind):
    changed = stored.model_copy(deep=True)
    name = next(name for name, row in changed.combinations.items() if row.stage == 2)
    tested = verdict.effect(changed, name).tested
    changed.combinations[name].effect = Effect(kind=kind, tested=tested, between=[EffectKind.NO_EFFECT])
    sentence = combination_wording.combination_sentence(changed, name)
    assert sentence.endswith(".") and ". " not in sentence and "finance + math" in sentence
