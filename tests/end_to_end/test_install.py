"""The wheel, the editable install, the start-up hook and third parties, in real environments.

One environment holds the wheel for the whole module; each test that needs another lays it over the
running environment with --no-deps. Tests of the start of Python start it. Tests of a host's import run
in a child of one process that has the hosts' dependencies imported (`warm`).
"""

import shutil
import textwrap
import zipfile

import pytest
from helpers.commands import ForkServer
from helpers.environments import ROOT, Environment, build_wheels

pytestmark = pytest.mark.slow

OURS = {
    "_mergekit_finance_autoload.py",
    "mergekit_finance",
    "mergekit_finance-0.1.0.dist-info",
    "mergekit_finance_autoload.pth",
    "mergekit_finance_autoload.start",
}
# What a program sees of this package in both hosts, printed as one line each.
PROBE = """
import mergekit.plan, mergekit.merge_methods as m
from lm_eval.tasks import TaskManager
print(any(x.spec.name == "cpt_task_arithmetic" for x in m.registered_methods()))
print("finance_bench_fpb" in TaskManager(include_defaults=False).all_tasks)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    (wheel,) = build_wheels(tmp_path_factory.mktemp("dist"), ROOT)
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    environment = Environment.make(tmp_path_factory.mktemp("an environment") / "with space")
    environment.install(wheel)
    return environment


@pytest.fixture(scope="module")
def warm(installed):
    """Python with the hosts' dependencies imported, which runs programs as the Python of any environment."""
    bare = Environment.make(installed.folder.with_name("bare"))
    server = ForkServer("warm_python.py", bare.python)
    yield server
    server.stop()


@pytest.fixture
def broken(installed, tmp_path):
    """An environment of its own whose copy of the package can be damaged."""
    environment = Environment.make(tmp_path / "broken")
    for name in OURS:
        source = installed.site / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, environment.site / name)
    return environment


def test_the_wheel_adds_only_our_names_to_site_packages(wheel):
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert names == OURS


def test_the_wheel_carries_tasks_recipes_and_data_inside_the_package(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "mergekit_finance/lm_eval_tasks/fpb/finance_bench_fpb.yaml" in names
    assert any(n.startswith("mergekit_finance/recipes/") and n.endswith(".yml") for n in names)
    assert "mergekit_finance/data/registry.yml" in names
    assert "mergekit_finance/data/samples/fpb-default.phrasebank.jsonl" in names
    assert not [n for n in names if n.startswith("mergekit_finance/autoload")]
    assert "mergekit_finance/lab/weights/math/model.safetensors" in names
    assert not [n for n in names if "training" in n or "tiny" in n], "code of training and tests"


def test_both_hosts_have_our_methods_and_tasks_in_another_directory(installed, tmp_path):
    elsewhere = tmp_path / "another directory"
    elsewhere.mkdir()
    assert installed.run("-W", "error::RuntimeWarning", "-c", PROBE, cwd=elsewhere).stdout.split() == [
        "True",
        "True",
    ]


def test_the_bundled_folders_are_found_in_the_wheel(installed, tmp_path):
    code = "from mergekit_finance.files import bundled as b; print(b('lm_eval_tasks')); print(b('recipes'))"
    folders = installed.run("-c", code, cwd=tmp_path).stdout.splitlines()
    assert [f.startswith(str(installed.site / "mergekit_finance")) for f in folders] == [True, True]


def test_an_editable_install_works_and_finds_the_checkouts_folders(warm, tmp_path):
    environment = Environment.make(tmp_path / "editable")
    before = environment.listing()
    environment.install("-e", ROOT)
    code = PROBE + "from mergekit_finance.files import bundled; print(bundled('recipes'))"
    shown = environment.run_warm(warm, "-c", code, cwd=tmp_path).stdout
    assert shown.splitlines() == ["True", "True", str(ROOT / "recipes")]
    environment.pip("uninstall", "-q", "-y", "mergekit-finance")
    assert environment.listing() == before


def test_uninstalling_leaves_nothing(wheel, tmp_path):
    environment = Environment.make(tmp_path / "clean")
    before = environment.listing()
    environment.install(wheel)
    assert environment.listing() > before
    environment.run("-c", "pass")
    environment.pip("uninstall", "-q", "-y", "mergekit-finance")
    assert environment.listing() == before


def test_start_up_imports_our_one_module_and_nothing_else(installed, tmp_path):
    code = "import sys; print(*sorted(m for m in sys.modules if 'mergekit' in m or m in ('torch', 'click', 'pluggy')))"
    assert installed.run("-c", code, cwd=tmp_path).stdout.split() == ["_mergekit_finance_autoload"]
    # the probe does detect an unwanted import
    assert "click" in installed.run("-c", "import click;" + code, cwd=tmp_path).stdout.split()


def test_with_switch_0_nothing_is_registered_until_register_is_called(installed, warm, tmp_path):
    off = {"MERGEKIT_FINANCE_AUTOLOAD": "0"}
    hidden = installed.run_warm(warm, "-c", PROBE, cwd=tmp_path, env=off)
    assert hidden.stdout.split() == ["False", "False"]
    explicit = "import mergekit_finance; mergekit_finance.register(); mergekit_finance.register()\n" + PROBE
    back = installed.run_warm(warm, "-c", explicit, cwd=tmp_path, env=off)
    assert back.stdout.split() == ["True", "True"]


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda package: (package / "plugins" / "manager.py").write_text("def :"), "SyntaxError"),
        (
            lambda package: (package / "builtin.py").write_text("import sys; sys.exit('gone')"),
            "SystemExit: gone",
        ),
        (lambda package: shutil.rmtree(package), "ModuleNotFoundError"),
        (lambda package: shutil.rmtree(package / "lm_eval_tasks"), "lm_eval_tasks"),
    ],
    ids=["syntax error", "exit at import", "package gone", "task folder gone"],
)
def test_a_broken_plugin_leaves_python_and_the_hosts_alone(broken, warm, tmp_path, damage, fault):
    damage(broken.site / "mergekit_finance")
    quiet = broken.run("-c", "pass", cwd=tmp_path)
    assert (quiet.stdout, quiet.stderr) == ("", "")
    probe = PROBE + "print(len(m.registered_methods()) >= 20)"
    done = broken.run_warm(warm, "-c", probe, cwd=tmp_path)
    assert done.stdout.split()[-1] == "True"
    warnings = [
        line for line in done.stderr.splitlines() if "RuntimeWarning" in line and "mergekit-finance" in line
    ]
    assert warnings and fault in done.stderr


