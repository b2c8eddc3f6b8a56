"""`mergekit-finance share` against a stand-in for the Hub: exactly which files and bytes arrive, and when none do."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.hub_server import Hub, HubServer
from helpers.share import PAIR, changed, licensed, shared_study

from mergekit_finance.share.card import make

CARD = {
    "README.md", "mergekit_config.yml", "study.yml", "results/summary.json", "results/scores.json",
    "results/key.json", "results/models.json", "results/files.json", "figures/2-gain-and-og.png", "figures/4-hyperparameters.png",
}  # fmt: skip
PRIVATE = (
    "licenses/base/.env", "licenses/x/id_rsa", "figures/customers.png", "figures/.secret.png",
    "LICENSE-SERVER-PRIVATE-KEY.pem", "model-private.safetensors", "tokenizer.secret.json",
)  # fmt: skip
WEIGHTS = {
    "model.safetensors",
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_study(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def finished_card(out: Path) -> Path:
    make(out, out.parent / "card", PAIR, weights=True)
    return out.parent / "card"


@pytest.fixture
def card(finished_card: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_card, tmp_path / "card")


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as hub_server:
        yield hub_server


@pytest.fixture
def share(mkf, tmp_path: Path, server: HubServer):
    def call(folder: Path, *args: str, repo: str = "me/merge", **env: str):
        settings = {
            "HF_ENDPOINT": server.site.url, "HF_TOKEN": "hf_right", "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        return mkf("share", folder, "--repo", repo, *args, env={**settings, **env})

    return call


def refused(done, hub: Hub, *texts: str) -> None:
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert all(text in line for text in texts), line
    assert not hub.committed


def test_without_weights_exactly_card_recipe_and_results_arrive(share, card: Path, server: HubServer) -> None:
    done = share(card)
    assert done.returncode == 0, done.stderr
    assert server.hub.committed == {name: (card / name).read_bytes() for name in CARD}
    assert server.hub.repos["me/merge"].get("visibility") in (None, "public") and not server.hub.lfs
    assert f"Shared: {server.site.url}/me/merge" in done.stdout and len(server.hub.summaries) == 1


def test_with_weights_they_arrive_by_lfs_byte_for_byte(share, card: Path, server: HubServer) -> None:
    (card / "LICENSE").write_text("the text of Apache License 2.0")
    done = share(card, "--weights", "--private")
    assert done.returncode == 0, done.stderr
    sent = CARD | WEIGHTS | {"LICENSE"}
    assert server.hub.committed == {name: (card / name).read_bytes() for name in sent}
    assert server.hub.lfs == {"model.safetensors"}
    created = server.hub.repos["me/merge"]
    assert created.get("visibility") == "private" or created["private"] is True  # before huggingface_hub 2


def test_weights_under_apache_require_its_text(share, card: Path, server: HubServer) -> None:
    message = "the text of Apache License 2.0 (base, finance, math) must accompany the weights"
    refused(share(card, "--weights"), server.hub, message, "DIR/LICENSE")
    assert not server.hub.requests
    done = share(card)
    assert done.returncode == 0 and f"Before its weights are shared: {message}" in done.stdout
    (card / "LICENSE").write_text("the text of Apache License 2.0")
    assert "Before its weights" not in share(card, "--dry-run").stdout


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_changed_weights_are_not_sent(share, card: Path, server: HubServer, name: str) -> None:
    (card / "LICENSE").write_text("the text of Apache License 2.0")
    (card / name).write_bytes(b"other weights")
    refused(share(card, "--weights"), server.hub, f"{name} is changed since the card was made")
    assert not server.hub.requests
    done = share(card)
    assert done.returncode == 0, done.stderr
    assert set(server.hub.committed) == CARD | {"LICENSE"}


def test_shards_of_another_model_are_not_sent(share, card: Path, server: HubServer) -> None:
    (card / "LICENSE").write_text("the text of Apache License 2.0")
    (card / "model-00001-of-00009.safetensors").write_bytes(b"other weights")
    assert share(card, "--weights").returncode == 0
    assert set(server.hub.committed) == CARD | WEIGHTS | {"LICENSE"}


@pytest.mark.parametrize("name", ["summary.json", "models.json", "files.json"])
def test_pipes_and_links_in_a_card_are_a_one_line_error(
    share, card: Path, server: HubServer, tmp_path: Path, name: str
) -> None:
    moved = shutil.move(card / "results", tmp_path / "results")
    (card / "results").symlink_to(moved)
    refused(share(card), server.hub, "symbolic link, which is not followed")
    (card / "results").unlink()
    shutil.copytree(moved, card / "results")
    (card / "results" / name).unlink()
    os.mkfifo(card / "results" / name)
    refused(share(card), server.hub, "no card here" if name == "files.json" else "not a regular file")


def test_a_dry_run_lists_every_file_and_sends_no_request(share, card: Path, server: HubServer) -> None:
    (card / ".env").write_text("SECRET=1")
    done = share(card, "--dry-run", HF_TOKEN="")
    assert done.returncode == 0, done.stderr
    sent, left_out = done.stdout.split("Left out:")
    listed = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in sent.splitlines()[1:-1]}
    assert "The files contain 3 local paths (references of models, for example " in left_out
    assert listed == {name: (card / name).stat().st_size for name in CARD}
    assert all(name in left_out for name in (*WEIGHTS, ".env")) and "nothing was sent" in left_out
    assert not server.hub.requests


def test_other_files_links_and_samples_are_not_sent(
    share, card: Path, server: HubServer, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("secret")
    for name in (
        "notes.txt",
        ".git-credentials",
        "results/more.json",
        "figures/a.html",
        "results/samples_x.jsonl",
    ):
        (card / name).parent.mkdir(exist_ok=True)
        (card / name).write_text("secret")
    for name in PRIVATE:
        (card / name).parent.mkdir(parents=True, exist_ok=True)
        (card / name).write_text("secret")
    (card / "figures" / "2-gain-and-og.png").write_text("another picture")
    (card / "LICENSE").symlink_to(tmp_path / "secret")
    (card / "LICENSE.txt").write_text("the text of Apache License 2.0")
    (card / "more").symlink_to(tmp_path)
    summary = json.loads((card / "results" / "summary.json").read_text())
    summary["tasks"]["finance_bench_fpb"]["text_may_be_shared"] = False
    (card / "results" / "summary.json").write_text(json.dumps(summary))
    assert share(card, "--weights").returncode == 0
    assert set(server.hub.committed) == (CARD | WEIGHTS | {"LICENSE.txt"}) - {"figures/2-gain-and-og.png"}


def test_samples_that_card_did_not_write_are_not_sent(share, card: Path, server: HubServer) -> None:
    (card / "results" / "samples_x.jsonl").write_text("secret")
    assert share(card).returncode == 0 and set(server.hub.committed) == CARD


def test_a_restrictive_license_in_a_list_stops_sharing(
    share, out: Path, tmp_path: Path, server: HubServer
) -> None:
    lab = shutil.copytree(out.parent / "lab", tmp_path / "lab")
    (lab / "finance" / "README.md").write_text("---\nlicense: [apache-2.0, cc-by-nd-4.0]\n---\n")

    def moved(content: dict) -> None:
        old, new = (f'"{folder / "finance"}"' for folder in (out.parent / "lab", lab))
        content.update(json.loads(json.dumps(content).replace(old, new)))

    make(changed(out, tmp_path / "out", "index.json", moved), tmp_path / "card", PAIR)
    refused(share(tmp_path / "card"), server.hub, "cc-by-nd-4.0, the license of finance")


def test_samples_are_sent_only_if_every_task_allows_it(
    share, out: Path, tmp_path: Path, server: HubServer
) -> None:
    make(out, tmp_path / "card", PAIR, samples=True)
    assert share(tmp_path / "card").returncode == 0
    samples = {name for name in server.hub.committed if name.startswith("results/samples_")}
    assert len(samples) == 4 and set(server.hub.committed) == CARD | samples


def test_a_license_that_forbids_it_or_is_unknown_stops_sharing(
    share, out: Path, tmp_path: Path, server: HubServer
) -> None:
    for i, (license_name, reason) in enumerate(
        {"my-own": "which is not in our list", "cc-by-nd-4.0": "forbids sharing a merge"}.items()
    ):
        card = tmp_path / f"card{i}"
        make(licensed(out, tmp_path / f"out{i}", license_name), card, PAIR)
        refused(share(card), server.hub, "not shared", reason, "--i-have-checked-the-licenses")
        refused(share(card, "--dry-run"), server.hub, reason)
        assert not server.hub.requests
    for spelling in ("--i-have-checked-the-licenses", "--i-have-checked-the-licences"):
        server.hub.committed.clear()
        assert share(card, spelling).returncode == 0
        assert set(server.hub.committed) == CARD


def test_weights_of_llama_3_require_its_name_and_license_text(
    share, out: Path, tmp_path: Path, server: HubServer
) -> None:
    card = tmp_path / "card"
    make(licensed(out, tmp_path / "out", "llama3"), card, PAIR, weights=True)
    refused(share(card, "--weights"), server.hub, "begins with Llama-3", "must accompany", "LICENSE")
    refused(share(card, "--weights", repo="me/Llama-3-merge"), server.hub, "must accompany")
    (card / "LICENSE").write_text("the text of the license")
    assert share(card, "--weights", repo="me/Llama-3-merge").returncode == 0
    assert set(server.hub.committed) == CARD | WEIGHTS | {"NOTICE", "LICENSE"}


def test_refusals_of_the_hub_are_reported_in_one_line_each(share, card: Path, server: HubServer) -> None:
    refused(
        share(card, HF_TOKEN="", HF_TOKEN_PATH=str(card / "none")),
        server.hub,
        "not logged in",
        "hf auth login",
    )
    assert not server.hub.requests
    refused(share(card, HF_TOKEN="hf_wrong"), server.hub, "does not accept your token")
    refused(share(card, repo="other/merge"), server.hub, "other/merge: you may not write there (403)")
    server.hub.repos["other/merge"] = {}  # there, and readable
    server.hub.fails["/preupload/"] = 403
    refused(share(card, repo="other/merge"), server.hub, "other/merge: you may not write there (403)")
    refused(share(card, HF_HUB_OFFLINE="1"), server.hub, "switched off")
    server.hub.fails = {"/commit/": 500}
    refused(share(card), server.hub, "answered 500")


def test_a_network_that_is_down_is_reported_in_one_line(share, card: Path, server: HubServer) -> None:
    refused(share(card, HF_ENDPOINT="http://127.0.0.1:9"), server.hub, "the Hub cannot be reached")


def test_a_card_that_the_hub_refuses_is_reported_in_one_line(share, card: Path, server: HubServer) -> None:
    readme = card / "README.md"
    readme.write_text(
        readme.read_text().replace("base_model_relation", "base_model: [./lab]\nbase_model_relation")
    )
    refused(share(card), server.hub, "does not accept this card", "./lab")


def test_wrong_arguments_are_a_one_line_error(share, card: Path, server: HubServer, tmp_path: Path) -> None:
    refused(share(card, repo="merge"), server.hub, "Use owner/name")
    for repo in ("a/b..c", "a/b--c", "a/b.git", "a/" + "b" * 200):
        refused(share(card, "--dry-run", repo=repo), server.hub, "the Hub does not accept this name")
    refused(share(tmp_path), server.hub, "no card here")
    (card / "model.safetensors").unlink()
    refused(share(card, "--weights"), server.hub, "--weights: model.safetensors is gone")
    (card / "results" / "models.json").write_text("[]")
    refused(share(card), server.hub, "Make the card again")
    assert not server.hub.requests and "HF_HUB_OFFLINE" in os.environ


def test_sharing_twice_adds_a_commit(share, card: Path, server: HubServer) -> None:
    assert share(card).returncode == share(card).returncode == 0
    assert len(server.hub.summaries) == 2 and set(server.hub.committed) == CARD


def test_a_task_without_permission_counts_as_forbidden(
    share, out: Path, tmp_path: Path, server: HubServer
) -> None:
    make(out, tmp_path / "card", PAIR, samples=True)
    path = tmp_path / "card" / "results" / "summary.json"
    summary = json.loads(path.read_text())
    del summary["tasks"]["finance_bench_fpb"]["text_may_be_shared"]
    path.write_text(json.dumps(summary))
    assert share(tmp_path / "card").returncode == 0
    assert set(server.hub.committed) == CARD
