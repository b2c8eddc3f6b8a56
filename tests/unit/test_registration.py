"""Registration with the hosts, inside one process."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from mergekit_finance import registration
from mergekit_finance.files import bundled
from mergekit_finance.hosts.lm_eval import task_index, with_folders


@pytest.fixture(scope="module", autouse=True)
def registered():
    registration.register()


def names(**options):
    from lm_eval.tasks import TaskManager

    return TaskManager(include_defaults=False, **options).all_tasks


def test_tasks_are_found_without_any_option():
    assert "finance_bench_fpb" in names()


def test_a_folder_given_by_include_path_too_is_indexed_once(caplog):
    folder = bundled("lm_eval_tasks")
    with caplog.at_level("WARNING"):
        assert "finance_bench_fpb" in names(include_path=str(folder))
    assert "overrides" not in caplog.text and "Duplicate" not in caplog.text


def test_the_hook_does_nothing_if_the_host_found_the_folder_itself():
    """An lm-eval that reads the `lm_eval.tasks` entry point has our folder in its list already."""
    ours = bundled("lm_eval_tasks")
    assert with_folders([ours], [ours], ours / "none") == [ours]


def test_a_users_task_of_the_same_name_wins(tmp_path):
    from lm_eval.tasks import TaskManager

    users_task = tmp_path / "own.yaml"
    users_task.write_text("task: finance_bench_fpb\ndataset_path: json\ndoc_to_text: q\ndoc_to_target: a\n")
    index = task_index(TaskManager(include_defaults=False, include_path=str(tmp_path)))
    assert index["finance_bench_fpb"].yaml_path == users_task


def test_our_task_folders_come_after_those_of_lm_eval():
    ours, theirs, users = bundled("lm_eval_tasks"), bundled("recipes"), bundled("recipes") / "x"
    assert with_folders([theirs, users], [ours], theirs) == [theirs, ours, users]


def test_registering_twice_changes_nothing():
    from mergekit.merge_methods import registered_methods

    before = [m.spec.name for m in registered_methods()]
    registration.register()
    assert [m.spec.name for m in registered_methods()] == before
    assert len(set(before)) == len(before)


def test_a_method_of_the_host_is_not_replaced_by_a_plugins_method_of_the_same_name(monkeypatch):
    import mergekit.merge_methods as host
    import torch
    from mergekit.merge_methods import TensorGroup, merge_method

    def other(group: TensorGroup) -> torch.Tensor:
        return group.tensors[0]

    taken = merge_method(name="linear")(other)
    monkeypatch.setattr(registration, "merge_methods", lambda: [taken])
    with pytest.warns(RuntimeWarning, match="'linear' exists already"):
        registration.on_merge_methods(host)


def test_importing_a_method_module_first_also_registers_the_methods():
    """mergekit is then imported from within our package, which is only partly initialized at that time."""
    code = (
        "import warnings; warnings.simplefilter('error', RuntimeWarning)\n"
        "import mergekit_finance.merge_methods.all_methods\n"
        "import mergekit.merge_methods as m\n"
        "print(any(x.spec.name == 'cpt_task_arithmetic' for x in m.registered_methods()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize(
    ("kwargs", "ours"), [({"fb_dataset": "fpb"}, True), ({"name": "x"}, False), (None, False)]
)
def test_prompts_of_tasks_with_our_rows_are_recognized(kwargs, ours):
    task = SimpleNamespace(config=SimpleNamespace(dataset_kwargs=kwargs))
    assert registration._reads_our_rows(task) is ours
