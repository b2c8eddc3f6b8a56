"""lm-eval's task files, read as text and as YAML: the same names and settings as lm-eval's own index gives."""

import os
from pathlib import Path

import pytest
from lm_eval.tasks import TaskManager

from mergekit_finance.hosts import task_files
from mergekit_finance.hosts.lm_eval import task_index
from mergekit_finance.hosts.task_files import TaskFiles, lm_eval_tasks, read_task_file
from mergekit_finance.plugins.manager import task_folders


@pytest.fixture(scope="module")
def files() -> TaskFiles:
    return TaskFiles(task_folders())


def write(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    return folder


def test_the_index_of_our_folder_equals_that_of_lm_eval(files: TaskFiles) -> None:
    index = task_index(TaskManager(include_defaults=False, include_path=[str(f) for f in task_folders()]))
    assert {name: entry.yaml_path for name, entry in index.items()} == {
        name: files.index[name].path for name in index
    }
    for name, entry in index.items():
        ours = files.index[name]
        assert ours.kind == entry.kind.name.lower()
        assert sorted(ours.members) == (sorted(entry.tags) if ours.kind == "tag" else [])
        expected = (entry.cfg or {}).get("generation_kwargs")
        assert ours.content.get("generation_kwargs") == expected


def test_settings_of_a_group_are_those_of_its_tasks(files: TaskFiles) -> None:
    settings = files.generation_settings(["finance_bench_probe", "finance_bench_fpb"])
    assert {name: one["max_gen_toks"] for name, one in settings.items()} == {
        "finance_bench_probe_m": 512,
        "finance_bench_probe_mj": 512,
        "finance_bench_probe_svamp": 512,
    }


def test_a_group_that_contains_itself_has_no_tasks(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "mine", by_name="group: a\ntask: [a]\n", by_mapping="group: b\ntask: [{task: b}]\n"
    )
    assert TaskFiles([folder]).generation_settings(["a", "b"]) == {}


def test_tasks_groups_and_tags_of_lm_eval_are_found_without_its_index() -> None:
    files = TaskFiles([])
    names = [
        "arc_easy",
        "mmlu_stem",
        "mmlu_stem_tasks",
        "truthfulqa_multi",
        "aclue_couplet_prediction",
    ]
    assert files.look_up([*names, "arc_esay", "arc_*"]) == ["arc_esay", "arc_*"]
    assert files.look_up(["gsm8k"]) == []
    assert files.generation_settings(["gsm8k"])["gsm8k"]["until"]


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["arc_easy"], ["arc"]),
        (["gsm8k", "arc_easy", "arc_challenge"], ["arc", "gsm8k"]),
        (["tinyBenchmarks"], ["tinyBenchmarks"]),
        (["mmlu_stem_tasks"], None),  # a tag: its tasks may be anywhere
        (["arc_*"], None),
        (["nothing_of_this_name"], None),
    ],
)
def test_only_the_folders_that_define_the_names_are_needed(
    names: list[str], folders: list[str] | None
) -> None:
    result = TaskFiles([]).lm_eval_folders(names)
    root = lm_eval_tasks()
    assert root is not None
    assert result == (None if folders is None else [root / name for name in folders])


def test_names_of_our_folder_need_no_folder_of_lm_eval(files: TaskFiles) -> None:
    assert files.lm_eval_folders(["finance_bench", "finance_bench_probe"]) == []


def test_includes_tags_classes_and_broken_files(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "own",
        a="task: a\ntag: [t, u]\ninclude: base.txt\ngeneration_kwargs: {max_gen_toks: 9}\n",
        b="task: b\ntag: t\noutput_type: multiple_choice\nprocess_docs: !function missing.f\n",
        c="task: c\nclass: !function missing.Task\n",
        g="group: g\ntask: [a, b, {task: d, output_type: generate_until}]\ngeneration_kwargs: {max_gen_toks: 5}\n",
        broken="task: [",
        list="- a",
        circle="task: circle\ninclude: circle.yaml\n",
    )
    (folder / "base.txt").write_text("task: base\noutput_type: generate_until\ntask_list: [1]\n")
    files = TaskFiles([folder])
    assert sorted(files.index) == ["a", "b", "c", "g", "t", "u"]
    assert files.index["t"].members == ("a", "b")
    assert files.generation_settings(["t", "c"]) == {"a": {"max_gen_toks": 9}}
    assert files.generation_settings(["g"]) == {"a": {"max_gen_toks": 5}, "d": {"max_gen_toks": 5}}
    assert "task_list" not in read_task_file(folder / "a.yaml")


def test_equal_files_are_parsed_once_and_changed_ones_again(tmp_path, monkeypatch):
    """Also where the content that was returned is changed, and where a file is changed within a clock tick."""
    parsed, load = [], task_files.yaml.load

    def counted(data, loader):
        parsed.append(data)
        return load(data, loader)

    monkeypatch.setattr(task_files.yaml, "load", counted)
    (tmp_path / "shared").write_text("metric_list: [{metric: acc}]\n# of this test\n")
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(f"include: shared\ntask: {name} of this test\n")
    first = [content for _, content in task_files.definitions(tmp_path)]
    first[0]["metric_list"][0]["metric"] = "changed"
    assert [c["metric_list"] for _, c in task_files.definitions(tmp_path)] == 2 * [[{"metric": "acc"}]]
    assert len(parsed) == 3
    stamp = (tmp_path / "shared").stat()
    (tmp_path / "shared").write_text("metric_list: [{metric: f1 }]\n# of this test\n")
    os.utime(tmp_path / "shared", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert [c["metric_list"] for _, c in task_files.definitions(tmp_path)] == 2 * [[{"metric": "f1"}]]
    assert len(parsed) == 4
