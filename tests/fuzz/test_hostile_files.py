"""Inputs that are known to do harm, as every kind of file: each command that reads one prints one line."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from helpers.commands import HANG
from helpers.fuzz_guard import command, examine
from helpers.fuzz_inputs import INDEX, SINGLE, Inputs
from helpers.fuzz_results import read_study
from helpers.fuzz_targets import model_case

from mergekit_finance.checks.check_all import start_again
from mergekit_finance.study.store import SUMS


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return Inputs(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    """End a test that waits for a pipe."""
    signal.alarm(HANG)
    yield
    signal.alarm(0)


# ---- content

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(8))  # fmt: skip
RECIPE = "merge_method: linear\nmodels: [{model: o/a, parameters: {weight: 1}}, {model: o/b, parameters: {weight: 1}}]\n"
STUDY = """\
base: o/b
base_license: mit
experts: {m: {model: o/m, skills: math, license: mit}}
operators: {task_arithmetic: {lambda: 0.5}}
stages: [1]
"""
YAML = {
    "a key twice": "dtype: float32\ndtype: bfloat16\n",
    "an alias bomb": BOMB,
    "a number of 5,000 digits": f"seed: {'9' * 5000}\n",
    "400 brackets": f"seed: {'[' * 400}\n",
    "a control character": "seed: \x1b[2J\n",
    "an escaped control character": 'name: "\\x1b[2J"\n',
    "a tag": "seed: !!python/object/apply:os.system [ls]\n",
    "a key that is no text": "1: 2\n",
    "two documents": "---\na: 1\n",
    "not a number": "seed: .nan\n",
    "more than 1 MB": f"# {'x' * 1_100_000}\n",
    "an unknown key": "\u202eseed: 1\n",
}


def failing_output(inputs: Inputs, *arguments: object) -> str:
    """Return the output of a command that must fail."""
    results: list[Result] = []
    outcome = examine(lambda: results.append(command(*arguments)), inputs.out)
    assert outcome.refused
    return results[0].output


@pytest.mark.parametrize("start", [RECIPE, STUDY], ids=["recipe", "study"])
def test_the_same_files_without_the_harmful_part_are_accepted(inputs: Inputs, start: str) -> None:
    path = inputs.folder / "hostile.yml"
    path.write_text(start)
    assert not examine(lambda: command("check", path), inputs.out).refused


@pytest.mark.parametrize("start", [RECIPE, STUDY], ids=["recipe", "study"])
@pytest.mark.parametrize("what", YAML)
def test_hostile_yaml_is_reported_in_one_line(inputs: Inputs, what: str, start: str) -> None:
    path = inputs.folder / "hostile.yml"
    path.write_text(start + YAML[what], encoding="utf-8")
    reason = {"more than 1 MB": "larger than 1 MB", "an unknown key": "seed"}.get(what, "not valid YAML")
    other = ["study", "plan", path] if start == STUDY else ["run", path, "-o", inputs.out / "run"]
    for arguments in (["check", path], other):
        assert reason in failing_output(inputs, *arguments)


VALUES = [
    "limit: 1000000000000000000000000000000", "resamples: 1000000000", "workers: 1000000", "seed: -1", "evaluation: {batch_size: 1000000000}",
    "evaluation: {max_gen_toks: 1000000000}", "evaluation: {threads: 1000000}", "selection: {share: 1.0e+300}", "stages: [4]", "limit: 0", "limit: true",
    "operators: {task_arithmetic: {lambda: [1.0e+300]}}", "operators: {ties: {density: [2]}}", f"operators: {{task_arithmetic: {{lambda: [{', '.join(['0.5'] * 30000)}]}}}}",
    "limit: 2020-01-01", f"name: {'x' * 5000}", 'name: "a\\u202eb"', "tasks: []", "tasks: [[a]]", "named: {x: [a]}", "executor: slurm", "workers: 1.5",
]  # fmt: skip


@pytest.mark.parametrize("line", VALUES, ids=lambda line: line[:40])
def test_study_values_out_of_bounds_are_reported_in_one_line(inputs: Inputs, line: str) -> None:
    path = inputs.folder / "hostile.yml"
    key = line.partition(":")[0]
    others = [other for other in STUDY.splitlines() if not other.startswith(f"{key}:")]
    path.write_text("\n".join([*others, line]))
    assert key in failing_output(inputs, "check", path)
    assert key in failing_output(inputs, "study", "plan", path, "--no-sample")


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
JSON = {
    "nested 100,000 deep": DEEP,
    "brackets 100,000 deep": "[" * 100_000,
    "a list": "[]",
    "null": "null",
    "nothing": "",
    "half a surrogate pair": '{"a": "\\ud800"}',
    "a number of 5,000 digits": f'{{"a": {"9" * 5000}}}',
    "not a number": '{"a": NaN}',
    "UTF-16": "\ufeff{}",
    "ten million layers": '{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 10000000}',
    "an escape in a name": '{"model_type": "\\u001b[2J", "weight_map": {"\\u001b[2J": "\\u001b[2J"}, "architectures": ["\\u001b[2J"]}',
}
MODEL_FILES = {
    "math": ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
    "sharded": (INDEX,),
}
STUDY_FILES = ("study.json", "tasks.json", "index.json", "similarity.json", "summary.json", "scores.json", "results.json", "key.json")  # fmt: skip


def reader(inputs: Inputs, folder: str, name: str) -> tuple[Path, Callable[[], object]]:
    """Return the path of a file, and the command that reads it."""
    if folder == "study":
        places = [inputs.study / name, *sorted(inputs.study.glob(f"points/base-*/{name}"))]
        return next(place for place in places if place.exists()), lambda: read_study(inputs)
    if folder == "mirror":
        return inputs.mirror / name, lambda: command("data", "verify", "--mirror", inputs.mirror)
    if folder == "card":
        share = ("share", inputs.card, "--repo", "me/x", "--dry-run")
        return inputs.card / "results" / name, lambda: command(*share)
    return inputs.models / folder / name, model_case(inputs, folder, name, b"").read


FILES = [
    *((folder, name) for folder, names in MODEL_FILES.items() for name in names),
    *(("study", name) for name in STUDY_FILES),
    ("mirror", "MANIFEST.json"),
    ("card", SUMS),
    ("card", "models.json"),
]
CAN_BE_EMPTY = ("generation_config.json", "results.json", "key.json", "tokenizer_config.json", "tokenizer.json")  # fmt: skip


@pytest.mark.parametrize(("folder", "name"), FILES)
def test_hostile_json_is_reported_in_one_line(inputs: Inputs, folder: str, name: str) -> None:
    path, read = reader(inputs, folder, name)
    original = path.read_bytes()
    try:
        for what, text in JSON.items():
            path.write_bytes(text.encode("utf-16" if what == "UTF-16" else "utf-8"))
            outcome = examine(read, inputs.out)
            assert outcome.refused or name in CAN_BE_EMPTY, what
    finally:
        path.write_bytes(original)


# ---- paths that are not regular files

KINDS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nothing"),
}


@pytest.mark.parametrize(
    ("folder", "name"),
    [*FILES, ("math", SINGLE), ("math", "chat_template.jinja"), ("pickled", "pytorch_model.bin")],
)
def test_paths_that_are_not_regular_files_are_not_read(inputs: Inputs, folder: str, name: str) -> None:
    path, read = reader(inputs, folder, name)
    original = path.rename(inputs.folder / "kept")
    try:
        for kind, make in KINDS.items():
            make(path)
            start_again()
            examine(read, inputs.out)
            (path.rmdir if kind == "a folder" else path.unlink)()
    finally:
        original.rename(path)


@pytest.mark.parametrize("kind", KINDS)
def test_recipes_and_studies_that_are_not_regular_files_are_reported_in_one_line(
    inputs: Inputs, kind: str
) -> None:
    path = inputs.folder / "none.yml"
    KINDS[kind](path)
    try:
        for arguments in (["check", path], ["study", "plan", path], ["run", path, "-o", inputs.out / "run"]):
            assert examine(lambda arguments=arguments: command(*arguments), inputs.out).refused
    finally:
        (path.rmdir if kind == "a folder" else path.unlink)()
