"""Merge methods of mergekit and plugins as operators: points, recipes, merges, mistakes."""

import json

import pytest
import torch
import yaml
from helpers import study as helpers
from helpers.merging import run
from helpers.report import page_of
from mergekit.config import MergeConfiguration
from mergekit.merge_methods import (
    BasePolicy,
    InputContract,
    PerNonBase,
    TensorGroup,
    merge_method,
    registered_methods,
    registry,
)
from mergekit.options import MergeOptions

from mergekit_finance.checks.findings import forget_printed
from mergekit_finance.errors import RecipeError
from mergekit_finance.evaluation.live_merges import Sweep
from mergekit_finance.evaluation.live_models import LiveModels
from mergekit_finance.merging import in_memory
from mergekit_finance.operators import BY_METHOD, method_key, operator_of
from mergekit_finance.recipe.load import load_recipe
from mergekit_finance.report.figures import curves, draw_all, heatmaps, stages
from mergekit_finance.share.body import _citation
from mergekit_finance.share.card import point_recipe_text
from mergekit_finance.share.choice import choose_point
from mergekit_finance.share.provenance import is_consistent
from mergekit_finance.study import config, methods
from mergekit_finance.study.export import export_recipes
from mergekit_finance.study.methods import skipped_stages
from mergekit_finance.study.points import points
from mergekit_finance.study.results import load_results
from mergekit_finance.study.run import point_entry
from mergekit_finance.study.schema import PointEntry
from mergekit_finance.study.worker import Stamp, Worker

THREE = ("finance", "math", "japanese")
# Parameters of every method that mergekit registers, and in which stages it is run.
GRIDS = {
    "arcee_fusion": ({}, (1, 2)),
    "breadcrumbs": ({"density": 0.6, "gamma": 0.05}, (1, 2, 3)),
    "breadcrumbs_ties": ({"density": 0.6, "gamma": 0.05, "weight": {"math": 0.5}}, (1, 2, 3)),
    "dare_linear": ({"density": 0.5, "seeds": 3}, (1, 2, 3)),
    "della": ({"density": 0.5, "epsilon": 0.1}, (1, 2, 3)),
    "della_linear": ({"density": 0.5, "epsilon": 0.1, "lambda": 0.5, "seeds": 7}, (1, 2, 3)),
    "karcher": ({"max_iter": 5}, (1, 2, 3)),
    "linear": ({"weight": {"finance": 0.3}}, (1, 2, 3)),
    "mergekit_dare_ties": ({"density": 0.5}, (1, 2, 3)),
    "mergekit_task_arithmetic": ({"lambda": [[{"filter": "mlp", "value": 0.4}, {"value": 0.8}]]}, (1, 2, 3)),
    "mergekit_ties": ({"density": [[0.2, 0.8]]}, (1, 2, 3)),
    "model_stock": ({}, (2, 3)),
    "multislerp": ({}, (1, 2, 3)),
    "nearswap": ({"t": 0.001}, (1, 2)),
    "nuslerp": ({"weight": 0.5}, (1, 2)),
    "ram": ({}, (1, 2, 3)),
    "ramplus_tl": ({"r": 0.2}, (1, 2, 3)),
    "sce": ({"select_topk": 0.5}, (1, 2, 3)),
    "slerp": ({"t": [[0, 0.5, 1]]}, (1, 2)),
}
WITHOUT = {"passthrough": "it copies one model, and every merge of a study has at least two"}


def study(operators, models=".", experts=THREE, **changes):
    content = helpers.content(models, experts, **({"stages": [1, 2, 3], "operators": operators} | changes))
    return config.parse_study(content, "study.yml")


def points_of(parsed):
    return [point for stage in parsed.stages for point in points(parsed, stage)]


def test_every_method_that_mergekit_registers_is_an_operator_or_named_with_a_reason():
    registered = {m.spec.name for m in registered_methods() if type(m).__module__.startswith("mergekit.")}
    assert {method_key(name) for name in registered} == {*GRIDS, *WITHOUT}