def test_strict_raises_the_plugins_own_fault(broken, warm, tmp_path):
    (broken.site / "mergekit_finance" / "plugins" / "manager.py").write_text("def :")
    strict = {"MERGEKIT_FINANCE_AUTOLOAD": "strict"}
    done = broken.run_warm(warm, "-c", "import mergekit.merge_methods", cwd=tmp_path, env=strict, check=False)
    assert done.returncode == 1
    assert "SyntaxError" in done.stderr and "Traceback" in done.stderr


def test_spawned_and_forked_children_have_our_methods(installed, warm, tmp_path):
    script = tmp_path / "children.py"
    script.write_text(
        textwrap.dedent("""
        import multiprocessing as mp
        import sys

        def probe(queue):
            import mergekit.merge_methods as m
            queue.put(any(x.spec.name == "cpt_task_arithmetic" for x in m.registered_methods()))

        if __name__ == "__main__":
            context = mp.get_context(sys.argv[1])
            queue = context.Queue()
            child = context.Process(target=probe, args=(queue,))
            child.start()
            print(queue.get(timeout=1200))
            child.join()
    """)
    )
    assert installed.run(script, "spawn", cwd=tmp_path).stdout == "True\n"
    assert installed.run_warm(warm, script, "fork", cwd=tmp_path).stdout == "True\n"


def test_the_hook_gives_the_hosts_their_own_loader_back(installed, warm, tmp_path):
    code = "import inspect, mergekit.plan as p; print(type(p.__loader__).__name__, 'class MergePlanner' in inspect.getsource(p))"
    assert installed.run_warm(warm, "-c", code, cwd=tmp_path).stdout.split() == ["SourceFileLoader", "True"]


def test_a_third_partys_wheel_adds_a_method_and_a_task_folder(installed, warm, wheel, tiny, tmp_path):
    """A ten-line plugin, built, installed, and used from both plain commands; a broken one beside it."""
    environment = Environment.make(tmp_path / "plugged")
    good = _third_party(tmp_path / "good", GOOD)
    bad = _third_party(tmp_path / "bad", "raise ValueError('out of order')", "bad_finance")
    environment.install(wheel, *build_wheels(tmp_path / "dist", good, bad))
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"merge_method: acme_first\nmodels:\n  - model: {tiny}/base\n  - model: {tiny}/math\n")
    command = ("-m", "mergekit.scripts.run_yaml", recipe, tmp_path / "merged", "--no-write-model-card")
    merged = environment.run_warm(warm, *command, cwd=tmp_path)
    assert (tmp_path / "merged" / "model.safetensors").is_file()
    assert "plugin 'bad_finance' is left out: ValueError: out of order" in merged.stderr
    listed = environment.run_warm(warm, "-m", "lm_eval", "validate", "--tasks", "acme_task", cwd=tmp_path)
    assert "All tasks found" in listed.stdout
    plugins = environment.run(
        "-c", "from mergekit_finance.cli import main; main(['plugins'])", cwd=tmp_path
    ).stdout
    assert "acme_finance         acme-finance 1.0" in plugins and "finance_merge_methods" in plugins
    assert "ValueError: out of order" in plugins


GOOD = """
from pathlib import Path
from mergekit.merge_methods import TensorGroup, merge_method
from mergekit_finance import hookimpl
import torch

@merge_method(name="acme_first")
def first(group: TensorGroup) -> torch.Tensor:
    return group.tensors[0]

@hookimpl
def finance_merge_methods():
    return [first]

@hookimpl
def finance_task_folders():
    return [Path(__file__).parent / "tasks"]
"""


def _third_party(folder, code, name="acme_finance"):
    package = folder / name
    (package / "tasks").mkdir(parents=True)
    (package / "__init__.py").write_text(code)
    (package / "tasks" / "acme_task.yaml").write_text(
        "task: acme_task\ndataset_path: json\noutput_type: generate_until\ndoc_to_text: q\ndoc_to_target: a\n"
    )
    (folder / "pyproject.toml").write_text(
        textwrap.dedent(f"""
        [build-system]
        requires = ["hatchling"]
        build-backend = "hatchling.build"
        [project]
        name = "{name.replace("_", "-")}"
        version = "1.0"
        [project.entry-points.mergekit_finance]
        {name} = "{name}"
    """)
    )
    return folder


def test_python_starts_when_the_start_up_module_was_deleted_by_hand(broken, tmp_path):
    (broken.site / "_mergekit_finance_autoload.py").unlink()
    done = broken.run("-c", "print('up')", cwd=tmp_path)
    assert done.stdout == "up\n" and "mergekit_finance_autoload.pth" in done.stderr
