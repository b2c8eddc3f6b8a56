"""What licences want of a merge, and which files may leave the house."""

import json
from itertools import combinations
from pathlib import Path

import pytest
from click.testing import CliRunner

from mergekit_finance.cli import main
from mergekit_finance.errors import DataError
from mergekit_finance.files import is_folder, is_name, one_line, parse_json
from mergekit_finance.models import checks as models
from mergekit_finance.share import body, hub, parents
from mergekit_finance.share import card as cards
from mergekit_finance.share import manifest as files
from mergekit_finance.share.licenses import KNOWN, conflict, licence, of_merge
from mergekit_finance.share.parents import Parent, is_hub_id, obstacles


@pytest.mark.parametrize(
    ("written", "known"),
    [
        ("apache-2.0", "apache-2.0"), ("Apache-2.0", "apache-2.0"), ("Apache License 2.0", "apache-2.0"),
        ("MIT", "mit"), ("Llama 3", "llama3"), ("llama-3.1", "llama3.1"), ("CC-BY-NC-4.0", "cc-by-nc-4.0"),
        ("cc by nc 4.0", "cc-by-nc-4.0"), ("cc-by", None), (None, None), ("other", None), ("unknown", None), ("", None),
    ],
)  # fmt: skip
def test_licences_are_known_as_people_write_them(written: str | None, known: str | None) -> None:
    found = licence(written)
    assert (found.id == known) if known else (found.kind == "unknown" and not found.shareable)


def test_every_known_licence_but_cc0_has_duties_and_a_link() -> None:
    assert all(
        one.link.startswith("https://") and (one.duties or one.id == "cc0-1.0") for one in KNOWN.values()
    )
    assert {one.id for one in KNOWN.values() if not one.shareable} == {"cc-by-nd-4.0", "cc-by-nc-nd-4.0"}
    assert not licence("cc-by-nc-4.0").commercial


@pytest.mark.parametrize(
    ("of", "wanted"),
    [
        (["mit"], {"license": "mit"}),
        (["llama3", "llama3"], {"license": "llama3"}),
        (["mit", "cc0-1.0"], {"license": "mit"}),
        (["cc-by-4.0", "cc-by-nc-4.0"], {"license": "cc-by-nc-4.0"}),
        (["cc-by-sa-4.0", "apache-2.0"], {"license": "cc-by-sa-4.0"}),
        (["cc-by-nc-sa-4.0", "cc-by-nc-4.0"], {"license": "cc-by-nc-sa-4.0"}),
        (["cc-by-sa-4.0", "cc-by-4.0"], {"license": "cc-by-sa-4.0"}),
        ([], {"license": "unknown"}),
        (["apache-2.0", "mit"], {"license": "other", "license_name": "apache-2.0-and-mit", "license_link": "README.md#licences-and-duties"}),
        (["cc-by-4.0", "apache-2.0"], {"license": "other", "license_name": "apache-2.0-and-cc-by-4.0", "license_link": "README.md#licences-and-duties"}),
        (["apache-2.0", "llama3"], {"license": "other", "license_name": "apache-2.0-and-llama3", "license_link": "README.md#licences-and-duties"}),
        (["my-own", "yours"], {"license": "other", "license_name": "my-own-and-yours", "license_link": "README.md#licences-and-duties"}),
        (["llama3", "gemma"], {"license": "other", "license_name": "gemma-and-llama3", "license_link": "README.md#licences-and-duties"}),
        (["apache-2.0", "My Own!"], {"license": "other", "license_name": "apache-2.0-and-my-own", "license_link": "README.md#licences-and-duties"}),
    ],
)  # fmt: skip
def test_the_licence_of_a_merge_is_the_union(of: list[str], wanted: dict[str, str]) -> None:
    assert of_merge(map(licence, of)) == wanted


def test_a_licence_that_carries_all_others_names_each_of_their_duties() -> None:
    """No two known licences have the same duties, or each would give way to the other."""
    assert len({one.duties for one in KNOWN.values()}) == len(KNOWN)
    for one in KNOWN.values():
        for other in (x for x in KNOWN.values() if one.carries(x)):
            assert of_merge([one, other]) == {"license": one.id} and set(other.duties) < set(one.duties)


BASE = Parent("base", "a/b", "0", claims={"x": "apache-2.0"})
MATH = Parent("math", "a/c", "0", claims={"x": "apache-2.0"})
MIT = [Parent(name, "a/d", "0", claims={"x": "mit"}) for name in ("x", "y")]


