"""Hyperparameters with values for each expert: points, names, recipes, merges, mistakes, the report."""

from contextlib import closing

import pytest
import yaml
from helpers import study as helpers
from helpers.merging import run
from helpers.report import page_of
from mergekit.config import MergeConfiguration

from mergekit_finance.errors import RecipeError
from mergekit_finance.evaluation.live_merges import Sweep
from mergekit_finance.evaluation.live_models import LiveModels
from mergekit_finance.merging.session import MergeSession
from mergekit_finance.operators import by_parameter, values_text
from mergekit_finance.report.figures import curves
from mergekit_finance.share.provenance import is_consistent
from mergekit_finance.study import config
from mergekit_finance.study.analysis.summary import answer
from mergekit_finance.study.export import export_recipes
from mergekit_finance.study.points import point_entry, points, start
from mergekit_finance.study.results import load_results
from mergekit_finance.study.split import has_split
from mergekit_finance.study.store import write_json

THREE = ("finance", "math", "japanese")
LAMBDAS = {"finance": [1.0, 0.6], "math": [0.4, 0.8]}
OPERATORS = {
    "task_arithmetic": {"lambda": LAMBDAS},
    "ties": {"density": {"finance": 0.2, "math": 0.5}, "lambda": 0.8, "weight": {"math": [0.5, 1.5]}},
    "dare_ties": {"density": 0.5, "lambda": {"math": 0.7}, "seeds": [3]},
}


def study(models=".", experts=THREE, **changes):
    content = helpers.content(models, experts, **({"stages": [1, 2, 3], "operators": OPERATORS} | changes))
    return config.parse_study(content, "study.yml")


def points_of(parsed):
    return [point for stage in parsed.stages for point in points(parsed, stage)]


def test_the_points_are_the_product_over_the_experts_of_the_combination():
    parsed = study(operators={"task_arithmetic": {"lambda": LAMBDAS}})
    values = {}
    for point in points_of(parsed):
        values.setdefault(point.combination, []).append(point.values)
    assert values["finance",] == [{"lambda.finance": 0.6}, {"lambda.finance": 1.0}]
    assert values["japanese",] == [{"lambda.japanese": 1.0}], "an expert that is not named has 1"
    assert values["finance", "math"] == [
        {"lambda.finance": f, "lambda.math": m} for f in (0.6, 1.0) for m in (0.4, 0.8)
    ]
    assert [tuple(v.values()) for v in values[THREE]] == [(f, m, 1.0) for f in (0.6, 1.0) for m in (0.4, 0.8)]
    assert parsed.operators.task_arithmetic.size(values) == sum(map(len, values.values())) == 17


def test_names_have_the_values_in_the_order_of_the_experts_and_are_unique():
    names = [point.name for point in points_of(study())]
    assert len(set(names)) == len(names)
    assert "stage2-finance-math-ta-lambda0.6_0.8" in names
    assert "stage2-finance-math-ties-density0.2_0.5-lambda0.8-weight1.0_1.5" in names
    assert "stage3-finance-math-japanese-dare-ties-density0.5-lambda1.0_0.7_1.0-seed3" in names


def test_a_lambda_by_expert_is_written_as_the_weight_of_its_model():
    by_name = {point.name: point for point in points_of(study())}
    recipe = by_name["stage2-finance-math-ta-lambda0.6_0.8"].recipe()
    assert recipe["parameters"]["lambda"] == 1.0
    assert [m["parameters"] for m in recipe["models"]] == [
        {"weight": 0.6, "mask_id": "finance"},
        {"weight": 0.8, "mask_id": "math"},
    ]
    recipe = by_name["stage2-finance-math-ties-density0.2_0.5-lambda0.8-weight1.0_1.5"].recipe()
    assert recipe["parameters"]["lambda"] == 0.8
    assert [m["parameters"] for m in recipe["models"]] == [
        {"weight": 1.0, "density": 0.2, "mask_id": "finance"},
        {"weight": 1.5, "density": 0.5, "mask_id": "math"},
    ]


