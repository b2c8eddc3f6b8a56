"""The commands `data pull`, `status` and `verify`: what they print, and mistakes in one line."""

import pytest
from click.testing import CliRunner
from helpers import local_server as server
from helpers.datasets import (
    COMMIT,
    GATE,
    adopt_rows,
    adoptable_dataset,
    entry,
    nothing_listed,
    one_file_dataset,
    parse_entries,
    register_only,
    rows,
    serve_file,
    sha256,
)  # fmt: skip
from helpers.mirror_fixtures import no_ambient_data, online, raw, site, target, waits  # noqa: F401

from mergekit_finance.cli import data as data_command
from mergekit_finance.cli import main
from mergekit_finance.data import download
from mergekit_finance.data.mirror import VARIABLE


def command(*args):
    """Our command in this process: exit code, stdout, stderr."""
    done = CliRunner().invoke(main, ["data", *map(str, args)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def test_the_list_of_datasets_is_aligned_and_fits_a_terminal(monkeypatch):
    """Long licenses follow below their dataset; before, they pushed the other columns aside."""
    code, out, _ = command("list")
    head, *lines = out.splitlines()
    assert code == 0 and head.split() == ["dataset", "sources", "title", "license"]
    assert {line.index("hub") for line in lines if " hub " in line} == {head.index("sources")}
    monkeypatch.setattr(data_command, "print_width", lambda: 80)
    narrow = command("list")[1]
    assert max(map(len, narrow.splitlines())) <= 80 and "license CC-BY-NC-SA-3.0" in narrow


def test_pull_takes_every_dataset_and_prints_what_it_did(site, target, monkeypatch):
    register_only(
        monkeypatch,
        *parse_entries(
            entry("d", [serve_file(site)]), entry("e", [serve_file(site, "b.json", sha256=sha256(rows()))])
        ),
    )
    code, out, err = command("pull", "--mirror", target.folder)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"d: pulled from main, 1 file, {len(rows()) / 1000:.0f}kB, unverified",
        f"e: pulled from main, 1 file, {len(rows()) / 1000:.0f}kB, verified",
        "",
        f"Use it: export FINANCE_BENCH_DATA={target.folder}",
    ]


def test_replace_accepts_a_changed_file(site, target, monkeypatch):
    register_only(monkeypatch, one_file_dataset(site, revision="main"))
    command("pull", "--mirror", target.folder)
    register_only(monkeypatch, one_file_dataset(site, body=rows(5), revision="main"))
    code, _out, err = command("pull", "--mirror", target.folder)
    assert code == 1 and "altered upstream" in err and "data pull d --replace" in err
    code, out, _err = command("pull", "--replace", "--mirror", target.folder)
    assert code == 0 and out.startswith("d: pulled from main")


def test_status_accepts_dataset_names(site, target, monkeypatch):
    register_only(
        monkeypatch, *parse_entries(entry("d", [serve_file(site)]), entry("e", [serve_file(site, "b.json")]))
    )
    code, out, _err = command("status", "e", "--mirror", target.folder)
    assert code == 0 and [line.split()[0] for line in out.splitlines()[2:]] == ["e"]
    code, out, err = command("status", "f", "--mirror", target.folder)
    assert (code, out) == (1, "") and err.startswith("Error: unknown dataset 'f'")


def test_pull_continues_after_a_failure_and_ends_with_a_summary(site, target, monkeypatch):
    register_only(
        monkeypatch,
        *parse_entries(
            entry("d", [{"path": "x.json", "url": f"{site.url}/none"}]), entry("e", [serve_file(site)])
        ),
    )
    code, out, err = command("pull", "--mirror", target.folder)
    first, last = err.splitlines()
    assert code == 1 and first.startswith("Failed: d: could not fetch") and out.startswith("e: pulled")
    assert last == "Error: 1 of 2 datasets could not be pulled: d"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["f"], "Error: unknown dataset 'f'"),
        (["d", "--source", "hub"], "Error: d: unknown source 'hub'"),
        (["--source", "man"], "Error: no dataset has a source 'man'. Did you mean 'main'?"),
        (["d"], "Error: d: could not fetch"),
    ],
)
def test_a_wrong_argument_is_reported_in_one_line(site, target, monkeypatch, args, message):
    register_only(monkeypatch, one_file_dataset(site))
    site.files.clear()
    code, _out, err = command("pull", *args, "--mirror", target.folder)
    assert code == 1 and err.startswith(message) and err.count("\n") == 1