@pytest.mark.parametrize(
    ("found", "there", "missing"),
    [
        ([BASE], [], ["Apache License 2.0 (base)"]),
        ([BASE], ["licences/base/NOTICE", "README.md"], ["Apache License 2.0 (base)"]),
        ([BASE, MATH], ["licences/math/COPYING"], []),  # one text for all
        (MIT, ["licences/x/LICENSE.txt"], ["MIT License (y)"]),  # it names its holders
        ([BASE, *MIT], ["licences/x/LICENCE"], ["Apache License 2.0 (base)", "MIT License (y)"]),
        ([BASE, *MIT], ["LICENSE"], []),
        ([Parent("x", "a/b", "0", claims={"x": "cc-by-4.0"})], [], []),  # a link will do
    ],
)  # fmt: skip
def test_which_licence_texts_weights_still_want(
    found: list[Parent], there: list[str], missing: list[str]
) -> None:
    assert parents.missing_texts(found, there) == missing


def test_share_alike_does_not_go_with_other_terms() -> None:
    assert conflict(map(licence, ["cc-by-sa-4.0", "apache-2.0"])) is None
    assert "cc-by-sa-4.0 wants the merge under itself" in str(
        conflict(map(licence, ["cc-by-sa-4.0", "llama3"]))
    )
    for fits in (["cc-by-nc-sa-4.0", "cc-by-nc-4.0"], ["cc-by-sa-4.0", "cc-by-4.0"]):
        assert conflict(map(licence, fits)) is None
    for apart in (["cc-by-sa-4.0", "cc-by-nc-4.0"], ["cc-by-nc-sa-4.0", "cc-by-sa-4.0"]):
        assert conflict(map(licence, apart))
    pair = [
        Parent("base", "a/b", "0", claims={"x": "cc-by-sa-4.0"}),
        Parent("x", "a/c", "0", claims={"x": "llama3"}),
    ]
    assert len(obstacles(pair)) == 1


def test_no_one_licence_is_named_where_none_satisfies_all() -> None:
    for found in combinations(KNOWN.values(), 3):
        assert not conflict(found) or of_merge(found)["license"] == "other", found


def test_a_parent_that_nobody_names_a_licence_for_stops_sharing() -> None:
    (line,) = obstacles([Parent("finance", "./finance", "0")])
    assert line == "the licence of finance (./finance) is unknown"