@pytest.mark.parametrize(("semantics", "left_out"), [("paper", ()), ("mergekit", ("dare_ties",))])
def test_the_sweep_merges_what_mergekit_writes_for_the_recipe(tiny, tmp_path, semantics, left_out):
    """One live model for all points; mergekit's own DARE draws from another generator."""
    parsed = study(tiny, ("finance", "math"), stages=[2], semantics=semantics)
    for operator in [name for name in OPERATORS if name not in left_out]:
        chosen = [point for point in points(parsed, 2) if point.operator == operator]
        with closing(Sweep(LiveModels(batch_size=1))) as sweep:
            sweep.prepare([point.recipe() for point in chosen])
            for point in chosen:
                merged = dict(sweep.at(point.recipe()).model.named_parameters())
        written = run(yaml.safe_load(yaml.safe_dump(chosen[-1].recipe())), tmp_path / chosen[-1].name)
        assert written and all(tensor.equal(merged[name]) for name, tensor in written.items())


def test_equal_values_for_all_experts_merge_as_one_value_does(tiny):
    """In float32 the weight multiplies before the sum and λ after it: equal up to one rounding."""
    tensors = []
    for scale in (0.5, {"finance": 0.5, "math": 0.5}):
        parsed = study(
            tiny, ("finance", "math"), stages=[2], operators={"task_arithmetic": {"lambda": scale}}
        )
        with MergeSession.open(points(parsed, 2)[0].recipe()) as session:
            tensors.append({name: t.clone() for name, t in session.model.named_parameters()})
    assert all(t.equal(tensors[1][name]) for name, t in tensors[0].items()), "0.5 is exact"


def test_exported_recipes_are_those_of_the_points_and_valid_for_mergekit(tiny, tmp_path):
    path = helpers.write(tmp_path / "study.yml", tiny, experts=THREE, operators=OPERATORS)
    exported = {recipe.name: recipe.text for recipe in export_recipes(path)}
    text = exported["stage2-finance-math-ta-lambda0.6_0.4.yml"]
    assert "# A point of the grid of the study 'tiny': lambda of finance 0.6, lambda of math 0.4." in text
    content = yaml.safe_load(text)
    content.pop("finance")
    MergeConfiguration.model_validate(content)
    assert content == next(
        p.recipe()
        for p in points_of(study(tiny))
        if f"{p.name}.yml" == "stage2-finance-math-ta-lambda0.6_0.4.yml"
    )


def test_the_start_is_given_by_expert_too():
    grid = {"lambda": LAMBDAS, "start": {"lambda": {"finance": 1.0, "math": 0.4}}}
    parsed = study(operators={"task_arithmetic": grid})
    assert start(parsed, "task_arithmetic", ("finance", "math")) == {
        "lambda.finance": 1.0,
        "lambda.math": 0.4,
    }
    assert start(parsed, "task_arithmetic", ("japanese",)) == {"lambda.japanese": 1.0}


def test_a_stored_point_is_consistent_with_its_recipe_and_an_altered_one_is_not():
    for point in points_of(study()):
        entry = point_entry(point, "folder")
        assert is_consistent(entry)
        altered = {**entry.values, next(iter(entry.values)): 0.123}
        assert not is_consistent(entry.model_copy(update={"values": altered}))


def test_a_dump_is_read_back():
    parsed = study()
    assert config.parse_study(config.dump(parsed), "again") == parsed


