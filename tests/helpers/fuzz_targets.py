"""What is fuzzed: each target damages valid input and reads it with the functions that commands read it with."""

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import yaml

from helpers import report as studies
from helpers.mutations import (
    HOSTILE,
    byte_edit,
    damaged_json,
    damaged_yaml,
    edits,
    hostile,
    text_edit,
)
from helpers.tiny_models import make_family
from mergekit_finance.checks.check_all import check_all, start_again
from mergekit_finance.data.mirror import MANIFEST, Mirror
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.data.status import missing_subsets, size_problem
from mergekit_finance.files import bundled
from mergekit_finance.models.facts import read_tensors
from mergekit_finance.plugins.manager import datasets
from mergekit_finance.recipe import load as recipes
from mergekit_finance.recipe.overrides import load_changed
from mergekit_finance.similarity.checkpoint_files import CheckpointFamily
from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.study import config, export
from mergekit_finance.study.points import points
from mergekit_finance.study.results import load_results
from mergekit_finance.study.task_info import GENERATED

SAMPLES = Path(__file__).resolve().parents[2] / "mergekit_finance" / "data" / "samples"


@dataclass
class Inputs:
    """Valid inputs in a folder of this process."""

    folder: Path

    @cached_property
    def recipes(self) -> list[str]:
        texts = [path.read_text() for path in sorted((bundled("recipes") / "lab").glob("stage*.yml"))]
        return texts + [yaml.safe_dump(content, sort_keys=False) for content in OTHER_RECIPES]

    @cached_property
    def studies(self) -> list[str]:
        full = dict(STUDY)
        return [(bundled("recipes") / "lab" / "study.yml").read_text(), yaml.safe_dump(full, sort_keys=False)]

    @cached_property
    def models(self) -> Path:
        make_family(self.folder / "models", ("base", "math"), hidden=16, layers=1)
        return self.folder / "models"

    @cached_property
    def study(self) -> Path:
        return studies.study(self.folder / "study")

    @cached_property
    def mirror(self) -> Path:
        mirror = Mirror(self.folder / "mirror")
        for dataset in list(datasets().values())[:3]:
            for file in dataset.adopts[:2]:
                path = self.folder / "row.jsonl"
                path.write_text('{"a": 1}\n')
                mirror.add(path, dataset, file.model_copy(update={"sha256": "unverified"}), "x")
        mirror.save()
        return mirror.folder

    def damaged_copy(self, source: Path, name: str, data: bytes) -> Path:
        """Return a folder of links to the files of `source`, in which one file has other content."""
        copy = self.folder / "damaged"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy)
        (copy / name).write_bytes(data)
        return copy


BLOCK = {"weight": 1.0, "density": 0.5}
OTHER_RECIPES: list[dict[str, Any]] = [
    {
        "merge_method": "cpt_ties", "base_model": {"model": {"path": "./b", "revision": "main"}},
        "models": [{"model": "./e", "parameters": {"weight": [0.1, 0.9], "density": [{"filter": "mlp", "value": 0.3}, {"value": 0.5}], "mask_id": "e"}}, {"model": "o/f@v1"}],
        "parameters": {"lambda": 0.5, "normalize": None, "semantics": "mergekit", "similarity": True}, "dtype": "float32", "out_dtype": "bfloat16",
        "tokenizer": {"source": "union", "tokens": {"<x>": {"source": "./e", "force": True}}}, "chat_template": "auto",
        "finance": {"stage": 2, "constituents": ["./e", "o/f@v1"], "tasks": "finance_bench_fpb,finance_bench", "citation": "x"},
    },
    {
        "merge_method": "passthrough",
        "slices": [{"sources": [{"model": "./a", "layer_range": [0, 1], "parameters": {"scale": 1.0}}]}, {"sources": [{"model": "./b", "layer_range": [0, 1]}]}],
    },
    {
        "merge_method": "dare_ties", "base_model": "./b",
        "modules": {"text": {"slices": [{"sources": [{"model": "./e", "layer_range": [0, 2], "parameters": BLOCK}, {"model": "./b", "layer_range": [0, 2]}]}]}},
        "parameters": {"int8_mask": True, "normalize": True, "rescale": True}, "tokenizer_source": "base",
    },
    {"merge_method": "slerp", "base_model": "./b", "models": [{"model": "./b"}, {"model": "./e"}], "parameters": {"t": 0.5}},
]  # fmt: skip
STUDY: dict[str, Any] = {
    "name": "full", "base": "./b", "base_license": "mit",
    "experts": {"finance": {"model": "./f", "skills": ["finance"], "license": "mit"}, "math": {"model": "o/m@v1", "skills": "math"}},
    "operators": {
        "task_arithmetic": {"lambda": [0.1, 0.5], "start": {"lambda": 0.5}}, "ties": {"density": [0.2], "lambda": [1.0]},
        "dare_ties": {"density": [0.2, 0.4], "lambda": 1.0, "seeds": [0, 1], "start": {"density": 0.2}},
    },
    "semantics": "paper", "stages": [1, 2], "chain": "best", "tasks": ["a", "b"], "retention": "r", "probes": ["p"], "named": {"finance+math": ["a"]},
    "source": "lab", "data_dir": "x", "limit": 8, "selection": {"share": 0.3, "seed": 0, "same_items": False},
    "evaluation": {"device": "cpu", "dtype": "auto", "batch_size": 8, "max_gen_toks": 8, "threads": 1, "samples": "all"},
    "executor": "local", "workers": 2, "out_dtype": "bfloat16", "resamples": 200, "seed": 0,
}  # fmt: skip


