"""The targets of the fuzzer: each puts a damaged input where commands read it, and reads it as they do.

A target gets valid inputs and a Damage, and returns a Case. With a Damage that does nothing it reads the valid
input, which must work.
"""

import functools
import io
import json
import re
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from mergekit import merge_methods as registry
from mergekit.config import MergeConfiguration
from mergekit.options import MergeOptions
from pydantic import ValidationError

from helpers import merging  # registers our methods and hooks  # noqa: F401
from helpers.fuzz_guard import Outcome, command, examine
from helpers.fuzz_inputs import INDEX, SAMPLES, SINGLE, Inputs
from helpers.mutations import HOSTILE, Damage
from mergekit_finance.checks.check_all import check_all, start_again
from mergekit_finance.data.mirror import MANIFEST
from mergekit_finance.data.records import read as read_records
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.errors import DataError
from mergekit_finance.hosts import lm_eval
from mergekit_finance.merge_methods.check_recipe import check_recipe
from mergekit_finance.merge_methods.method import CptMethod
from mergekit_finance.merging.in_memory import merge
from mergekit_finance.models.facts import read_tensors
from mergekit_finance.models.fingerprint import fingerprint
from mergekit_finance.recipe import load as recipes
from mergekit_finance.recipe.overrides import load_changed
from mergekit_finance.similarity.checkpoint_files import CheckpointFamily
from mergekit_finance.study import config, export
from mergekit_finance.study.points import points


@dataclass(frozen=True)
class Case:
    """A damaged input.

    Attributes:
        read: reads it as a command does.
        file: where it belongs; None if it is not a file.
        data: its content.
        shown: what failing tests print of it.
    """

    read: Callable[[], object]
    file: Path | None = None
    data: bytes = b""
    shown: str = ""

    def run(self, out: Path) -> Outcome:
        """Put it in its place, read it, and put back what was there."""
        if self.file is None:
            return examine(self.read, out)
        original = self.file.read_bytes() if self.file.exists() else None
        self.file.write_bytes(self.data)
        try:
            return examine(self.read, out)
        finally:
            if original is None:
                self.file.unlink()
            elif self.file.parent.exists():  # a damaged folder of stored results is removed
                self.file.write_bytes(original)

    def __str__(self) -> str:
        return shorter(self.shown or f"{self.file}: {self.data!r}")


Target = Callable[[Inputs, Damage], Case]


def shorter(text: str) -> str:
    """Return a text in which long runs of one character are counted."""
    return re.sub(r"(.)\1{60,}", lambda run: f"<{run[1]} x {len(run[0])}>", text, flags=re.DOTALL)[:20_000]


# ---- recipes and studies


def recipe(inputs: Inputs, damage: Damage) -> Case:
    """`check RECIPE`, and what `run` and `lm_eval --model mergekit` read of it."""
    path = inputs.folder / "recipe.yml"

    def read() -> None:
        start_again()
        command("check", path)
        loaded = recipes.load_recipe(path)
        loaded.configuration()
        json.dumps(
            [loaded.merge, loaded.stage, loaded.models, loaded.constituents, loaded.semantics],
            allow_nan=False,
        )

    return Case(read, path, damage.yaml(damage.pick(inputs.recipes)))


def plain_recipe(inputs: Inputs, damage: Damage) -> Case:
    """A recipe that `mergekit-yaml` read by itself, as our hooks see it."""
    data = damage.yaml(damage.pick(inputs.recipes))

    def read() -> None:
        try:
            content = yaml.safe_load(data.decode("utf-8", "replace"))
        except (yaml.YAMLError, ValueError, RecursionError, TypeError):  # PyYAML's own
            return
        try:
            configuration = MergeConfiguration.model_validate(content)
        except (ValidationError, RuntimeError):  # mergekit's own
            return
        method = registry.get(configuration.merge_method) if _is_registered(configuration) else None
        if isinstance(method, CptMethod):
            check_recipe(configuration, method, MergeOptions())

    return Case(read, shown=repr(data))


def _is_registered(configuration: MergeConfiguration) -> bool:
    return any(method.spec.name == configuration.merge_method for method in registry.registered_methods())


PLACES = (
    "lambda", "density", "weight", "models[0].weight", "models[0].parameters.weight", "tokenizer.source", "dtype",
    "slices[0].sources[0].layer_range", "parameters.lambda", "base_model", "models", "merge_method", "finance.stage", "chat_template",
)  # fmt: skip
PLACE_BITS = ["[", "]", ".", "[99999999999999999999]", "[-1]", "²", "models", "\n", "\x1b[2J", "x" * 300]