def test_values_by_expert_are_a_grid_to_select_from():
    assert has_split(study(operators={"task_arithmetic": {"lambda": LAMBDAS}}))
    assert not has_split(study(operators={"task_arithmetic": {"lambda": {"finance": 0.5}}}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"operators": {"ties": {"density": {"fiance": 0.5}}}}, "operators.ties.density: unknown expert 'fiance'. Did you mean 'finance'? Known: finance, japanese, math"),
        ({"operators": {"ties": {"lambda": {"finance": [0.1, "x"]}}}}, "operators.ties.lambda.finance.1: must be a number (given: 'x')"),
        ({"operators": {"ties": {"density": {"finance": 0}}}}, "operators.ties.density.finance.0: must be greater than 0 (given: 0)"),
        ({"operators": {"ties": {"density": {"finance": []}}}}, "operators.ties.density.finance: must not be empty"),
        ({"operators": {"ties": {"lambda": [{"finance": 0.6, "math": 0.4}, {"finance": 1.0}]}}}, "operators.ties.lambda: a list cannot hold values by expert. Write a mapping with a list for each expert, such as {finance: [0.6, 1.0]}"),
        ({"operators": {"ties": {"density": {"finance": [{"math": 0.6}]}}}}, "operators.ties.density.finance: a list cannot hold values by expert."),
        ({"operators": {"ties": {"density": {}}}}, "operators.ties.density: must not be empty"),
        ({"operators": {"ties": {"lambda": {"math": 1}, "weight": 0.5}}}, "operators.ties: a lambda for each expert is its weight; leave out weight, or give one lambda"),
        ({"operators": {"ties": {"start": {"density": {"math": 0.5, "mth": 0.5}}}}}, "operators.ties.start.density: unknown expert 'mth'. Did you mean 'math'?"),
        ({"operators": {"task_arithmetic": {"lambda": LAMBDAS, "start": {"lambda": {"math": 0.5}}}}}, "operators.task_arithmetic.start: {'lambda': {'math': 0.5}} is not a point of the grid"),
        ({"operators": {"task_arithmetic": {"lambda": LAMBDAS, "start": {"lambda": 0.6}}}}, "operators.task_arithmetic.start: {'lambda': 0.6} is not a point of the grid"),
        ({"operators": {"dare_ties": {"seeds": {"math": 1}}}}, "operators.dare_ties.seeds.0: "),
        ({"chain": "best"}, "operators.task_arithmetic.lambda: stage 3 merges merges with `chain: best`, which have no values by expert"),
        ({"semantics": "mergekit", "operators": {"ties": {"lambda": LAMBDAS}}}, "operators.ties.lambda: TIES of mergekit divides by the weights of the experts"),
        ({"operators": {"ties": {"density": {e: [k / 100 for k in range(1, 100)] for e in THREE}}}}, "operators: the grids have 999999 points over 7 combinations, at most 10000"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_in_one_line(changes, message):
    with pytest.raises(RecipeError) as caught:
        study(**changes)
    assert str(caught.value).startswith(f"study.yml: {message}") and "\n" not in str(caught.value)


def test_values_are_shown_with_the_names_of_the_experts():
    values = {"density": 0.2, "lambda.finance": 0.6, "lambda.math": 1.0, "seed": 3}
    assert by_parameter(values) == {"density": 0.2, "lambda": {"finance": 0.6, "math": 1.0}, "seed": 3}
    assert values_text(values) == "d 0.2, λ (finance 0.6, math 1), seed 3"


def test_a_study_is_analyzed_and_shown(tmp_path):
    """Combinations have different numbers of points: 2, 1 and 4 of Task Arithmetic."""
    content = helpers.content(
        "lab", operators={"task_arithmetic": {"lambda": LAMBDAS}, "ties": {"density": 0.5}}
    )
    names = ["base", "finance", "math", *(p.name for p in points_of(config.parse_study(content, "s")))]
    scores = {name: [(k * (n + 3)) % 3 > 0 for k in range(40)] for n, name in enumerate(names)}
    helpers.synthetic(tmp_path, content, {"fpb": scores})
    summary = answer(load_results(tmp_path, finished=False), None)
    write_json(tmp_path / "summary.json", summary.as_json())
    comparison = summary.operators
    assert comparison.operators["task_arithmetic"].points == 8 and comparison.operators["ties"].points == 3
    assert list(comparison.differences) == ["task_arithmetic - ties"]
    results, html = load_results(tmp_path), page_of(tmp_path)
    assert "λ (finance 0.6, math 0.4)" in html and "λ of finance 0.6, 1; λ of math 0.4, 0.8" in html
    assert curves.axis_of(results, "finance+math", "task_arithmetic") == "lambda.finance"
    assert curves.axis_of(results, "math", "task_arithmetic") == "lambda.math"
    drawn = curves.draw(results)
    assert "the axis is the values of the expert that the panel names" in drawn.caption
    texts = [text.get_text() for axes in drawn.figure.axes for text in axes.texts]
    assert {"λ of finance", "λ of math", "λ (math 0.4)", "λ (math 0.8)"} <= set(texts)
