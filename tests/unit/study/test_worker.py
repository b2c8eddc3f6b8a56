"""The keys of a worker: all that its calls of `evaluation` depend on."""

import inspect
from dataclasses import fields, replace

import pytest

from mergekit_finance.evaluation import live_merges, measurement
from mergekit_finance.evaluation.evaluator import Evaluator
from mergekit_finance.evaluation.live_models import LiveModels
from mergekit_finance.study.points import RecipePoint
from mergekit_finance.study.schema import Key, Timings
from mergekit_finance.study.subsets import Items
from mergekit_finance.study.worker import Stamp, Worker

POINT = RecipePoint("p", {"merge_method": "dare_ties"}, seed=1)
# Whether remote code may run decides whether a model loads; its files, code included, are in the fingerprint.
STAMP = Stamp({"dtype": "float32"}, {"merge_code": "code"}, {"score_code": "code"})
IN_THE_KEY = {"limit": 5, "stamp": replace(STAMP, answers={"dtype": "float16"}), "fingerprints": {"m": "2"}}
NOT_IN_THE_KEY = {
    "samples": False, "trust_remote_code": True, "done": print, "threads": 7, "processes": 3, "started": 1.0
}  # fmt: skip


@pytest.fixture
def worker(tmp_path):
    return Worker(None, tmp_path, {"m": "1"}, stamp=STAMP)


@pytest.mark.parametrize("name", IN_THE_KEY)
def test_a_setting_that_changes_a_result_changes_the_name_of_its_folder(worker, name):
    changed = replace(worker, **{name: IN_THE_KEY[name]})
    assert changed.model_place("m") != worker.model_place("m")
    if name != "fingerprints":  # the recipe names no model
        assert changed.point_place(POINT) != worker.point_place(POINT)


@pytest.mark.parametrize("name", NOT_IN_THE_KEY)
def test_a_setting_that_changes_no_result_keeps_the_folder(worker, name):
    changed = replace(worker, **{name: NOT_IN_THE_KEY[name]})
    assert changed.model_place("m") == worker.model_place("m")
    assert changed.point_place(POINT) == worker.point_place(POINT)


def test_the_items_of_a_merge_change_its_scores_and_no_answer(worker):
    """So a round of a race asks for what is new."""
    some, more = Items({"t": (0, 2)}), Items({"t": (0, 2, 3)})
    places = {worker.point_place(POINT, items) for items in (None, some, more)}
    assert len(places) == 3 and worker.point_place(POINT, Items({"t": (0, 2)})) in places
    assert {worker.point_key(POINT, some).items, worker.point_key(POINT).items} == {some.digest, None}


def test_limit_and_scoring_change_scores_and_no_answer(worker):
    """So a larger limit, another task and a corrected scorer use the stored answers."""
    other = replace(worker, limit=5, stamp=replace(STAMP, scoring={"score_code": "other"}))
    assert other.model_answers_key("m") == worker.model_answers_key("m")
    assert other.point_answers_key(POINT) == worker.point_answers_key(POINT)


@pytest.mark.parametrize(
    "stamp", [replace(STAMP, answers={"dtype": "float16"}), replace(STAMP, merges={"merge_code": "other"})]
)
def test_the_code_that_merges_and_the_dtype_change_the_answers_of_a_merge(worker, stamp):
    other = replace(worker, stamp=stamp)
    assert other.point_answers_key(POINT) != worker.point_answers_key(POINT)
    assert (other.model_answers_key("m") == worker.model_answers_key("m")) == (stamp.answers == STAMP.answers)


def test_every_setting_of_a_worker_is_in_its_keys_or_listed_as_irrelevant():
    settings = {field.name for field in fields(Worker) if field.init}
    assert settings == {*IN_THE_KEY, *NOT_IN_THE_KEY, "evaluator", "out"}


def test_a_worker_passes_nothing_else_to_what_measures_and_merges():
    """A new argument must be added to the key, or to the arguments that are covered or cannot matter."""
    covered = {
        "evaluator",
        "model",
        "name",
        "reference",
        "limit",
        "recipe",
        "seed",
        "trust_remote_code",
        "live_models",
        "items",
        "models",  # how many models are still to come decides whether steps are captured, not what they compute
    }
    called = [measurement.measure, LiveModels.load, live_merges.merge_once]
    called += [live_merges.Sweep.__init__, live_merges.Sweep.at]
    names = {name for function in called for name in inspect.signature(function).parameters}
    assert names - {"self"} <= covered


def test_the_seed_of_a_recipe_is_in_the_key(worker):
    other = replace(POINT, seed=2)
    assert worker.point_place(other) != worker.point_place(POINT)
    assert worker.point_answers_key(other) != worker.point_answers_key(POINT)


def test_a_key_keeps_parts_that_this_version_has_no_name_for():
    """A result of another version keeps the hash that its folder is named by."""
    content = {"model": "1", "limit": None, "code": "abc", "versions": {"torch": "2"}}
    key = Key.model_validate(content)
    assert key.as_json() == content and not key.is_merge
    assert key.digest != Key.model_validate({**content, "code": "abd"}).digest
    assert Key(merge=None).is_merge


def test_a_key_lists_the_versions_of_hosts_and_of_this_package():
    assert Key(versions={"torch": "2"}, package_version="0.1.0").all_versions == {
        "mergekit-finance": "0.1.0",
        "torch": "2",
    }
    assert Key(package_version="0.1.0").all_versions == {}


def test_timings_have_the_fields_of_lm_eval_and_only_measured_values():
    timings = Timings.model_validate({"evaluate": 1.5, "date": 7.0, "git_hash": None})
    assert timings.as_json() == {"evaluate": 1.5, "date": 7.0, "git_hash": None}
    assert timings.merge == 0


def test_a_worker_of_another_process_is_told_how_many_share_its_device(worker):
    other = replace(worker, evaluator=Evaluator(["t"])).unloaded("cuda:1", processes=6, on_device=3)
    assert (other.processes, other.evaluator.live_models.processes, other.evaluator.device) == (
        6,
        3,
        "cuda:1",
    )
