"""Which files of a card's folder are sent, and what happens if its files are damaged."""

import json
from pathlib import Path

import pytest

from mergekit_finance.errors import DataError
from mergekit_finance.files import sha256_file
from mergekit_finance.share import card_files, hub, manifest
from mergekit_finance.share.source_models import missing_texts


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("README.md", ""), ("LICENSE.txt", ""), ("NOTICE", ""), ("licenses/base/LICENSE", ""), ("figures/a.png", ""),
        ("model-00001-of-00002.safetensors", ""), ("tokenizer_config.json", ""), (".README.md", "hidden"),
        ("licenses/.git/LICENSE", "hidden"), ("README.md.bak", "not a"), ("sub/README.md", "not a"),
        ("figures/deep/a.png", "not a"), ("results/other.json", "not a"), ("licenses/base/deep/LICENSE", "not a"),
        ("report.html", "not a"), ("LICENSE-KEY.pem", "not a"), ("model-private.safetensors", "not a"),
    ],
)  # fmt: skip
def test_which_files_are_sent_although_the_manifest_lists_all(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    left_out_because = manifest.reason_to_leave_out(path, name, True, True, {name: sha256_file(path)})
    assert left_out_because.startswith(reason) if reason else left_out_because == ""


@pytest.mark.parametrize(
    "name",
    ["figures/a.png", "licenses/base/LICENSE", "results/samples_a.jsonl", "model.safetensors", "config.json"],
)
def test_files_that_card_did_not_write_are_not_sent(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert manifest.reason_to_leave_out(path, name, True, True, {}) == "not a file of the card"
    assert (
        manifest.reason_to_leave_out(path, name, True, True, {name: "0"}) == "changed since the card was made"
    )


def card(folder: Path, **tasks: object) -> Path:
    (folder / "results").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nx")
    (folder / card_files.MODELS).write_text('{"models": []}')
    summary = {"tasks": {name: {"text_may_be_shared": value} for name, value in tasks.items()}}
    (folder / "results" / "summary.json").write_text(json.dumps(summary))
    (folder / "results" / "samples_a.jsonl").write_text("text")
    (folder / card_files.MANIFEST).write_text(json.dumps({"files": manifest.hashes_of(folder)}))
    return folder


def test_weights_that_would_not_be_sent_are_named(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    names = ("model.safetensors", "config.json")
    for name in names:
        (folder / name).write_text("x")
    (folder / card_files.MANIFEST).write_text(
        json.dumps({"files": dict.fromkeys((*names, "README.md"), "0")})
    )
    sent = {"config.json": folder / "config.json", "README.md": folder / "README.md"}
    assert manifest.UploadPlan(folder, sent, {}).missing_weights == ["model.safetensors"]


def test_local_paths_are_reported_and_hub_ids_are_not(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    models = [{"name": "a", "reference": "me/a", "fingerprint": "0"}]
    (folder / card_files.MODELS).write_text(json.dumps({"models": models}))
    assert manifest.local_paths_note(folder) == ""
    models.append({"name": "b", "reference": "/home/me/b", "fingerprint": "0"})
    (folder / card_files.MODELS).write_text(json.dumps({"models": models}))
    assert "1 local path " in manifest.local_paths_note(folder) and "/home/me/b" in manifest.local_paths_note(
        folder
    )


DEEP = '{"a": ' * 3000 + "1" + "}" * 3000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("summary.json", '{"tasks": 5}'), ("summary.json", '{"tasks": [1]}'), ("summary.json", '{"tasks": {"a": 1}}'),
        ("summary.json", DEEP), ("summary.json", '{"tasks": {"a": {"x": NaN}}}'), ("files.json", "{}"),
        ("files.json", '{"files": {"a": 1}}'), ("models.json", DEEP),
        ("models.json", '{"models": [{"name": "a", "reference": "b", "fingerprint": "0", "claims": {"x": 1}}]}'),
        ("models.json", '{"models": [{"name": "a", "reference": "b", "fingerprint": "0", "claims": ["mit"]}]}'),
        ("models.json", '{"models": [{"name": "a", "reference": 1, "fingerprint": "0"}]}'),
    ],
)  # fmt: skip
def test_a_malformed_file_of_a_card_is_a_one_line_error(tmp_path: Path, name: str, text: str) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / "results" / name).write_text(text)
    with pytest.raises(DataError, match="Make the card again") as caught:
        hub.Share(folder, "me/x").send(dry_run=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tasks", "is_sent"),
    [
        ({"a": True}, True),
        ({"a": True, "b": False}, False),
        ({"a": "yes"}, False),
        ({"a": None}, False),
        ({}, False),
    ],
)
def test_samples_are_sent_only_if_every_task_allows_it(
    tmp_path: Path, tasks: dict[str, object], is_sent: bool
) -> None:
    plan = manifest.plan_upload(card(tmp_path / "card", **tasks), weights=True)
    assert ("results/samples_a.jsonl" in plan.send) is is_sent


def test_malformed_source_models_are_a_one_line_error(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    for text in ("{", "[]", '{"models": 1}', '{"models": [{"x": 1}]}'):
        (folder / card_files.MODELS).write_text(text)
        with pytest.raises(DataError, match="Make the card again"):
            card_files.stored_source_models(folder)


@pytest.mark.parametrize("text", ['{"models": []}', "{}"])
def test_a_card_without_source_models_is_refused(tmp_path: Path, text: str) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / card_files.MODELS).write_text(text)
    with pytest.raises(DataError, match="Make the card again"):
        hub.Share(folder, "me/x").send(dry_run=True)


def test_samples_are_not_sent_if_tasks_json_forbade_it(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / card_files.MODELS).write_text('{"models": [], "text_may_be_shared": false}')
    assert "results/samples_a.jsonl" in manifest.plan_upload(folder, weights=True).left_out


def test_an_older_card_can_still_be_shared(tmp_path: Path) -> None:
    """Before, the models were in results/parents.json and license texts in licences/."""
    folder = card(tmp_path / "card", a=True)
    source_model = {"name": "a", "reference": "me/a", "fingerprint": "0", "claims": {"x": "mit"}}
    (folder / card_files.MODELS).unlink()
    (folder / "results" / "parents.json").write_text(json.dumps({"parents": [source_model]}))
    (folder / "licences" / "a").mkdir(parents=True)
    (folder / "licences" / "a" / "LICENSE").write_text("the text")
    (folder / card_files.MANIFEST).unlink()
    (folder / card_files.MANIFEST).write_text(json.dumps({"files": manifest.hashes_of(folder)}))
    plan = manifest.plan_upload(folder, weights=False)
    assert {"results/parents.json", "licences/a/LICENSE"} <= set(plan.send)
    assert [model.name for model in card_files.stored_source_models(folder)] == ["a"]
    assert missing_texts(card_files.stored_source_models(folder), plan.send) == []


@pytest.mark.parametrize(
    "text", [b"", b"x", b"---\nlicense: mit\n", b"---\n- a\n---\n", b"---\na: [\n---\n", b"\xff\xfe\x00"]
)
def test_a_card_without_metadata_is_refused_before_anything_is_sent(tmp_path: Path, text: bytes) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / "README.md").write_bytes(text)
    with pytest.raises(DataError, match="README.md: does not begin with the metadata of a card"):
        manifest.plan_upload(folder, weights=False)


def test_a_result_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / "results" / "scores.json").write_text("{}")
    (folder / card_files.MANIFEST).write_text(json.dumps({"files": manifest.hashes_of(folder)}))
    (folder / "results" / "scores.json").unlink()
    with pytest.raises(DataError, match="results/scores.json: is missing. Make the card again."):
        manifest.plan_upload(folder, weights=False)


def test_scores_that_were_changed_are_not_sent(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / "results" / "scores.json").write_text("{}")
    (folder / card_files.MANIFEST).write_text(json.dumps({"files": manifest.hashes_of(folder)}))
    assert "results/scores.json" in manifest.plan_upload(folder, weights=False).send
    (folder / "results" / "scores.json").write_text("[]")
    with pytest.raises(DataError, match="scores.json: was changed since the card was made. Make the card"):
        manifest.plan_upload(folder, weights=False)