@pytest.mark.parametrize("key", GRIDS)
def test_a_method_merges_in_memory_what_mergekit_writes(tiny, tmp_path, key):
    """In the last stage that it is run in: the most models. The seed is that of the point."""
    grid, stages = GRIDS[key]
    parsed = study({"task_arithmetic": {}, key: grid}, tiny)
    merges = [point for point in points_of(parsed) if point.operator == key]
    assert tuple(dict.fromkeys(point.stage for point in merges)) == stages
    point = merges[-1]
    recipe = yaml.safe_load(yaml.safe_dump(point.recipe()))
    options = MergeOptions(quiet=True, random_seed=point.drawn_seed)
    model, _ = in_memory.merge(MergeConfiguration.model_validate(recipe), options, check=False)
    written = run(recipe, tmp_path, random_seed=point.drawn_seed)
    live = dict(model.named_parameters())
    assert written and all(tensor.equal(live[name]) for name, tensor in written.items())
    assert all(tensor.dtype == torch.bfloat16 for tensor in written.values())


def test_inputs_follow_what_the_method_declares_of_its_base():
    grids = {"slerp": {"t": 0.4}, "linear": {"weight": {"finance": 0.3}}, "della": {"density": 0.5}}
    by_name = {p.name: p.recipe() for p in points_of(study({**grids, "model_stock": None}))}
    slerp = by_name["stage2-finance-math-slerp-t0.4"]
    assert slerp["base_model"] == "./finance", "a pair is merged from its first expert to its second"
    assert [m["model"] for m in slerp["models"]] == ["./finance", "./math"] and slerp["parameters"] == {
        "t": 0.4
    }
    assert by_name["stage1-math-slerp-t0.4"]["base_model"] == "./base"
    linear = by_name["stage1-finance-linear-weight0.3"]
    assert "base_model" not in linear, "the base is an input like any other"
    assert [(m["model"], m["parameters"]["weight"]) for m in linear["models"]] == [
        ("./base", 1.0),
        ("./finance", 0.3),
    ]
    assert [m["model"] for m in by_name["stage2-finance-math-linear-weight0.3_1.0"]["models"]] == [
        "./finance",
        "./math",
    ]
    della = by_name["stage3-finance-math-japanese-della-density0.5-seed0"]
    assert della["base_model"] == "./base" and "seed" not in json.dumps(della)
    assert [m["parameters"] for m in della["models"]] == [{"weight": 1.0, "density": 0.5}] * 3
    assert by_name["stage2-finance-math-model-stock"]["parameters"] == {}
    assert "stage1-finance-model-stock" not in by_name


def test_a_stage_in_which_a_method_is_not_run_is_one_line():
    notes = notes_on_stages({"slerp": {"t": 0.5}, "model_stock": {}, "ties": {}})
    assert [note.message for note in notes] == [
        "model_stock is not run in stage 1: it merges 3 or more models, and a combination of stage 1 has 1 expert "
        "and the base. It fits stages 2 and 3",
        "slerp is not run in stage 3: it merges 2 models, and a combination of stage 3 has 3 experts and the base. "
        "It fits stages 1 and 2",
    ]
    assert notes_on_stages({"ties": {}, "linear": {}}) == []


def notes_on_stages(operators):
    content = study(operators)
    return skipped_stages(content.operators, content.stages, list(content.experts))


MISSPELLED = "operators: unknown merge method 'slrp'. Did you mean 'slerp'? Known: arcee_fusion, "


