"""What a mirror's rows can be used for: counts, tasks, and missing demonstrations."""

import json
import logging

import pytest
from click.testing import CliRunner

from mergekit_finance.cli import main
from mergekit_finance.data import contents, loader
from mergekit_finance.data.adapters import english
from mergekit_finance.data.adapters.base import draw_shots
from mergekit_finance.data.adopt import adopt
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.records import Record, read
from mergekit_finance.errors import DataError
from mergekit_finance.plugins.manager import datasets

LABELS = ("negative", "neutral", "positive")


def write_phrases(folder, train):
    """Write FPB in its raw layout: ten test rows, and train rows in which one class is rare."""
    (folder / "fpb").mkdir(parents=True)
    for split, count in (("test", 10), ("train", 60 if train else 0)):
        phrases = [
            {"id": f"{split}{n}", "sentence": f"{split} {n} .", "label": LABELS[0 if n == 7 else 1 + n % 2]}
            for n in range(count)
        ]
        text = "".join(json.dumps(phrase) + "\n" for phrase in phrases)
        if phrases:
            (folder / "fpb" / f"{split}.jsonl").write_text(text)


@pytest.fixture(params=[True, False], ids=["with train rows", "without"])
def adopted(request, tmp_path):
    """A mirror of FPB, and whether it has train rows."""
    write_phrases(tmp_path / "raw", request.param)
    adopt(tmp_path / "raw", Mirror(tmp_path / "mirror"), datasets().values(), lambda text: None)
    return Mirror(tmp_path / "mirror"), request.param


def test_rows_are_counted_and_missing_demonstrations_are_noticed(adopted):
    mirror, has_train = adopted
    (subset,) = contents.contents(mirror, "fpb")
    tasks = ["finance_bench_fpb", "finance_bench_fpb_published"]
    assert subset == ("default", 10, not has_train, tasks)


def test_a_published_task_warns_of_rows_without_published_prompts(adopted, caplog):
    mirror, _ = adopted
    loader._warn_of_own_prompts.cache_clear()
    with caplog.at_level(logging.WARNING, logger=loader.__name__):
        loader.load("fpb", data_dir=str(mirror.folder))
        assert "AdaptLLM's prompts" not in caplog.text
        for _ in range(2):
            loader.load("fpb", fb_published_prompts=True, data_dir=str(mirror.folder))
    assert caplog.text.count("AdaptLLM's prompts") == 1


def test_loading_warns_once_where_demonstrations_are_missing(adopted, caplog):
    mirror, has_train = adopted
    loader._warn_of_zero_shot.cache_clear()
    with caplog.at_level(logging.WARNING, logger=loader.__name__):
        for _ in range(2):
            loader.load("fpb", data_dir=str(mirror.folder))
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == (0 if has_train else 1)
    assert has_train or "fpb: without train rows" in messages[0]


def test_sample_rows_without_demonstrations_give_no_warning(caplog):
    loader._warn_of_zero_shot.cache_clear()
    with caplog.at_level(logging.WARNING, logger=loader.__name__):
        loader.load("fpb", source="sample")
    assert not caplog.records


def test_status_shows_counts_tasks_and_the_warning(adopted):
    mirror, has_train = adopted
    done = CliRunner().invoke(main, ["data", "status", "fpb", "--mirror", str(mirror.folder)])
    assert done.exit_code == 0 and "fpb: 10 rows for finance_bench_fpb" in done.output
    assert ("warning: no train rows" in done.output) == (not has_train)


def test_adopt_shows_counts_tasks_and_the_warning(tmp_path):
    write_phrases(tmp_path / "raw", train=False)
    command = ["data", "adopt", str(tmp_path / "raw"), "--mirror", str(tmp_path / "mirror")]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0 and "fpb: 10 rows for finance_bench_fpb" in done.output
    assert "warning: no train rows" in done.output


def test_status_reports_unusable_rows_in_one_line(tmp_path):
    write_phrases(tmp_path / "raw", train=True)
    mirror = Mirror(tmp_path / "mirror")
    adopt(tmp_path / "raw", mirror, datasets().values(), lambda text: None)
    path = mirror.folder / "fpb" / "fpb" / "test.jsonl"
    path.write_text("x" * path.stat().st_size)
    done = CliRunner().invoke(main, ["data", "status", "fpb", "--mirror", str(mirror.folder)])
    assert done.exit_code == 0 and "cannot be used: " in done.output and "not JSON" in done.output


def test_the_registry_has_every_dataset_of_a_task():
    assert {name for name, _ in contents.tasks_by_rows()} <= set(datasets())
    assert sum(map(len, contents.tasks_by_rows().values())) >= 34


def test_demonstrations_cover_every_answer_that_occurs():
    train = [{"text": f"{n}", "answer": "rare" if n == 3 else "common"} for n in range(500)]
    for item in range(50):
        shots = draw_shots(train, f"item {item}", 5, each_answer=True)
        assert len(shots) == 5 and {shot["answer"] for shot in shots} == {"rare", "common"}
    plain = [draw_shots(train, f"item {item}", 5) for item in range(50)]
    assert sum({"rare"} <= {shot["answer"] for shot in shots} for shots in plain) < 10


@pytest.mark.parametrize("adapter", [english.phrasebank, english.fiqa])
def test_each_row_has_demonstrations_of_a_class_that_is_rare(adapter):
    def record(split, n):
        label = 0 if n == 7 else 1 + n % 2
        scored = {"target": "shares", "sentiment_score": str((label - 1) / 2)}
        content = {"id": f"{split}{n}", "sentence": f"{split} {n} .", "label": LABELS[label], **scored}
        return Record(content, f"{split}.jsonl", n + 1)

    rows = adapter({split: [record(split, n) for n in range(60)] for split in ("train", "test")})
    assert all({shot["answer"] for shot in row["shots"]} == set(LABELS) for row in rows)


def test_demonstrations_do_not_depend_on_the_order_of_train_rows_and_never_exceed_the_count():
    train = [{"text": f"{n}", "answer": f"{n % 7}"} for n in range(70)]
    assert draw_shots(train, "x", 5, each_answer=True) == draw_shots(train[::-1], "x", 5, each_answer=True)
    assert len(draw_shots(train, "x", 5, each_answer=True)) == 5
    assert draw_shots(train[:2], "x", 5, each_answer=True) == draw_shots(train[:2], "x", 5)


def test_cells_of_a_tsv_file_are_read_with_the_quoting_of_csv(tmp_path):
    path = tmp_path / "test.tsv"
    path.write_text('a\tb\n"gold up, again"\t1\nsaid ""ok""\t2\n"she said ""ok"""\t3\n', encoding="utf-8")
    assert [record.data["a"] for record in read(path, "test.tsv")] == [
        "gold up, again", 'said ""ok""', 'she said "ok"',
    ]  # fmt: skip
    path.write_text('a\tb\nx\t1\n"never closed\t2\ny\t3\n', encoding="utf-8")
    with pytest.raises(DataError, match="test.tsv, line .*: not TSV"):
        read(path, "test.tsv")


def test_no_real_headline_keeps_the_quotes_of_its_cell(mirror):
    texts = [row["text"] for row in loader.load_rows("headline", "default", data_dir=str(mirror))]
    assert texts and not [text for text in texts if text.startswith('"') and text.endswith('"')]