# ---- targets: a function of valid inputs and a source of randomness; returns what reads the damaged input


def recipe(inputs: Inputs, random: Random) -> Callable[[], object]:
    path = inputs.folder / "recipe.yml"
    path.write_bytes(damaged_yaml(random, random.choice(inputs.recipes)))

    def read() -> None:
        loaded = recipes.load(path)
        loaded.configuration()
        json.dumps(
            [loaded.merge, loaded.stage, loaded.models, loaded.constituents, loaded.semantics],
            allow_nan=False,
        )

    return read


def override(inputs: Inputs, random: Random) -> Callable[[], object]:
    path = inputs.folder / "recipe.yml"
    path.write_text(random.choice(inputs.recipes))
    place = random.choice(
        ("lambda", "density", "weight", "models[0].weight", "models[0].parameters.weight", "tokenizer.source", "dtype", "slices[0].sources[0].layer_range", "parameters.lambda", "base_model", "models", "merge_method")
    )  # fmt: skip
    if random.randrange(2):
        place = text_edit(
            random, place, ["[", "]", ".", "[99999999999999999999]", "[-1]", "²", "models", "\n", "x" * 300]
        )
    value = HOSTILE[random.randrange(len(HOSTILE))]
    return lambda: load_changed(str(path), {place: value}).configuration()


def study_file(inputs: Inputs, random: Random) -> Callable[[], object]:
    path = inputs.folder / "study.yml"
    path.write_bytes(damaged_yaml(random, random.choice(inputs.studies)))

    def read() -> None:
        study = config.load(path)
        for stage in study.stages:
            json.dumps([point.recipe() for point in points(study, stage)], allow_nan=False)
        again = config.parse(json.loads(json.dumps(config.dump(study), allow_nan=False)), "again")
        assert again == study
        if sum(len(operator.grid()) for operator in study.operators.present().values()) < 100:
            export.export(path, start=True)

    return read


def manifest(inputs: Inputs, random: Random) -> Callable[[], object]:
    folder, path = inputs.mirror, inputs.mirror / MANIFEST
    if not (original := inputs.folder / "MANIFEST.json").exists():
        shutil.copy(path, original)
    path.write_bytes(damaged_json(random, original.read_text()))

    def read() -> None:
        mirror = Mirror.existing(folder)
        for dataset in datasets().values():
            missing_subsets(dataset, mirror)
        for name in mirror.files:
            size_problem(mirror, name)
        for name in mirror.files:
            mirror.verify(name)

    return read


def rows(inputs: Inputs, random: Random) -> Callable[[], object]:
    source = random.choice(sorted(SAMPLES.glob("*.jsonl")))
    lines = source.read_text(encoding="utf-8").splitlines()[:6]
    at = random.randrange(len(lines))
    lines[at] = damaged_json(random, lines[at]).decode("utf-8", "surrogateescape")
    path = inputs.folder / "rows.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    adapter = source.name.split(".")[1]
    return lambda: json.dumps(rows_of([Place(path, path.name, adapter, "test")]), allow_nan=False).encode()


def _model(inputs: Inputs, name: str, data: bytes) -> Callable[[], object]:
    base, damaged = str(inputs.models / "base"), inputs.damaged_copy(inputs.models / "math", name, data)

    def read() -> None:
        references = [base, str(damaged)]
        start_again()
        check_all(references, "recipe.yml", say=len, tokenizers=references)
        read_tensors(str(damaged))
        for checkpoint in CheckpointFamily([base, str(damaged)]).checkpoints:
            with closing(checkpoint):
                for tensor in checkpoint.tensors:
                    checkpoint.source(tensor)(0, 1)

    return read


