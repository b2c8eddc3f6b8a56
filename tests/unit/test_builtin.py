"""Our own plugin offers every part of the package, through the hooks that other plugins use."""

from mergekit_finance import builtin
from mergekit_finance.files import bundled
from mergekit_finance.plugins import manager


def test_merge_methods_are_the_three_operators():
    names = [method.spec.name for method in builtin.finance_merge_methods()]
    assert sorted(names) == ["cpt_dare_ties", "cpt_task_arithmetic", "cpt_ties"]


def test_the_task_folder_holds_the_benchmark():
    (folder,) = builtin.finance_task_folders()
    assert folder == bundled("lm_eval_tasks")
    assert list(folder.rglob("finance_bench_fpb.yaml"))


def test_datasets_are_those_of_the_registry():
    names = {dataset.name for dataset in builtin.finance_datasets()}
    assert {"fpb", "headline", "docmath", "jfinqa"} <= names


def test_families_are_those_of_the_bundled_recipes():
    assert {family.name for family in builtin.finance_families()} == {"lab", "llama3-8b", "llama2-7b"}


def test_the_plugin_manager_has_each_of_these_parts():
    assert {d.name for d in builtin.finance_datasets()} <= set(manager.datasets())
    assert set(builtin.finance_task_folders()) <= set(manager.task_folders())
    assert {m.spec.name for m in builtin.finance_merge_methods()} <= {
        m.spec.name for m in manager.merge_methods()
    }
    assert {f.name for f in builtin.finance_families()} <= {f.name for f in manager.families()}
    assert len(manager.report_sections()) >= len(builtin.finance_report_sections()) > 0