def test_a_licence_comes_from_the_study_the_models_card_and_our_families(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: my-own\n---\n")
    assert parents._on_card(str(tmp_path)) == ["my-own"]
    assert parents._in_families("MathGenie/MathCoder2-Llama-3-8B") == "apache-2.0"
    assert parents._in_families("gair-prox/Llama-2-7B-ProXMath") is None
    assert parents._in_families(None) is None


@pytest.mark.parametrize(
    ("reference", "hub"),
    [("a/b", True), ("a/b@main", True), ("./a", False), ("./a/b", False), ("/a/b", False), ("a", False), ("~/a", False), ("a/b/c", False)],
)  # fmt: skip
def test_what_is_an_id_of_the_hub(reference: str, hub: bool) -> None:
    assert is_hub_id(reference) is hub


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("README.md", ""), ("LICENSE.txt", ""), ("NOTICE", ""), ("licences/base/LICENSE", ""), ("figures/a.png", ""),
        ("model-00001-of-00002.safetensors", ""), ("tokenizer_config.json", ""), (".README.md", "hidden"),
        ("licences/.git/LICENSE", "hidden"), ("README.md.bak", "not a"), ("sub/README.md", "not a"),
        ("figures/deep/a.png", "not a"), ("results/other.json", "not a"), ("licences/base/deep/LICENSE", "not a"),
        ("report.html", "not a"), ("LICENSE-KEY.pem", "not a"), ("model-private.safetensors", "not a"),
    ],
)  # fmt: skip
def test_which_files_go_though_the_manifest_names_all(tmp_path: Path, name: str, reason: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    found = files._reason(path, name, True, True, {name: files.sha256(path)})
    assert found.startswith(reason) if reason else found == ""


@pytest.mark.parametrize(
    "name",
    ["figures/a.png", "licences/base/LICENSE", "results/samples_a.jsonl", "model.safetensors", "config.json"],
)
def test_what_card_did_not_write_so_stays(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    assert files._reason(path, name, True, True, {}) == "not a file of the card"
    assert files._reason(path, name, True, True, {name: "0"}) == "changed since the card was made"


def place(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(parents, "place", lambda reference: folder)
    return [path.name for path in parents.texts(Parent("x", "a/b", "0"))]


def test_licence_texts_behind_a_link_to_elsewhere_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "LICENSE.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "LICENSE-SERVER-PRIVATE-KEY.pem").write_text("secret")
    (folder / "NOTICE").write_text("notice")
    (folder / "LICENSE").symlink_to("NOTICE")
    assert place(folder, monkeypatch) == ["LICENSE", "NOTICE"]


def test_in_the_hubs_cache_links_lead_into_its_blobs_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models--a--b" / "snapshots" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    (tmp_path / "models--a--b" / "blobs" / "0").write_text("text")
    (tmp_path / "secret").write_text("secret")
    (folder / "LICENSE").symlink_to("../../blobs/0")
    (folder / "USE_POLICY.md").symlink_to(tmp_path / "secret")
    assert place(folder, monkeypatch) == ["LICENSE"]


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("---\nlicense: [apache-2.0, cc-by-nd-4.0]\n---\n", ["apache-2.0", "cc-by-nd-4.0"]),
        ("---\nlicense: [\n---\n", ["unknown"]), ("---\nlicense: cc-by-nd-4.0\n# no end", ["unknown"]),
        ("---\nlicense: {a: b}\n---\n", ["unknown"]), ("---\n- a\n---\n", ["unknown"]),
        ("---\nlicense: other\nlicense_name: [a]\n---\n", ["unknown"]), ("---\ntags: [a]\n---\n", []),
        ("# A model\n\nlicense: mine", []), ("---\n\nlines\n", []), ("", []),
    ],
)  # fmt: skip
def test_what_a_models_card_claims_is_never_dropped(tmp_path: Path, text: str, claims: list[str]) -> None:
    (tmp_path / "README.md").write_text(text)
    assert parents._on_card(str(tmp_path)) == claims


def test_licence_texts_are_no_part_of_a_models_fingerprint(tmp_path: Path) -> None:
    """Or whoever adds the text that a licence wants would lose the study of the model."""
    (tmp_path / "config.json").write_text("{}")
    before = models.folder_fingerprint(tmp_path)
    for name in ("LICENSE", "Licence.txt", "COPYING", "NOTICE", "USE_POLICY.html", "LICENSE-APACHE-2.0"):
        (tmp_path / name).write_text("the text")
        assert models.folder_fingerprint(tmp_path) == before
    (tmp_path / "license_head.safetensors").write_text("weights")
    assert models.folder_fingerprint(tmp_path) != before


def test_a_manifest_takes_nothing_away_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    (tmp_path / "mine").write_text("mine")
    for name in ("../mine", str(tmp_path / "mine")):
        cards._remove(tmp_path / "card", name, files.sha256(tmp_path / "mine"))
    assert (tmp_path / "mine").exists()


def test_local_paths_are_told_and_the_hubs_names_are_none(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    known = [{"name": "a", "reference": "me/a", "fingerprint": "0"}]
    (folder / files.PARENTS).write_text(json.dumps({"parents": known}))
    assert files.told_paths(folder) == ""
    known.append({"name": "b", "reference": "/home/me/b", "fingerprint": "0"})
    (folder / files.PARENTS).write_text(json.dumps({"parents": known}))
    assert "1 local path " in files.told_paths(folder) and "/home/me/b" in files.told_paths(folder)


DEEP = '{"a": ' * 3000 + "1" + "}" * 3000


@pytest.mark.parametrize("text", [DEEP, "[" * 200_000, "NaN"])
def test_json_that_is_a_trap_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("summary.json", '{"tasks": 5}'), ("summary.json", '{"tasks": [1]}'), ("summary.json", '{"tasks": {"a": 1}}'),
        ("summary.json", DEEP), ("summary.json", '{"tasks": {"a": {"x": NaN}}}'), ("files.json", "{}"),
        ("files.json", '{"files": {"a": 1}}'), ("parents.json", DEEP),
        ("parents.json", '{"parents": [{"name": "a", "reference": "b", "fingerprint": "0", "claims": {"x": 1}}]}'),
        ("parents.json", '{"parents": [{"name": "a", "reference": "b", "fingerprint": "0", "claims": ["mit"]}]}'),
        ("parents.json", '{"parents": [{"name": "a", "reference": 1, "fingerprint": "0"}]}'),
    ],
)  # fmt: skip
def test_a_cards_file_of_another_kind_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / "results" / name).write_text(text)
    with pytest.raises(DataError, match="make the card again") as caught:
        hub.Share(folder, "me/x")(dry_run=True)
    assert "\n" not in caught.value.message


def card(folder: Path, **tasks: object) -> Path:
    (folder / "results").mkdir(parents=True)
    (folder / "README.md").write_text("x")
    (folder / files.PARENTS).write_text('{"parents": []}')
    summary = {"tasks": {name: {"text_may_be_shared": value} for name, value in tasks.items()}}
    (folder / "results" / "summary.json").write_text(json.dumps(summary))
    (folder / "results" / "samples_a.jsonl").write_text("text")
    (folder / files.MANIFEST).write_text(json.dumps({"files": files.written(folder)}))
    return folder