def model_config(inputs: Inputs, random: Random) -> Callable[[], object]:
    name = random.choice(("config.json", "config.json", "config.json", "generation_config.json"))
    return _model(inputs, name, damaged_json(random, (inputs.models / "math" / name).read_text()))


def tokenizer(inputs: Inputs, random: Random) -> Callable[[], object]:
    name = random.choice(
        ("tokenizer.json", "tokenizer_config.json", "tokenizer_config.json", "special_tokens_map.json")
    )
    path = inputs.models / "math" / name
    text = (
        path.read_text()
        if path.exists()
        else '{"bos_token": "<s>", "pad_token": {"content": "<pad>", "lstrip": false}}'
    )
    return _model(inputs, name, damaged_json(random, text))


def shards(inputs: Inputs, random: Random) -> Callable[[], object]:
    names = [name for name in ("model.embed_tokens.weight", "lm_head.weight", "model.norm.weight")]
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "model.safetensors")}
    return _model(inputs, "model.safetensors.index.json", damaged_json(random, json.dumps(index)))


def header(inputs: Inputs, random: Random) -> Callable[[], object]:
    data = (inputs.models / "math" / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    text, rest = data[8 : 8 + length].decode(), data[8 + length :]
    kind = random.randrange(4)
    if kind < 2:
        head = damaged_json(random, text)
    elif kind == 2:
        content = json.loads(text)
        tensor = content[random.choice([name for name in content if name != "__metadata__"])]
        tensor[random.choice(("dtype", "shape", "data_offsets"))] = hostile(random, tensor)
        head = json.dumps(content).encode()
    else:
        return _model(inputs, "model.safetensors", byte_edit(random, data[:8]) + byte_edit(random, data[8:]))
    size = random.choice((len(head), len(head), len(head), len(head) + 1, 0, 2**62, 2**64 - 1, 10**8))
    return _model(inputs, "model.safetensors", size.to_bytes(8, "little") + head + rest)


def study_folder(inputs: Inputs, random: Random) -> Callable[[], object]:
    source = inputs.study
    names = ["study.json", "tasks.json", "index.json", "similarity.json", "summary.json", "summary.json"]
    points_ = sorted(path.relative_to(source).as_posix() for path in source.glob("points/*/scores.json"))
    samples = sorted(path.relative_to(source).as_posix() for path in source.glob("points/m0-*/samples_*"))
    name = random.choice([*names, random.choice(points_), points_[0], random.choice(samples)])
    text = (source / name).read_text()
    if name in samples:
        lines = text.splitlines()
        data = damaged_json(random, lines[0]) + "\n".join(["", *lines[1:]]).encode()
    else:
        data = damaged_json(random, text)
    folder = inputs.damaged_copy(source, name, data)

    def read() -> None:
        results = load_results(folder)
        results.require_results([*results.singles, *results.chosen])
        studies.page_of(folder).encode()
        bootstrap(list(results.report.values()), 20, 0)
        assert results.selection and results.study.source not in GENERATED

    return read


def sample_text(inputs: Inputs, random: Random) -> Callable[[], object]:
    """The same with edits of deeper values, whose types the page's templates rely on."""
    source = inputs.study
    content = json.loads((source / "summary.json").read_text())
    part = random.choice(
        (
            "models",
            "points",
            "tasks",
            "selected",
            "combinations",
            "ship",
            "similarity",
            "verdict",
            "selection",
        )
    )
    content[part] = edits(random, content[part])
    folder = inputs.damaged_copy(source, "summary.json", json.dumps(content).encode("utf-8", "surrogatepass"))
    return lambda: studies.page_of(folder).encode()


TARGETS: dict[str, tuple[Callable[[Inputs, Random], Callable[[], object]], int]] = {
    "recipe": (recipe, 450),
    "override": (override, 150),
    "study file": (study_file, 450),
    "manifest": (manifest, 200),
    "rows": (rows, 150),
    "config": (model_config, 150),
    "tokenizer": (tokenizer, 100),
    "shards": (shards, 50),
    "header": (header, 100),
    "study folder": (study_folder, 120),
    "summary": (sample_text, 80),
}
assert sum(cases for _, cases in TARGETS.values()) == 2000
