"""The paper and mergekit semantics of each method, on tensors whose merge was computed by hand."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.merging import call, group

from mergekit_finance.engine import reference, top_k
from mergekit_finance.errors import RecipeError
from mergekit_finance.merge_methods import dare_ties
from mergekit_finance.merge_methods.all_methods import METHODS
from mergekit_finance.merge_methods.dare_ties import cpt_dare_ties
from mergekit_finance.merge_methods.parameters import Context, default_mask_id
from mergekit_finance.merge_methods.task_arithmetic import cpt_task_arithmetic
from mergekit_finance.merge_methods.ties import cpt_ties


def whole(cut: float = 0.0, balance: int = 0) -> Context:
    """A whole vector whose cut keeps every magnitude from `cut` on, and whose signs sum to `balance`."""
    bits = int(top_k.magnitude_bits(torch.tensor([cut])))
    trim = lambda name, model, vector: top_k.trim(vector, bits, None)  # noqa: E731
    return Context(SimpleNamespace(trim=trim, sign_balance=lambda: balance), rounds_later=False)


def fixed_masks(monkeypatch: pytest.MonkeyPatch, masks: dict[str, list[int]]) -> None:
    """Give each model its mask by mask_id."""
    monkeypatch.setattr(dare_ties, "mask_key", lambda seed, mask_id, name: mask_id)
    monkeypatch.setattr(
        dare_ties, "keep_mask", lambda shape, density, key, device: torch.tensor(masks[key], dtype=torch.bool)
    )


def test_the_catalog_lists_the_three_methods() -> None:
    assert [m.spec.name for m in METHODS] == ["cpt_task_arithmetic", "cpt_ties", "cpt_dare_ties"]


# ---- Task Arithmetic


def test_ta_paper_is_the_scaled_sum() -> None:
    g = group([1.0, 1.0, 1.0], [2.0, 1.0, 0.0], [5.0, 1.0, 3.0])
    assert call(cpt_task_arithmetic, g, lambda_=0.5).tolist() == [3.5, 1.0, 1.5]
    assert call(cpt_task_arithmetic, g, lambda_=0.5, weight=[2.0, -1.0]).tolist() == [0.0, 1.0, -1.0]


def test_ta_mergekit_divides_by_the_weights_only_with_normalize() -> None:
    g = group([1.0], [2.0], [5.0])
    assert call(cpt_task_arithmetic, g, semantics="mergekit", weight=[1.0, 3.0]).tolist() == [14.0]
    settings: dict[str, Any] = {"semantics": "mergekit", "weight": [1.0, 3.0], "normalize": True}
    assert call(cpt_task_arithmetic, g, **settings).tolist() == [1 + 13 / 4]
    settings["weight"] = [1.0, -1.0]  # weights that sum to 0 divide nothing
    assert call(cpt_task_arithmetic, g, **settings).tolist() == [-2.0]


# ---- TIES


def test_ties_paper_elects_the_sign_of_the_sum() -> None:
    g = group([0.0] * 4, [4.0, -1.0, 2.0, 0.0], [-1.0, -3.0, 6.0, 5.0])
    assert call(cpt_ties, g, context=whole()).tolist() == [4.0, -2.0, 4.0, 5.0]


def test_ties_paper_merges_by_the_mean_of_non_zero_agreeing_values_times_lambda() -> None:
    g = group([1.0, 1.0], [1.0, 3.0], [7.0, 5.0], [4.0, 7.0])
    # First element: tau = 0, 6, 3, and the zero is not counted.
    assert call(cpt_ties, g, context=whole(), lambda_=2.0).tolist() == [1 + 2 * 4.5, 1 + 2 * 4.0]


def test_ties_paper_trims_by_the_whole_models_cut() -> None:
    g = group([0.0] * 3, [4.0, 1.9, 2.0], [0.5, 8.0, 2.5])
    # A cut of this tensor alone would keep its largest value; the whole model's cut keeps all from 2 on.
    assert call(cpt_ties, g, context=whole(cut=2.0), density=0.1).tolist() == [4.0, 8.0, 2.25]


@pytest.mark.parametrize(("balance", "merged"), [(5, 3.0), (-5, -3.0), (0, 0.0)])
def test_ties_paper_elects_the_majority_sign_where_the_sum_is_zero(balance: int, merged: float) -> None:
    g = group([0.0, 0.0, 0.0], [3.0, 1.0, 0.0], [-3.0, 1.0, 0.0])
    assert call(cpt_ties, g, context=whole(balance=balance)).tolist() == [merged, 1.0, 0.0]


def test_ties_paper_counts_the_majority_only_if_a_sum_is_zero() -> None:
    def never() -> int:
        raise AssertionError("the majority was counted, although no sum is zero")

    context = whole()
    context.whole.sign_balance = never
    assert call(cpt_ties, group([0.0, 0.0], [0.0, 1.0], [0.0, 2.0]), context=context).tolist() == [0.0, 1.5]


def test_ties_paper_applies_weights_after_the_trim_and_before_the_election() -> None:
    g = group([0.0], [2.0], [-3.0])
    assert call(cpt_ties, g, context=whole(cut=2.0), weight=[2.0, 1.0]).tolist() == [4.0]
    assert call(cpt_ties, g, context=whole(cut=2.0), weight=[0.0, 1.0]).tolist() == [-3.0]


def test_ties_paper_needs_the_whole_model() -> None:
    with pytest.raises(RecipeError, match="ranks the whole model in paper semantics.*semantics: mergekit"):
        call(cpt_ties, group([0.0], [1.0]))


def test_ties_mergekit_keeps_int_of_density_times_n_but_at_least_one() -> None:
    g = group([0.0] * 7, [1.0, -9.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    ties = {"semantics": "mergekit"}
    assert call(cpt_ties, g, density=0.29, **ties).tolist() == [0, -9, 0, 0, 0, 0, 7]  # int(2.03) = 2
    assert call(cpt_ties, g, density=0.28, **ties).tolist() == [0, -9, 0, 0, 0, 0, 0]  # int(1.96) = 1
    assert call(cpt_ties, g, density=0.01, **ties).tolist() == [0, -9, 0, 0, 0, 0, 0]  # max(1, 0)


def test_ties_mergekit_counts_with_the_float_loss_of_int() -> None:
    g = group([0.0] * 100, [float(i + 1) for i in range(100)])
    merged = call(cpt_ties, g, semantics="mergekit", density=0.29)
    assert int((merged != 0).sum()) == 28  # int(0.29 * 100); paper semantics keeps 29


def test_ties_mergekit_breaks_ties_by_index() -> None:
    g = group([0.0] * 5, [2.0, 3.0, -2.0, 2.0, 1.0])
    assert call(cpt_ties, g, semantics="mergekit", density=0.5).tolist() == [2.0, 3.0, 0.0, 0.0, 0.0]


def test_ties_mergekit_counts_a_zero_sum_as_plus() -> None:
    g = group([0.0], [3.0], [-3.0])
    assert call(cpt_ties, g, semantics="mergekit").tolist() == [3.0]


def test_ties_mergekit_divides_by_the_agreeing_weights_by_default() -> None:
    g = group([0.0, 0.0], [3.0, 1.0], [1.0, -8.0])
    weights = {"semantics": "mergekit", "weight": [1.0, 3.0]}
    assert call(cpt_ties, g, **weights).tolist() == [(3 + 3) / 4, -8.0]
    assert call(cpt_ties, g, normalize=False, **weights).tolist() == [6.0, -24.0]
    assert call(cpt_ties, g, lambda_=0.5, **weights).tolist() == [0.75, -4.0]


# ---- DARE-TIES


def test_dare_paper_rescales_by_one_over_density(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed_masks(monkeypatch, {"a": [1, 0, 1, 0]})
    merged = call(cpt_dare_ties, group([1.0] * 4, [2.0, 3.0, 0.0, 9.0]), density=0.25)
    assert merged.tolist() == [5.0, 1.0, -3.0, 1.0]


def test_dare_paper_elects_and_takes_the_disjoint_mean_of_what_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fixed_masks(monkeypatch, {"a": [1, 1, 0, 1], "b": [1, 0, 1, 1]})
    g = group([0.0] * 4, [1.0, 1.0, 1.0, 1.0], [3.0, 9.0, -2.0, -4.0])
    # No second trim: with density 0.5 a trim would leave two elements of each.
    assert call(cpt_dare_ties, g, density=0.5, lambda_=0.5).tolist() == [2.0, 1.0, -2.0, -4.0]


@pytest.mark.parametrize(("extra", "merged"), [(1.0, 2.0), (-1.0, -2.0)])
def test_dare_paper_elects_the_majority_sign_of_the_same_tensor(extra: float, merged: float) -> None:
    g = group([0.0, 0.0], [2.0, extra], [-2.0, extra])
    assert call(cpt_dare_ties, g).tolist() == [merged, extra]


def test_dare_mergekit_keeps_the_l1_norm_and_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed_masks(monkeypatch, {"a": [1, 0, 1, 0], "b": [1, 1, 1, 1]})
    g = group([0.0] * 4, [1.0, 2.0, 3.0, 2.0], [1.0, -1.0, 1.0, 1.0])
    # The L1 norm of a is 8, of its kept values 4: they are doubled. Values that agree are summed, not averaged.
    merged = call(cpt_dare_ties, g, semantics="mergekit", density=[0.5, 0.5])
    assert merged.tolist() == [3.0, -1.0, 7.0, 1.0]


def test_dare_mergekit_can_divide_by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed_masks(monkeypatch, {"a": [1, 1], "b": [1, 1]})
    g = group([0.0, 0.0], [1.0, 1.0], [3.0, -3.0])
    assert call(cpt_dare_ties, g, semantics="mergekit", density=0.5, normalize=True).tolist() == [2.0, -3.0]


def test_dare_mask_takes_seed_model_and_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = []
    monkeypatch.setattr(dare_ties, "mask_key", lambda *parts: arguments.append(parts))
    monkeypatch.setattr(dare_ties, "keep_mask", lambda *_: torch.tensor([True]))
    call(cpt_dare_ties, group([0.0], [1.0], [2.0], name="n"), density=0.5, seed=4, mask_id=["x", None])
    assert arguments == [(4, "b", "n"), (4, "x", "n")]  # b by default; sums run in mask_id order


# ---- all


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arithmetic_is_float32_and_rounded_once(dtype: torch.dtype) -> None:
    g = group([256.0], [258.0], [258.0], [258.0], dtype=dtype)
    # In bfloat16, 0.3 is 0.30078 and every step would round.
    expected = torch.tensor([256 + (2 + 2 + 2) * 0.3]).to(dtype)
    merged = call(cpt_task_arithmetic, g, lambda_=0.3)
    assert merged.dtype == dtype and torch.equal(merged, expected)
    later = call(cpt_task_arithmetic, g, lambda_=0.3, context=Context(None, rounds_later=True))
    assert later.dtype == torch.float32


def test_sums_run_in_mask_id_order_in_paper_and_in_recipe_order_in_mergekit_semantics() -> None:
    big, small = 2.0**24, 1.0
    g = group([0.0], [small], [big], [-big])  # float32: (1 + big) - big = 0, (big - big) + 1 = 1
    by_id = {"mask_id": ["z", "a", "b"]}
    assert call(cpt_task_arithmetic, g, **by_id).tolist() == [1.0]
    assert call(cpt_task_arithmetic, g, semantics="mergekit", **by_id).tolist() == [0.0]


def test_default_mask_id_is_the_last_path_component() -> None:
    assert [default_mask_id(m) for m in ("./tiny/finance/", "org/model", "/a/b.c")] == [
        "finance",
        "model",
        "b.c",
    ]


def test_sign_balance_counts_exactly() -> None:
    assert reference.sign_balance(torch.tensor([3.0, -1.0, -0.0, -9.0, -1e-45])) == -2
