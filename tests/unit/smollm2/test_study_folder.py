"""The results of the experts `a` as a study folder, of which the report page in docs/ is made."""

import json
import lzma

import pytest
from helpers.smollm2_scores import similarity, study
from helpers.smollm2_study import FOLDER, corpora, data, findings, study_folder

from mergekit_finance import load_results

EXPERTS = [f"{domain}_a" for domain in corpora.DOMAINS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The study folder of random results, with those of the experts b, too."""
    root, scores = tmp_path_factory.mktemp("study_folder"), study(items=8, kinds="ab")
    results = root / "results"
    results.mkdir()
    data.write(scores, results / data.SCORES)
    names = [name for name in scores.models if name.endswith(("_a", "_b")) and "-" not in name]
    measured = json.dumps(similarity(names).as_json()).encode()
    (results / findings.SIMILARITY).write_bytes(lzma.compress(measured))
    (results / "conversion.json").write_text(json.dumps({"sha256": "0" * 64}))
    (results / "training.json").write_text(json.dumps([{"name": n, "sha256": "1" * 64} for n in names]))
    with pytest.MonkeyPatch.context() as patch:  # statistics of all merges take long
        patch.setitem(study_folder.GRID["task_arithmetic"], "lambda", [0.4, 1.0])
        patch.setitem(study_folder.GRID["dare_ties"], "seeds", [0])
        study_folder.main([str(results), str(root / "out")])
    return root


def test_a_reader_of_studies_finds_the_scores_of_the_experts_a_and_their_merges(folder):
    scores, results = data.read(folder / "results" / data.SCORES), load_results(folder / "out")
    assert results.experts == sorted(EXPERTS)
    assert len(results.points) == 7 * (
        2 + 1 + 1
    )  # of each kind: two λ, one setting of TIES, one of DARE-TIES
    assert all(name in scores.models and "_b" not in name for name in results.points)
    for name in ("base", "finance_a", next(iter(results.points))):
        for task, rows in results.columns(name).items():
            assert rows.score == scores.columns[task][name].score
    assert set(results.summary.combinations) == {
        "finance_a", "japanese_a", "math_a", "finance_a+math_a", "finance_a+japanese_a", "math_a+japanese_a",
        "finance_a+math_a+japanese_a",
    }  # fmt: skip


def test_the_similarity_is_that_of_these_models_only(folder):
    stored = json.loads(lzma.decompress((folder / "results" / findings.SIMILARITY).read_bytes()))
    measured = load_results(folder / "out").similarity
    place = {"base": "./smollm2-135m/base"} | {n: f"./smollm2-135m/experts/{n}" for n in EXPERTS}
    assert measured.base == place["base"] and set(measured.models) == {place[name] for name in EXPERTS}
    distances = {(p["a"], p["b"]): p["l2"] for p in stored["total"]["pairs"]}
    kept = {(place[a], place[b]): l2 for (a, b), l2 in distances.items() if {a, b} <= set(place)}
    assert {(pair.a, pair.b): pair.l2 for pair in measured.total.pairs} == kept and len(kept) == 6


def test_the_published_page_names_the_models_of_the_stored_results():
    page = (FOLDER.parents[1] / "docs" / "smollm2-report.html").read_text(encoding="utf-8")
    training = json.loads((FOLDER / "results" / "training.json").read_text(encoding="utf-8"))
    hashes = [one["sha256"][:16] for one in training if one["name"] in EXPERTS]
    assert len(hashes) == 3 and all(one in page for one in hashes)