@pytest.mark.parametrize(
    ("tasks", "goes"),
    [
        ({"a": True}, True),
        ({"a": True, "b": False}, False),
        ({"a": "yes"}, False),
        ({"a": None}, False),
        ({}, False),
    ],
)
def test_samples_go_only_where_all_tasks_say_true(
    tmp_path: Path, tasks: dict[str, object], goes: bool
) -> None:
    found = files.plan(card(tmp_path / "card", **tasks), weights=True)
    assert ("results/samples_a.jsonl" in found.send) is goes


def test_a_spoilt_card_is_one_line(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    for text in ("{", "[]", '{"parents": 1}', '{"parents": [{"x": 1}]}'):
        (folder / files.PARENTS).write_text(text)
        with pytest.raises(DataError, match="make the card again"):
            files.stored_parents(folder)


@pytest.mark.parametrize(
    ("items", "said"),
    [([6, 6], "6 items"), ([1], "1 item"), ([1, 3], "1 to 3 items"), ([0, 1], "0 to 1 item")],
)
def test_equal_ends_are_one_number(items: list[int], said: str) -> None:
    assert body._ranged(items) == said


def test_one_task_and_one_merge_are_singular() -> None:
    assert body._too_few(0, 3) == ""
    assert "; the one task has fewer" in body._too_few(1, 1)
    assert "; 1 of 3 tasks has fewer" in body._too_few(1, 3)
    assert "; 2 of 3 tasks have fewer" in body._too_few(2, 3)
    assert body._of_how_many(1) == "the only merge" and body._of_how_many(2) == "one of the 2 merges"


def test_versions_of_a_key_are_no_command() -> None:
    versions = {
        "torch": "2.6.0+cu124",
        "mergekit": "1!2.0-rc1",
        "lm-eval": "1; rm -rf ~",
        "datasets": "1\n```",
        "tokenizers": "$(x)",
        "--d": "1",
        "evil": "1.0",
    }
    assert list(body._packages(versions)) == [
        "torch==2.6.0", "mergekit==1!2.0-rc1", "lm-eval", "datasets", "tokenizers",
    ]  # fmt: skip


@pytest.mark.parametrize("inside", ["points", "points/x", "selected/x", ".locks", "figures/more/card"])
def test_no_card_among_the_studys_own_files(tmp_path: Path, inside: str) -> None:
    with pytest.raises(DataError, match="a folder of the study's own"):
        cards._refuse(tmp_path / "out" / inside, tmp_path / "out")
    cards._refuse(tmp_path / "out" / "card", tmp_path / "out")


@pytest.mark.parametrize("command", ["card", "share"])
def test_help_has_examples(command: str) -> None:
    assert "Examples:" in CliRunner().invoke(main, [command, "--help"]).output


@pytest.mark.parametrize("text", ["a\nb", "a\x1bb", "<b>", "a`b", "", "a\u2028b", 3])
def test_what_is_no_name(text: object) -> None:
    assert not is_name(text) and is_name("日本語 a-b_0.5")


@pytest.mark.parametrize("text", ["../x", ".", "..", "", "a/b", "a\\b", None])
def test_what_is_no_folder(text: object) -> None:
    assert not is_folder(text) and is_folder("stage1-a-0.5")


def test_a_parents_own_words_are_one_line_without_markup(tmp_path: Path) -> None:
    assert one_line("my\nown`[x](y)<img>|\x00") == "my own'(x)(y)&lt;img&gt;/"
    assert len(one_line("x" * 1000)) == 100


@pytest.mark.parametrize("text", ['{"parents": []}', "{}"])
def test_a_card_without_parents_is_refused(tmp_path: Path, text: str) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / files.PARENTS).write_text(text)
    with pytest.raises(DataError, match="make the card again"):
        hub.Share(folder, "me/x")(dry_run=True)


@pytest.mark.parametrize(
    ("name", "good"),
    [("Llama-3-x", True), ("Llama 3 x", True), ("Llama-38-x", False), ("llama-3-x", False), ("Llama3-x", False), ("Llama-3", False)],
)  # fmt: skip
def test_a_name_of_llama_3_is_to_the_letter(name: str, good: bool) -> None:
    assert hub._begins(name, "Llama-3") is good


def test_samples_stay_where_the_studys_tasks_said_no(tmp_path: Path) -> None:
    folder = card(tmp_path / "card", a=True)
    (folder / files.PARENTS).write_text('{"parents": [], "text_may_be_shared": false}')
    assert "results/samples_a.jsonl" in files.plan(folder, weights=True).left
