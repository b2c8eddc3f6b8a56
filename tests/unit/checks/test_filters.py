"""Filters of a recipe's parameters must match a tensor."""

from mergekit_finance.checks.filters import check_filters, filters_of
from mergekit_finance.checks.merge_facts import MergeFacts
from mergekit_finance.models.facts import ModelFacts
from mergekit_finance.models.weight_files import TensorFacts

TENSORS = {name: TensorFacts(name, (2, 2), "F32") for name in ("model.layers.0.mlp.up_proj.weight",)}


def test_filters_are_read_wherever_a_recipe_has_parameters():
    value = [{"filter": "mlp", "value": 1}, {"value": 0.5}]
    recipe = {
        "models": [{"model": "a", "parameters": {"weight": value}}],
        "parameters": {"lambda": [{"filter": "attn", "value": 1}]},
        "tokenizer": {"source": "base"},
    }
    assert filters_of(recipe) == {"mlp", "attn"}


def test_a_filter_that_matches_no_tensor_is_a_warning():
    merge = MergeFacts(
        "r.yml", (ModelFacts("./base", tensors=TENSORS),), filters=frozenset(("mlp", "attn", "*"))
    )
    (one,) = check_filters(merge)
    assert (one.id, one.level) == ("recipe.filter-unused", "warning")
    assert one.message == "r.yml: filter 'attn' matches no tensor of ./base"


def test_without_the_weights_filters_are_not_compared():
    assert list(check_filters(MergeFacts("", (ModelFacts("a/b"),), filters=frozenset({"x"})))) == []
