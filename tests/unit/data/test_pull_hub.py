"""`data pull` through the Hub's own client, against a local stand-in for the Hub."""

import socket

import pytest
from helpers.commands import HANG
from helpers.datasets import COMMIT, GATE, GATED, LATER, hub_entry, parse_entries, rows, sha256, start_command

from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.pull import pull
from mergekit_finance.errors import DataError


def hub_pull(site, tmp_path, entries, *args, env=None):
    """`data pull` into the mirror with the Hub at `site`: exit code, stdout, stderr."""
    env = {"HF_ENDPOINT": site.url, **(env or {})}
    running = start_command(tmp_path, entries, "data", "pull", "--mirror", tmp_path / "m", *args, env=env)
    out, err = running.communicate(timeout=HANG)
    return running.returncode, out, err


def on_hub(site, path="FPB/test.json", body=None, repo="owner/open", revision="main", commit=COMMIT):
    site.files[f"/datasets/{repo}/resolve/{revision}/{path}"] = rows() if body is None else body
    site.headers = {"X-Repo-Commit": commit}
    return {"path": path}


def error_of(err):
    """The one line on stderr."""
    lines = [line for line in err.splitlines() if line.startswith(("Error: ", "Failed: "))]
    assert len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


def test_without_network_the_hubs_cache_is_used_without_waiting(target, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    dataset = parse_entries(hub_entry("d", {"path": "x.json"}))[0]
    with pytest.raises(DataError, match="no network, or no such host"):
        pull(dataset, target)
    repo = tmp_path / "hub" / "datasets--owner--open"
    (repo / "snapshots" / COMMIT).mkdir(parents=True)
    (repo / "snapshots" / COMMIT / "x.json").write_bytes(rows())
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    assert pull(dataset, target).pulled == ("d/x.json",)
    assert f"@{COMMIT}/" in target.files["d/x.json"].origin


def test_the_commit_behind_a_branch_is_recorded_and_a_change_is_refused(site, tmp_path, target):
    registry = [hub_entry("d", on_hub(site))]
    code, out, err = hub_pull(site, tmp_path, registry)
    assert code == 0 and out.startswith("d: pulled from main, 1 file"), err
    listed_file = Mirror(tmp_path / "m").files["d/FPB/test.json"]
    assert listed_file.origin == f"hf://datasets/owner/open@{COMMIT}/FPB/test.json"
    on_hub(site, body=rows(word="sideways"), commit=LATER)
    code, out, err = hub_pull(site, tmp_path, registry)
    assert code == 1 and f"@{LATER}/FPB/test.json was altered upstream" in error_of(err)
    assert Mirror(tmp_path / "m").files["d/FPB/test.json"] == listed_file
    code, out, err = hub_pull(site, tmp_path, registry, env={"HF_HUB_OFFLINE": "1"})
    assert code == 0 and out.startswith("d: already there"), err


def test_a_gated_dataset_is_reported_in_one_line_and_the_others_are_pulled(site, tmp_path):
    site.refused = {"/datasets/owner/closed": GATED}
    closed = hub_entry("closed", {"path": "x.json"}, repo="owner/closed", gate=GATE)
    code, out, err = hub_pull(site, tmp_path, [closed, hub_entry("d", on_hub(site))])
    lines = [line for line in err.splitlines() if line.startswith(("Error", "Failed"))]
    assert code == 1 and "Traceback" not in err
    assert lines == [
        f"Failed: closed: access is gated. Accept the terms at {GATE}, run `hf auth login`, "
        "then run `mergekit-finance data pull closed`.",
        "Error: 1 of 2 datasets could not be pulled: closed",
    ]
    assert out.startswith("d: pulled from main") and list(Mirror(tmp_path / "m").files) == ["d/FPB/test.json"]


def test_the_error_for_a_token_without_access_mentions_the_account(site, tmp_path):
    site.refused = {"/datasets/owner/closed": (403, {"X-Error-Code": "GatedRepo"})}
    closed = hub_entry("closed", {"path": "x.json"}, repo="owner/closed", gate=GATE)
    code, _out, err = hub_pull(site, tmp_path, [closed], env={"HF_TOKEN": "hf_x"})
    assert code == 1 and f"{GATE} with the account whose token is in use" in error_of(err)


def test_a_file_missing_on_the_hub_is_reported(site, tmp_path):
    code, _out, err = hub_pull(site, tmp_path, [hub_entry("d", {"path": "gone.json"})])
    assert code == 1 and "@main/gone.json (HTTP 404). The file was moved" in error_of(err)


def test_a_wrong_checksum_from_the_hub_is_reported_after_one_more_download(site, tmp_path):
    file = {**on_hub(site), "sha256": sha256(b"other")}
    code, _out, err = hub_pull(site, tmp_path, [hub_entry("d", file)])
    assert code == 1 and sha256(rows()) in error_of(err) and sha256(b"other") in error_of(err)
    assert len(site.gets("/datasets/owner/open/resolve/main/FPB/test.json")) == 2
    assert not (tmp_path / "m" / "MANIFEST.json").exists() and not list((tmp_path / "m").rglob("*.json"))