FAULTS = {
    "wrong SHA-256": (lambda site: one_file_dataset(site, sha256=sha256(b"other")), lambda site: None),
    "404": (one_file_dataset, lambda site: site.files.clear()),
    "401": (
        lambda site: one_file_dataset(site, gate=GATE),
        lambda site: site.refused.update({"/": (401, {})}),
    ),
    "503": (one_file_dataset, lambda site: site.refused.update({"/": (503, {})})),
    "ended after": (
        one_file_dataset,
        lambda site: site.faults.extend([server.announce_more(9)] * download.ATTEMPTS),
    ),
    "not JSON": (lambda site: one_file_dataset(site, body=b"{half"), lambda site: None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_download_error_is_reported_in_one_line_with_exit_code_1(site, target, monkeypatch, fault):
    make, break_it = FAULTS[fault]
    register_only(monkeypatch, make(site))
    break_it(site)
    code, out, err = command("pull", "--mirror", target.folder)
    assert (code, out) == (1, "") and err.startswith("Error: ") and err.count("\n") == 1
    assert ("gated" if fault == "401" else fault) in err and nothing_listed(target)


def test_a_dataset_without_sources_must_be_adopted(target, monkeypatch, site, tmp_path):
    dataset = adoptable_dataset(site).model_copy(update={"sources": {}})
    register_only(monkeypatch, dataset)
    code, _out, err = command("pull", "--mirror", target.folder)
    assert code == 1 and err.startswith("Error: d: the registry has no source") and "data adopt" in err
    adopt_rows(dataset, target, tmp_path / "raw")
    code, out, _err = command("pull", "--mirror", target.folder)
    assert code == 0 and out.startswith("d: kept adopted, 1 file")


def test_status_distinguishes_complete_incomplete_and_absent(site, target, monkeypatch):
    subsets = [serve_file(site, "a.json", subset="a"), serve_file(site, "b.json", subset="b")]
    datasets = parse_entries(
        entry("d", [serve_file(site, sha256=sha256(rows()))]),
        entry("e", subsets),
        entry("f", [serve_file(site, "f.json")]),
    )
    register_only(monkeypatch, *datasets)
    code, out, _err = command("status", "--mirror", target.folder)
    assert code == 0 and "(--mirror; no mirror there yet)" in out and out.count("absent") == 3
    del site.files[f"/{COMMIT}/b.json"]
    site.faults = [server.serve, server.serve, *[server.cut(1000)] * 9]
    command("pull", "--mirror", target.folder)
    (target.folder / "d" / "rows.json").write_bytes(b"short")
    (target.folder / "e" / "a.json").unlink()
    monkeypatch.setenv(VARIABLE, str(target.folder))
    lines = [" ".join(line.split()) for line in command("status")[1].splitlines()]
    size = f"{len(rows()) / 1000:.0f}kB"
    assert lines == [
        f"mirror {target.folder} ($FINANCE_BENCH_DATA)", "",
        f"d incomplete 1 file, {size}, verified main",
        f"altered d/rows.json: 5 bytes, MANIFEST.json says {len(rows())}",
        "get it: mergekit-finance data pull d",
        f"e incomplete 1 file, {size}, unverified main",
        "missing e/a.json", "missing subset b", "get it: mergekit-finance data pull e",
        "f absent",
        "partly downloaded .incoming/f/f.json.partial: 4000 bytes", "get it: mergekit-finance data pull f",
    ]  # fmt: skip


def test_verify_lists_each_altered_or_missing_file(site, target, monkeypatch):
    datasets = parse_entries(*(entry(name, [serve_file(site, f"{name}.json")]) for name in "def"))
    register_only(monkeypatch, *datasets)
    command("pull", "--mirror", target.folder)
    code, out, err = command("verify", "--mirror", target.folder)
    assert (code, err) == (0, "") and "every checksum matches, 3 files" in out
    path = target.folder / "d" / "d.json"
    path.write_bytes(path.read_bytes().replace(b"up", b"UP", 1))  # as long as before
    (target.folder / "e" / "e.json").unlink()
    code, out, err = command("verify", "--mirror", target.folder)
    first, second, last = err.splitlines()
    assert code == 1 and out == "" and "d/d.json: altered" in first and "e/e.json: missing" in second
    assert last == f"Error: {target.folder}: 2 of 3 files are altered or missing. Pull or adopt them again."
    assert command("verify", "f", "--mirror", target.folder)[0] == 0


def test_verify_of_a_missing_mirror_or_dataset_is_reported_in_one_line(site, target, monkeypatch):
    code, _out, err = command("verify", "--mirror", target.folder)
    assert code == 1 and "no MANIFEST.json" in err and err.count("\n") == 1
    register_only(monkeypatch, one_file_dataset(site))
    command("pull", "--mirror", target.folder)
    code, _out, err = command("verify", "e", "--mirror", target.folder)
    assert code == 1 and err.startswith(f"Error: {target.folder}: no files of 'e'") and err.count("\n") == 1


@pytest.mark.parametrize("name", ["pull", "status", "verify", "adopt"])
def test_help_has_an_example(name):
    code, out, _err = command(name, "--help")
    assert code == 0 and f"  mergekit-finance data {name}" in out
