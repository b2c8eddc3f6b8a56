"""The models that a point merges: licenses, license texts, and names on the Hub."""

from pathlib import Path

import pytest
from helpers.fuzz_guard import cpu_limit

from mergekit_finance.models import card_licenses
from mergekit_finance.models import fingerprint as models
from mergekit_finance.models.card_licenses import license_in_families, licenses_on_card
from mergekit_finance.share import source_models
from mergekit_finance.share.source_models import SourceModel, is_hub_id, missing_texts, obstacles
from mergekit_finance.study import config

BASE = SourceModel("base", "a/b", "0", claims={"x": "apache-2.0"})

MATH = SourceModel("math", "a/c", "0", claims={"x": "apache-2.0"})

MIT = [SourceModel(name, "a/d", "0", claims={"x": "mit"}) for name in ("x", "y")]


@pytest.mark.parametrize(
    ("source_models", "there", "missing"),
    [
        ([BASE], [], ["Apache License 2.0 (base)"]),
        ([BASE], ["licenses/base/NOTICE", "README.md"], ["Apache License 2.0 (base)"]),
        ([BASE, MATH], ["licenses/math/COPYING"], []),  # one text for all
        (MIT, ["licenses/x/LICENSE.txt"], ["MIT License (y)"]),  # each MIT text names other holders
        ([BASE, *MIT], ["licenses/x/LICENCE"], ["Apache License 2.0 (base)", "MIT License (y)"]),
        ([BASE, *MIT], ["LICENSE"], []),
        ([SourceModel("x", "a/b", "0", claims={"x": "cc-by-4.0"})], [], []),  # a link is enough
    ],
)  # fmt: skip
def test_license_texts_that_weights_lack(
    source_models: list[SourceModel], there: list[str], missing: list[str]
) -> None:
    assert missing_texts(source_models, there) == missing


def test_a_model_without_a_license_stops_sharing() -> None:
    (line,) = obstacles([SourceModel("finance", "./finance", "0")])
    assert line == "the license of finance (./finance) is unknown"


def test_licenses_come_from_model_cards_and_families(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: other\nlicense_name: my-own\n---\n")
    assert licenses_on_card(tmp_path) == ["my-own"]
    assert license_in_families("MathGenie/MathCoder2-Llama-3-8B") == "apache-2.0"
    assert license_in_families("gair-prox/Llama-2-7B-ProXMath") is None
    assert license_in_families(None) is None


@pytest.mark.parametrize(
    ("reference", "hub"),
    [("a/b", True), ("a/b@main", True), ("./a", False), ("./a/b", False), ("/a/b", False), ("a", False), ("~/a", False), ("a/b/c", False)],
)  # fmt: skip
def test_hub_ids_and_local_paths(reference: str, hub: bool) -> None:
    assert is_hub_id(reference) is hub


def license_file_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(source_models, "folder_on_disk", lambda reference: folder)
    return [path.name for path in source_models.license_files(SourceModel("x", "a/b", "0"))]


def test_license_texts_behind_links_to_other_folders_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "LICENSE.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "LICENSE-SERVER-PRIVATE-KEY.pem").write_text("secret")
    (folder / "NOTICE").write_text("notice")
    (folder / "LICENSE").symlink_to("NOTICE")
    assert license_file_names(folder, monkeypatch) == ["LICENSE", "NOTICE"]


def test_in_the_hub_cache_only_links_into_its_blobs_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models--a--b" / "snapshots" / "1"
    folder.mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    (tmp_path / "models--a--b" / "blobs" / "0").write_text("text")
    (tmp_path / "secret").write_text("secret")
    (folder / "LICENSE").symlink_to("../../blobs/0")
    (folder / "USE_POLICY.md").symlink_to(tmp_path / "secret")
    assert license_file_names(folder, monkeypatch) == ["LICENSE"]


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
def test_every_license_on_a_model_card_counts(tmp_path: Path, text: str, claims: list[str]) -> None:
    (tmp_path / "README.md").write_text(text)
    assert licenses_on_card(tmp_path) == claims


def test_several_licenses_on_a_card_are_numbered_from_the_second(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: [mit, apache-2.0]\n---\n")
    content = {
        "base": str(tmp_path),
        "base_license": "mit",
        "experts": {"math": {"model": "a/b", "skills": "math"}},
        "operators": {"ties": {"density": [0.5]}},
        "stages": [1],
    }
    study = config.parse_study(content, "study.yml")
    base = source_models._source_model(study, "base", study.base, "", None)
    assert base.claims == {"study.yml": "mit", "its card": "mit", "its card (2)": "apache-2.0"}


NESTED_ALIASES = "\n".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        f"---\nlicense: mit\na: &a [x]\n{NESTED_ALIASES}\n---\n",  # 43 million values after aliases are expanded
        f"---\nlicense: mit\na: {'[' * 5000}{']' * 5000}\n---\n",
        "---\nlicense: mit\na: !!python/name:os.system\n---\n",
    ],
)
def test_front_matter_of_others_is_read_within_bounds(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert licenses_on_card(tmp_path) == ["unknown"]


def test_many_empty_lines_are_read_in_linear_time(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\n" + "\n" * 100_000 + "x")
    with cpu_limit(5):
        assert licenses_on_card(tmp_path) == []


def test_a_model_card_that_is_too_large_has_an_unknown_license(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n")
    assert licenses_on_card(tmp_path) == ["mit"]
    monkeypatch.setattr(card_licenses, "LARGEST_CARD", 10)
    assert licenses_on_card(tmp_path) == ["unknown"]


def test_license_texts_do_not_change_a_fingerprint(tmp_path: Path) -> None:
    """Otherwise a study would be repeated after somebody adds a license text to a model."""
    (tmp_path / "config.json").write_text("{}")
    before = models.folder_fingerprint(tmp_path)
    for name in ("LICENSE", "Licence.txt", "COPYING", "NOTICE", "USE_POLICY.html", "LICENSE-APACHE-2.0"):
        (tmp_path / name).write_text("the text")
        assert models.folder_fingerprint(tmp_path) == before
    (tmp_path / "license_head.safetensors").write_text("weights")
    assert models.folder_fingerprint(tmp_path) != before