def override(inputs: Inputs, damage: Damage) -> Case:
    """`set.<place>=<value>` on a command line."""
    path = inputs.folder / "recipe.yml"
    place, value = damage.pick(PLACES[:1]), 0.4
    if damage.often(1):
        place, value = damage.pick(PLACES), damage.pick(HOSTILE)
        place = damage.text(place, PLACE_BITS) if damage.often() else place
    text: str = damage.pick(inputs.recipes) if damage.often(1) else inputs.recipes[0]
    return Case(
        lambda: load_changed(str(path), {place: value}).configuration(),
        path,
        text.encode(),
        f"{place!r}: {value!r:.300} in\n{text}",
    )


def study_file(inputs: Inputs, damage: Damage) -> Case:
    """`check STUDY.YML`, the points of a study, and `recipes export`."""
    path = inputs.folder / "study.yml"

    def read() -> None:
        start_again()
        command("check", path)
        study = config.load_study(path)
        for stage in study.stages:
            json.dumps([point.recipe() for point in points(study, stage)], allow_nan=False)
        again = config.parse_study(json.loads(json.dumps(config.dump(study), allow_nan=False)), "again")
        assert again == study
        grids = sum(
            operator.cells(list(study.experts)[:3]) for operator in study.operators.present().values()
        )
        if grids < 100 and study.chain == "experts":
            export.export_recipes(path, start=True)

    return Case(read, path, damage.yaml(damage.pick(inputs.studies)))


def study_plan(inputs: Inputs, damage: Damage) -> Case:
    """`study plan` of a study whose models are there, without a timed sample.

    lm-eval's own tasks are left out: for a task that is not ours it reads 14,000 files, which takes it 5 to 9 s.
    """
    path = inputs.folder / "study.yml"

    def read() -> None:
        start_again()
        with pytest.MonkeyPatch.context() as patch:
            manager = lm_eval.task_manager
            patch.setattr(lm_eval, "task_manager", lambda folders, metadata, defaults: manager(folders, metadata, defaults=False))  # fmt: skip
            patch.setattr("mergekit_finance.data.loader.default_folder", lambda: inputs.out / "cache")
            patch.setattr("mergekit_finance.data.loader.pull", _not_fetched)
            command("study", "plan", path, "--no-sample", "-o", inputs.out / "study")

    return Case(read, path, damage.yaml(inputs.studies[-1]))


def _not_fetched(*arguments: object) -> None:
    raise DataError("not fetched while fuzzing")


# ---- datasets


def manifest(inputs: Inputs, damage: Damage) -> Case:
    """`data status` and `data verify` of a mirror."""
    path = inputs.mirror / MANIFEST

    def read() -> None:
        for name in ("status", "verify"):
            command("data", name, "--mirror", inputs.mirror)

    return Case(read, path, damage.json(path.read_text()))


def rows(inputs: Inputs, damage: Damage) -> Case:
    """Rows of a mirror, through the adapter of their dataset."""
    source = damage.pick(sorted(SAMPLES.glob("*.jsonl")))
    lines = source.read_bytes().splitlines()[:6]
    at = damage.random.randrange(len(lines))
    lines[at] = damage.json(lines[at].decode())
    path, adapter = inputs.folder / "rows.jsonl", source.name.split(".")[1]
    place = Place(path, path.name, adapter, "test")
    return Case(
        lambda: json.dumps(rows_of([place]), allow_nan=False).encode(), path, b"\n".join(lines), f"{adapter}: {lines!r}"
    )  # fmt: skip


def row_files(inputs: Inputs, damage: Damage) -> Case:
    """Files of rows in the other formats that datasets come in."""
    ending = damage.pick(("json", "csv", "tsv", "xlsx", "parquet"))
    path = inputs.folder / f"rows.{ending}"
    return Case(lambda: read_records(path, path.name), path, damage.bytes(_table(ending)))


@functools.cache
def _table(ending: str) -> bytes:
    from pandas import DataFrame

    table, file = (
        DataFrame({"id": ["a", "b"], "question": ["是か", 'say "x", y'], "n": [1.5, 2.0]}),
        io.BytesIO(),
    )
    if ending == "xlsx":
        table.to_excel(file, index=False)
    elif ending == "parquet":
        table.to_parquet(file)
    elif ending == "json":
        table.to_json(file, orient="records")
    else:
        table.to_csv(file, index=False, sep="\t" if ending == "tsv" else ",")
    return file.getvalue()


# ---- models


def model_case(inputs: Inputs, folder: str, name: str, data: bytes) -> Case:
    """Return a case of one file of a model: checked, opened by transformers, and read tensor by tensor."""
    base, model = str(inputs.models / "base"), str(inputs.models / folder)

    def read() -> None:
        start_again()
        command("check", base, model)
        references = [base, model]
        check_all(references, "recipe.yml", say=len, tokenizers=references)
        read_tensors(model)
        fingerprint(model, quiet=True)
        if folder != "pickled":
            for checkpoint in CheckpointFamily(references).checkpoints:
                with closing(checkpoint):
                    for tensor in checkpoint.tensors:
                        checkpoint.source(tensor)(0, 1)

    return Case(read, inputs.models / folder / name, data)


