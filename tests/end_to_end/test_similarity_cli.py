"""`mergekit-finance similarity`, as a process."""

import json

import pytest

from mergekit_finance.similarity import similarity


@pytest.fixture(scope="module")
def named(tiny):
    return [str(tiny / name) for name in ("base", "finance", "math", "japanese")]


def test_it_writes_what_the_library_returns_whatever_the_threads(mkf, named, tmp_path):
    base, *models = named
    for threads in ("1", "2"):
        out = tmp_path / f"out{threads}" / "sim.json"
        done = mkf("similarity", "--base", base, *models, "-o", out, env={"OMP_NUM_THREADS": threads})
        assert done.returncode == 0, done.stderr
    first, second = ((tmp_path / f"out{t}" / "sim.json").read_bytes() for t in "12")
    assert first == second
    assert json.loads(first) == similarity(base, models)
    rows = done.stdout.splitlines()
    assert rows[0].endswith("elements in 21 tensors") and "similarity:" in done.stderr
    assert [row.split("  ")[0].strip() for row in rows[2:8]] == [
        "base - finance", "base - math", "base - japanese",
        "finance - math", "finance - japanese", "math - japanese",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{base}", "nowhere"], "model 'nowhere': no such folder, and not a Hub id"),
        (["{base}", "{math}", "--device", "cuda:77"], "device 'cuda:77' cannot be used"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_file(mkf, named, tmp_path, arguments, message):
    base, model, *rest = (a.format(base=named[0], math=named[2]) for a in arguments)
    done = mkf("similarity", "--base", base, model, "-o", tmp_path / "sim.json", *rest)
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1
