"""`mergekit-finance similarity`, as a process."""

import errno
import json
import os
import stat

import pytest
from click.testing import CliRunner
from helpers.similarity_file import similarity_content

from mergekit_finance.cli import main
from mergekit_finance.cli import similarity as similarity_command
from mergekit_finance.errors import ModelError
from mergekit_finance.similarity import table
from mergekit_finance.similarity.compute import compute_similarity
from mergekit_finance.similarity.measured import Similarity

SIMILARITY = Similarity.model_validate(similarity_content("base", ["math"], [], []))


@pytest.fixture(scope="module")
def model_folders(tiny):
    return [str(tiny / name) for name in ("base", "finance", "math", "japanese")]


def test_the_command_writes_what_the_library_returns_for_any_number_of_threads(mkf, model_folders, tmp_path):
    base, *models = model_folders
    for threads in ("1", "2"):
        out = tmp_path / f"out{threads}" / "sim.json"
        done = mkf("similarity", "--base", base, *models, "-o", out, env={"OMP_NUM_THREADS": threads})
        assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"out{t}" / "sim.json").read_bytes() for t in "12")
    assert first == second
    assert json.loads(first) == compute_similarity(base, models).as_json()
    rows = done.stdout.splitlines()
    assert rows[0].endswith("elements in 21 tensors") and "similarity:" in done.stderr
    assert [row.split("  ")[0].strip() for row in rows[2:8]] == [
        "base - finance", "base - math", "base - japanese",
        "finance - math", "finance - japanese", "math - japanese",
    ]  # fmt: skip


def test_the_table_fits_a_terminal_of_80_columns(model_folders, tmp_path, monkeypatch):
    monkeypatch.setattr(similarity_command, "print_width", lambda: 80)
    base, *models = model_folders
    done = CliRunner().invoke(main, ["similarity", "--base", base, *models, "-o", str(tmp_path / "s.json")])
    *table_lines, _, written = done.stdout.splitlines()
    assert done.exit_code == 0 and written.startswith("Written to")
    assert max(map(len, table_lines)) <= 80 and any("|tau|/|base|" in line for line in table_lines[2:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{base}", "nowhere"], "model 'nowhere': no such folder, and not a Hub id"),
        (["{base}", "{math}", "--device", "cuda:77"], "device 'cuda:77' cannot be used"),
    ],
)
def test_mistakes_are_reported_in_one_line_and_leave_no_file(
    mkf, model_folders, tmp_path, arguments, message
):
    base, model, *options = (a.format(base=model_folders[0], math=model_folders[2]) for a in arguments)
    done = mkf("similarity", "--base", base, model, "-o", tmp_path / "sim.json", *options)
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_an_unwritable_target_is_reported_before_anything_is_read(mkf, model_folders, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = mkf("similarity", "--base", *model_folders[:2], "-o", tmp_path / "file" / "sim.json")
    assert done.returncode == 1 and f"{tmp_path / 'file'} is not a directory" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and (tmp_path / "file").read_text() == "mine"


def test_a_pipe_is_written_into_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    table.write_similarity(SIMILARITY, pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert json.loads(os.read(reader, 4000)) == similarity_content("base", ["math"], [], [])
    os.close(reader)


def test_a_disk_that_fills_up_is_reported_in_one_line(model_folders, tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ModelError, match="sim.json: cannot be written \\(No space left on device\\)"):
        table.write_similarity(SIMILARITY, tmp_path / "sim.json")
    assert not list(tmp_path.iterdir())
