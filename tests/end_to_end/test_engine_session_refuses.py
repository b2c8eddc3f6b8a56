"""What a MergeSession refuses: broken files, wrong points, merges that overflow."""

from pathlib import Path
from typing import Any

import pytest
from helpers.merging import raw, recipe, run, split
from helpers.sessions import at, models, settings_of

from mergekit_finance.errors import ModelError, RecipeError
from mergekit_finance.merging.compare import OPERATORS
from mergekit_finance.merging.session import MergeSession

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("shards", [1, 3])
def test_a_truncated_file_is_named(tmp_path: Path, shards: int) -> None:
    folder = models(tmp_path / "m")
    if shards > 1:
        split(folder / "math", shards)
    file = sorted((folder / "math").glob("*.safetensors"))[-1]
    file.write_bytes(file.read_bytes()[:-100])
    settings = settings_of(folder, "cpt_ties", "mergekit")
    message = f"math': {file.name} is truncated or broken"
    with pytest.raises(ModelError, match=message):
        MergeSession.open(settings)
    with pytest.raises(ModelError, match=message):
        run(settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("method", OPERATORS)
def test_a_merge_that_overflows_is_named(method: str, tmp_path: Path) -> None:
    settings = settings_of(models(tmp_path / "m"), method, "paper")
    with (
        MergeSession.open(settings) as session,
        pytest.raises(ModelError, match="holds NaN or Inf. Lower lambda"),
    ):
        session.apply(weight=1e30, lambda_=1e30)
    with pytest.raises(ModelError, match="holds NaN or Inf. Lower lambda"):
        run(at(settings, {"weight": 1e30, "lambda_": 1e30}), tmp_path / "out")


MISTAKES = [
    ({"densty": 0.2}, "densty: cannot be swept for cpt_ties. Did you mean 'density'"),
    ({"semantics": "mergekit"}, "semantics: cannot be swept"),
    ({"density": 0}, r"density: 0 is outside \(0, 1\]"),
    ({"density": {"mth": 0.5}}, "density: 'mth' is not an expert of this recipe. Did you mean 'math'"),
    ({"lambda_": "big"}, "lambda: 'big' is not a number"),
    ({"density": 1e-9}, "keeps none of the"),
]


def test_a_wrong_point_is_named_and_changes_nothing(tmp_path: Path) -> None:
    folder = models(tmp_path / "m")
    with MergeSession.open(settings_of(folder, "cpt_ties", "paper")) as session:
        before = {n: raw(p.data) for n, p in session.model.named_parameters()}
        for point, message in MISTAKES:
            with pytest.raises(RecipeError, match=message):
                session.apply(**point)
        with pytest.raises(RecipeError, match="prepare takes density"):
            session.prepare(seed=[1])
        assert {n: raw(p.data) for n, p in session.model.named_parameters()} == before


def test_other_methods_are_refused(tmp_path: Path) -> None:
    folder = models(tmp_path / "m")
    with pytest.raises(RecipeError, match="merge_method ties: a session sweeps"):
        MergeSession.open(recipe(folder, "ties", ("finance",)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"device": "cuda:77"}, "device 'cuda:77' cannot be used"),
        ({"device": "cud"}, "device 'cud' cannot be used"),
        ({"device": []}, "name at least one"),
        ({"device": None}, "device 'None' cannot be used"),
        ({"device": "meta"}, "device 'meta' cannot be used"),
        ({"recipe": {}}, "this recipe cannot be opened: ValidationError"),
        ({"recipe": None}, "this recipe cannot be opened"),
    ],
)
def test_a_recipe_or_device_that_cannot_be_opened_is_reported_in_one_line(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    settings = change.pop("recipe", settings_of(models(tmp_path / "m"), "cpt_ties", "paper"))
    with pytest.raises(ModelError, match=message) as caught:
        MergeSession.open(settings, **change)
    assert "\n" not in str(caught.value)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = models(tmp_path / "m")
    split(folder / "math", 3)
    sorted((folder / "math").glob("*.safetensors"))[-1].unlink()
    settings = settings_of(folder, "cpt_ties", "mergekit")
    for merge in (MergeSession.open, lambda s: run(s, tmp_path / "out")):
        with pytest.raises(ModelError, match="math: a weights file is missing"):
            merge(settings)
    assert not (tmp_path / "out").exists()