def model_config(inputs: Inputs, damage: Damage) -> Case:
    """config.json and generation_config.json."""
    name = damage.pick(("config.json", "config.json", "config.json", "generation_config.json"))
    return model_case(inputs, "math", name, damage.json((inputs.models / "math" / name).read_text()))


def tokenizer(inputs: Inputs, damage: Damage) -> Case:
    """The files of a tokenizer."""
    name = damage.pick(("tokenizer.json", "tokenizer_config.json", "tokenizer_config.json", "special_tokens_map.json"))  # fmt: skip
    return model_case(inputs, "math", name, damage.json((inputs.models / "math" / name).read_text()))


def template(inputs: Inputs, damage: Damage) -> Case:
    """The chat template, in its own file or in tokenizer_config.json."""
    text = damage.text((inputs.models / "math" / "chat_template.jinja").read_text())
    if damage.often():
        path = inputs.models / "math" / "tokenizer_config.json"
        content = json.loads(path.read_text())
        content["chat_template"] = damage.pick(
            (text, [{"name": "default", "template": text}], {"default": text})
        )
        return model_case(inputs, "math", path.name, json.dumps(content).encode())
    return model_case(inputs, "math", "chat_template.jinja", text.encode("utf-8", "surrogatepass"))


def shards(inputs: Inputs, damage: Damage) -> Case:
    """The index of shards."""
    return model_case(inputs, "sharded", INDEX, damage.json((inputs.models / "sharded" / INDEX).read_text()))


def header(inputs: Inputs, damage: Damage) -> Case:
    """The header of a safetensors file: its JSON, one entry of it, its length, or any bytes."""
    data = (inputs.models / "math" / SINGLE).read_bytes()
    length = int.from_bytes(data[:8], "little")
    text, remaining = data[8 : 8 + length].decode(), data[8 + length :]
    kind = damage.random.randrange(4)
    if kind == 3:
        return model_case(inputs, "math", SINGLE, damage.bytes(data[: 8 + length]) + damage.bytes(remaining))
    content = json.loads(text)
    if kind == 2 and damage.often(1):
        name = damage.pick([name for name in content if name != "__metadata__"])
        content[name] = damage.value(content[name])
        head = json.dumps(content).encode()
    else:
        head = damage.json(text)
    size = damage.pick((len(head) + 1, 0, 2**62, 2**64 - 1, 10**8)) if damage.often(5) else len(head)
    return model_case(inputs, "math", SINGLE, size.to_bytes(8, "little") + head + remaining)


def pickled(inputs: Inputs, damage: Damage) -> Case:
    """A `.bin` file: bytes of the archive, or of the pickle in it."""
    name = "pytorch_model.bin"
    data = (inputs.models / "pickled" / name).read_bytes()
    if damage.often(3):
        return model_case(inputs, "pickled", name, damage.bytes(data))
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.namelist():
            content = old.read(entry)
            changed = damage.bytes(content) if entry.endswith("data.pkl") else content
            new.writestr(entry, _with_call(damage, changed) if entry.endswith("data.pkl") else changed)
    return model_case(inputs, "pickled", name, file.getvalue())


def _with_call(damage: Damage, pickle: bytes) -> bytes:
    """Put an opcode of a pickle, or a call of a function, somewhere into it."""
    if not damage.often(3):
        return pickle
    at = damage.random.randrange(len(pickle) + 1)
    bit = damage.pick((b"cos\nsystem\n(S'x'\ntR.", b"cbuiltins\neval\n(S'1'\ntR", b"ctorch._utils\n_rebuild_tensor_v2\n", b"(", b"R", b"b", b"Q", b"\x8a\xff", b"r\xff\xff\xff\x7f", b"]", b"}", b"0", b"."))  # fmt: skip
    return pickle[:at] + bit + pickle[at:]


def merged_models(inputs: Inputs, damage: Damage) -> Case:
    """Merge a model of which one small file is damaged, as `run` does, and measure its distance."""
    base, model = str(inputs.models / "base"), str(inputs.models / "math")
    name = damage.pick(("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"))  # fmt: skip
    folder = damage.pick((base, model))
    path = Path(folder) / name
    content: dict[str, Any] = {
        "merge_method": damage.pick(("cpt_task_arithmetic", "task_arithmetic")), "base_model": base,
        "models": [{"model": model, "parameters": {"weight": 1.0}}], "dtype": "float32",
    } | damage.pick(({}, {"tokenizer_source": "union"}, {"tokenizer_source": "base"}, {"chat_template": "auto"}))  # fmt: skip

    def read() -> None:
        start_again()
        checked = recipes.check_mapping(content, "recipe.yml")
        check_all(checked.models, "recipe.yml", say=len, tokenizers=[base, model], **checked.merge_settings)
        merge(checked.configuration(), MergeOptions(quiet=True))

    original = path.read_text() if path.exists() else (inputs.models / "math" / name).read_text()
    return Case(read, path, damage.json(original))