@pytest.mark.parametrize(
    ("operators", "message"),
    [
        ({"slrp": {"t": 0.5}}, MISSPELLED),
        ({"cpt_ties": {}}, "operators: 'cpt_ties' is written 'ties' in a study"),
        ({"mergekit_slerp": {"t": 0.5}}, "operators: unknown merge method 'mergekit_slerp'. Did you mean 'mergekit_ties'?"),
        ({"passthrough": {}, "ties": {}}, "operators.passthrough: it merges 1 model, and a combination of stage 3 has 3 experts and the base. It fits no stage. Remove it"),
        ({"slerp": {"t": 0.5, "seeds": [0, 1]}, "ties": {}}, "operators.slerp.seeds: slerp draws no random numbers, so each seed would give the same model. Remove seeds"),
        ({"mergekit_ties": {"density": 0.5, "seeds": [0]}}, "operators.mergekit_ties.seeds: mergekit_ties draws no random numbers"),
        ({"slerp": {"t": 0.5}}, "operators: none merges the models of stage 3. Add one, such as task_arithmetic, or leave the stage out."),
        ({"della": {"density": 0.3, "epsilon": -1}}, "operators.della: Expected p_in >= 0 && p_in <= 1 to be true, but got false. Tried with {'density': 0.3, 'epsilon': -1, 'seed': 0}"),
        ({"della": {"densty": 0.5}}, "operators.della: unknown parameter 'densty'. Did you mean 'density'? Known: density, epsilon, int8_mask, lambda, normalize, rescale, weight"),
        ({"slerp": {}, "ties": {}}, "operators.slerp: parameter 't' is missing, which the method requires. Write values for it"),
        ({"slerp": {"t": {"finance": 0.5}}, "ties": {}}, "operators.slerp.t: is one value for the merge, not one for each model. Write a value or a list"),
        ({"della": {"density": {"fiance": 0.5}}}, "operators.della.density: unknown expert 'fiance'. Did you mean 'finance'? Known: finance, japanese, math"),
        ({"linear": {"weight": {"bas": 0.5}}}, "operators.linear.weight: unknown expert 'bas'. Did you mean 'base'? Known: base, finance, japanese, math"),
        ({"della": {"density": 0.9, "epsilon": [0.05, 0.3]}}, "operators.della: Epsilon must be chosen such that density +/- epsilon is in (0, 1). Tried with {'density': 0.9, 'epsilon': 0.3, 'seed': 0}"),
        ({"linear": {"weight": {"base": 0, "finance": 0, "japanese": 0, "math": 0}}}, "operators.linear: the merge of small random tensors holds NaN or Inf (do the weights add up to 0?). Tried with {"),
        ({"linear": {"normalize": [True, "no"]}}, "operators.linear.normalize: 'no' is not true or false"),
        ({"karcher": {"max_iter": [[1, 5]]}}, "operators.karcher.max_iter: [1.0, 5.0] is a gradient, but the parameter is a whole number"),
        ({"slerp": {"t": [[{"filter": "mlp", "value": 0.5}]]}, "ties": {}}, "operators.slerp.t: [{'filter': 'mlp', 'value': 0.5}] has no last entry without `filter`, which a required parameter needs"),
        ({"slerp": {"t": float("nan")}}, "operators.slerp.t.0: must lie between -1e+09 and 1e+09 (given: nan)"),
        ({"slerp": {"t": [[{"flter": "mlp", "value": 0.5}]]}}, "unknown key 'operators.slerp.t.0.0.flter'. Did you mean 'filter'? Known: filter, value"),
        ({"ties": {"density": [[0.2, 0.8]]}}, "operators.ties.density: paper semantics has no gradient or filter; write numbers, or `semantics: mergekit`"),
        ({"nearswap": {"t": "1e-3"}, "ties": {}}, "operators.nearswap.t: '1e-3' is not a number. Write 0.001"),
        ({"della": {"density": [0, 0.5]}}, "operators.della.density: 0 is not above 0 and at most 1: it is the share of the changes that is kept"),
        ({"slerp": 0.5}, "operators.slerp: must be a mapping of keys (given: 0.5)"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_in_one_line(operators, message):
    with pytest.raises(RecipeError) as caught:
        study(operators)
    assert str(caught.value).startswith(f"study.yml: {message}") and "\n" not in str(caught.value)


def test_a_method_that_fits_no_stage_of_this_study_is_refused():
    message = (
        "model_stock: it merges 3 or more models, and a combination of stage 1 has 1 expert and the base. "
        "It fits stages 2 and 3. Remove it, or list a stage that it fits"
    )
    with pytest.raises(RecipeError, match=message):
        study({"model_stock": {}, "ties": {}}, stages=[1])


def test_a_method_that_fits_no_stage_at_all_has_one_remedy():
    message = r"It fits no stage\. Remove it \[study"
    with pytest.raises(RecipeError, match=message):
        study({"passthrough": {}, "ties": {}}, stages=[1])


def test_the_filters_of_all_operators_are_listed():
    value = [{"filter": "mlp", "value": 0.4}, {"value": 0.8}]
    parsed = study(
        {
            "task_arithmetic": {"lambda": [value, 0.5]},
            "slerp": {"t": [[{"filter": "attn", "value": 0}, {"value": 1}]]},
        }
    )
    assert parsed.filters == {"mlp", "attn"}


def test_names_and_dumps_of_gradients_filters_and_words_are_stable():
    filters = [{"filter": "mlp", "value": 0.4}, {"value": 0.8}]
    parsed = study(
        {"task_arithmetic": {"lambda": [filters, [{"value": 1}], 0.5]}, "slerp": {"t": [[0, 1], 0.5]}}
    )
    assert config.parse_study(json.loads(json.dumps(config.dump(parsed), sort_keys=True)), "again") == parsed
    names = [point.name for point in points_of(parsed) if point.combination == ("finance", "math")]
    assert names == [
        "stage2-finance-math-ta-lambda0.5",
        "stage2-finance-math-ta-lambdamlp_0.4_else_0.8~202f15",
        "stage2-finance-math-ta-lambdaelse_1~62150c",
        "stage2-finance-math-slerp-t0.5",
        "stage2-finance-math-slerp-t0_1~46f9d2",
    ]


def test_the_sweep_merges_filters_and_other_methods_too(tiny, tmp_path):
    filters = [{"filter": "mlp", "value": 0.4}, {"value": 0.8}]
    operators = {"task_arithmetic": {"lambda": [0.5, filters]}, "slerp": {"t": 0.3}}
    for point in points(study(operators, tiny, stages=[2]), 2)[1:]:
        sweep = Sweep(LiveModels(batch_size=1))
        sweep.prepare([point.recipe()])
        merged = dict(sweep.at(point.recipe(), point.drawn_seed).model.named_parameters())
        written = run(point.recipe(), tmp_path / point.name)
        assert all(tensor.equal(merged[name]) for name, tensor in written.items())
        sweep.close()


def test_the_seed_that_mergekit_draws_with_is_part_of_the_key_and_of_the_recipe_file():
    one, other = points(study({"della": {"density": 0.5, "seeds": [0, 1]}}), 1)[:2]
    assert one.recipe() == other.recipe() and (one.drawn_seed, other.drawn_seed) == (0, 1)
    stamp = Stamp({}, {}, {})
    keys = [Worker(None, None, {}, stamp=stamp).point_answers_key(point) for point in (one, other)]
    assert [key["seed"] for key in keys] == [0, 1] and keys[0]["merge"] == keys[1]["merge"]


def test_a_method_is_named_with_its_paper_and_an_unknown_one_by_its_key():
    labels = operator_of("della"), operator_of("mergekit_ties"), operator_of("a_plugins")
    assert [label.label for label in labels] == ["DELLA", "TIES (mergekit)", "a_plugins"]
    assert "2406.11617" in labels[0].citation and BY_METHOD["cpt_ties"].key == "ties"


def test_exported_recipes_name_the_seed_for_run_and_for_mergekit(tiny, tmp_path):
    grid = {"della": {"density": 0.5, "seeds": 7}, "slerp": {"t": 0.3}}
    path = helpers.write(tmp_path / "study.yml", tiny, operators=grid)
    exported = {recipe.name: recipe.text for recipe in export_recipes(path)}
    text = exported["stage2-finance-math-della-density0.5-seed7.yml"]
    assert "# For the same bytes: mergekit-yaml --random-seed 7\n" in text
    (tmp_path / "recipe.yml").write_text(text)
    assert load_recipe(tmp_path / "recipe.yml").seed == 7
    assert "seed" not in exported["stage2-finance-math-slerp-t0.3.yml"]
    pair = tmp_path / "pair.yml"
    pair.write_text(exported["stage2-finance-math-slerp-t0.3.yml"])
    assert load_recipe(pair).stage == 2  # though its base_model is one of the two experts
    starts = {recipe.name: recipe.text for recipe in export_recipes(path, start=True)}
    assert "A study can vary density and seed." in starts["stage1-math-della.yml"]


def test_a_stored_point_is_consistent_with_its_recipe_and_an_altered_one_is_not():
    grids = {"slerp": {"t": 0.3}, "linear": {"weight": {"finance": 0.3}}, "della": {"weight": 0.5}}
    ours = {
        "dare_ties": {"weight": {"finance": 0.5, "math": 0.7}},
        "task_arithmetic": {"lambda": [[0.1, 0.2]]},
    }
    for point in points_of(study({**grids, **ours, "model_stock": {}})):
        entry = point_entry(point, "folder")
        stored = json.loads(json.dumps(entry.as_json(), sort_keys=True))
        assert is_consistent(PointEntry.model_validate(stored)), "files have sorted keys"
        altered = entry.recipe.model_copy(update={"merge_method": "task_arithmetic"})
        assert not is_consistent(entry.model_copy(update={"recipe": altered}))


def test_a_study_of_three_methods_is_run_shown_and_shared(tiny, tmp_path):
    operators = {"slerp": {"t": [0.3, 0.5]}, "della": {"density": 0.5, "epsilon": 0.1}, "linear": {}}
    operators |= {"model_stock": None}
    changes = {"operators": operators, "tasks": helpers.TASKS[:1]}
    forget_printed()
    summary, printed = helpers.go(tiny, tmp_path / "out", **changes)
    assert any("note: model_stock is not run in stage 1: it merges 3 or more models" in t for t in printed)
    assert [len(row["by_operator"]) for row in summary["combinations"].values()] == [3, 3, 4]
    assert len(summary["points"]) == 2 * 4 + 5
    results = load_results(tmp_path / "out")
    html = page_of(tmp_path / "out")
    assert "SLERP t 0.3, 0.5" in html and "DELLA density 0.5; epsilon 0.1; seed 0" in html
    assert "DELLA d 0.5, epsilon 0.1, seed 0" in html and ">Linear<" in html
    drawn = [figure.name for figure in draw_all(results, [stages.NAME, heatmaps.NAME, curves.NAME])]
    assert drawn == [stages.NAME, heatmaps.NAME, curves.NAME], "none is left out"
    point = next(name for name in results.points if "della" in name)
    shared = choose_point(tmp_path / "out", point, {})
    assert "seed: 0" in point_recipe_text(shared) and "--random-seed 0" in point_recipe_text(shared)
    assert "- DELLA: Deep et al., DELLA-Merging, arXiv 2406.11617" in list(_citation(shared))
    recipe = (results.place(point) / "recipe.yml").read_text()
    assert recipe.startswith("# For the same bytes: mergekit-yaml --random-seed 0\nmerge_method: della\n")
    before = helpers.stamps(tmp_path / "out")
    helpers.go(tiny, tmp_path / "out", **changes)
    assert helpers.stamps(tmp_path / "out") == before, "nothing is evaluated again"


@pytest.fixture
def half_way(monkeypatch):
    """A plugin's method: from the base half of the way to the mean, times a scale of each model."""

    @merge_method(name="half_way", contract=InputContract(base=BasePolicy.REQUIRED, max_non_base=2))
    def merged(group: TensorGroup, amount: PerNonBase[float], mode: str = "plain") -> torch.Tensor:
        scales = [amount[entry.id] for entry in group.non_base]
        if min(scales) < 0:
            raise ValueError("amount must not be negative")
        vectors = [e.tensor - group.base.tensor for e in group.non_base]
        return group.base.tensor + sum(s * v for s, v in zip(scales, vectors, strict=True)) / 2

    monkeypatch.setattr(methods, "merge_methods", lambda: [merged])
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    methods.registered.cache_clear()
    yield
    methods.registered.cache_clear()


def test_a_method_of_a_plugin_is_an_operator_too(half_way, tiny, tmp_path):
    grid = {"amount": {"finance": [0.5, 1.0], "math": 0.2}, "mode": ["plain", "other"]}
    parsed = study({"half_way": grid}, tiny, ("finance", "math"), stages=[1, 2])
    point = points(parsed, 2)[0]
    assert point.name == "stage2-finance-math-half-way-amount0.5_0.2-modeother"
    assert [m["parameters"] for m in point.recipe()["models"]] == [{"amount": 0.5}, {"amount": 0.2}]
    assert point.recipe()["parameters"] == {"mode": "other"} and len(points(parsed, 2)) == 4
    for wrong, message in [
        (
            {"amount": {"finance": 0.5}},
            "half_way.amount: no value for math, and the method requires one. Write one for each",
        ),
        ({"amount": -1}, "amount must not be negative"),
        ({}, "parameter 'amount' is missing, which the method requires"),
        ({"amount": 1, "mode": 3}, "operators.half_way.mode: 3 is not text"),
    ]:
        with pytest.raises(RecipeError, match=message):
            study({"half_way": wrong}, tiny, ("finance", "math"), stages=[1, 2])
    merged = Sweep(LiveModels(batch_size=1)).at(point.recipe()).model
    assert merged is not None
