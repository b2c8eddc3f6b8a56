"""Valid inputs of every kind that the package reads, small, made once a process: what the fuzzer damages."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from helpers.inputs import mkf
from helpers.similarity_file import similarity_content
from helpers.tiny_models import make_family
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.evaluation.digest import digest
from mergekit_finance.files import bundled, write_json
from mergekit_finance.plugins.manager import datasets
from mergekit_finance.share import card
from mergekit_finance.study import config
from mergekit_finance.study.analysis.summary import answer
from mergekit_finance.study.points import Point, point_entry, points
from mergekit_finance.study.results import load_results
from mergekit_finance.study.store import SUMS, sums

SAMPLES = Path(__file__).resolve().parents[2] / "mergekit_finance" / "data" / "samples"
FINGERPRINTS = {"base": "0" * 64, "finance": "1" * 64, "math": "2" * 64}
TASKS = ("finance_bench_fpb", "finance_bench_docmath_cs")
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
TEMPLATE = "{% for m in messages %}{{ bos_token }}{{ m['role'] | upper }}: {{ m['content'] }}\n{% endfor %}"

BLOCK = {"weight": 1.0, "density": 0.5}
RECIPES: list[dict[str, Any]] = [
    {
        "merge_method": "cpt_ties", "base_model": {"model": {"path": "o/b", "revision": "main"}},
        "models": [{"model": "o/e", "parameters": {"weight": [0.1, 0.9], "density": [{"filter": "mlp", "value": 0.3}, {"value": 0.5}], "mask_id": "e"}}, {"model": "o/f@v1"}],
        "parameters": {"lambda": 0.5, "semantics": "mergekit", "similarity": True}, "dtype": "float32", "out_dtype": "bfloat16",
        "tokenizer": {"source": "union", "tokens": {"<x>": {"source": "o/e", "force": True}}}, "chat_template": "auto",
        "finance": {"stage": 2, "constituents": ["o/e", "o/f@v1"], "tasks": "finance_bench_fpb,finance_bench", "citation": "x"},
    },
    {
        "merge_method": "linear", "dtype": "float32",
        "slices": [{"sources": [{"model": "o/a", "layer_range": [0, 1], "parameters": {"weight": 1.0}}, {"model": "o/b", "layer_range": [0, 1], "parameters": {"weight": 1.0}}]}],
    },
    {
        "merge_method": "dare_ties", "base_model": "o/b",
        "modules": {"text": {"slices": [{"sources": [{"model": "o/e", "layer_range": [0, 2], "parameters": BLOCK}, {"model": "o/b", "layer_range": [0, 2]}]}]}},
        "parameters": {"int8_mask": True, "normalize": True, "rescale": True}, "tokenizer_source": "base", "finance": {"seed": 3},
    },
    {"merge_method": "slerp", "base_model": "o/b", "models": [{"model": "o/b"}, {"model": "o/e"}], "parameters": {"t": 0.5}},
]  # fmt: skip
STUDY: dict[str, Any] = {
    "name": "full", "base": "o/b", "base_license": "mit",
    "experts": {"finance": {"model": "o/f", "skills": ["finance"], "license": "mit"}, "math": {"model": "o/m@v1", "skills": "math"}},
    "operators": {
        "task_arithmetic": {"lambda": [0.1, 0.5], "start": {"lambda": 0.5}}, "ties": {"density": [0.2], "lambda": [1.0]},
        "dare_ties": {"density": [0.2, 0.4], "lambda": 1.0, "seeds": [0, 1], "start": {"density": 0.2}},
    },
    "semantics": "paper", "stages": [1, 2], "chain": "best", "tasks": ["finance_bench_fpb", "finance_bench_headline"],
    "retention": "finance_bench_retention_arc", "probes": ["finance_bench_probe_m"],
    "named": {"finance+math": ["finance_bench_fpb"]},
    "source": "lab", "data_dir": "x", "limit": 8, "selection": {"share": 0.3, "seed": 0, "same_items": False},
    "evaluation": {"device": "cpu", "dtype": "auto", "batch_size": 8, "max_gen_toks": 8, "threads": 1, "samples": "all"},
    "executor": "local", "workers": 2, "out_dtype": "bfloat16", "resamples": 200, "seed": 0,
}  # fmt: skip


@dataclass
class Inputs:
    """Valid inputs below `folder`. `out` is the only folder that a command under test may write to."""

    folder: Path

    @cached_property
    def out(self) -> Path:
        (self.folder / "out").mkdir()
        return self.folder / "out"

    def digest(self) -> str:
        """Return a hash of every file but those in `out`."""
        files = sorted(p for p in self.folder.rglob("*") if p.is_file() and not p.is_relative_to(self.out))
        return hashlib.sha256(repr([(str(p), p.read_bytes()) for p in files]).encode()).hexdigest()

    @cached_property
    def recipes(self) -> list[str]:
        """Recipes of the lab, as if on the Hub, of other methods and forms, and one whose models are there."""
        folder = bundled("recipes") / "lab"
        texts = [path.read_text().replace("./lab/", "lab/") for path in sorted(folder.glob("stage*.yml"))]
        local = {
            "merge_method": "cpt_task_arithmetic",
            "base_model": str(self.models / "base"),
            "models": [{"model": str(self.models / "math")}],
            "parameters": {"lambda": 0.5},
            "dtype": "float32",
        }
        return texts + [yaml.safe_dump(content, sort_keys=False) for content in [*RECIPES, local]]

    @cached_property
    def studies(self) -> list[str]:
        """The lab's study, one with every key, and one whose models are there."""
        lab = (bundled("recipes") / "lab" / "study.yml").read_text().replace("./lab/", "lab/")
        local = {
            "base": str(self.models / "base"),
            "experts": {"math": {"model": str(self.models / "math"), "skills": ["math"]}},
            "operators": {"task_arithmetic": {"lambda": 0.5}},
            "stages": [1],
            "tasks": ["finance_bench_fpb"],
            "source": "sample",
        }
        return [lab, yaml.safe_dump(STUDY, sort_keys=False), yaml.safe_dump(local, sort_keys=False)]

    @cached_property
    def models(self) -> Path:
        """`base` and its expert `math`; `sharded` and `pickled` are `math` in other files."""
        folder = self.folder / "models"
        make_family(folder, ("base", "math"), hidden=16, layers=1)
        (folder / "math" / "chat_template.jinja").write_text(TEMPLATE)
        (folder / "math" / "special_tokens_map.json").write_text(
            '{"bos_token": "<s>", "pad_token": {"content": "<pad>", "lstrip": false}}'
        )
        weights = load_file(folder / "math" / SINGLE)
        for name in ("sharded", "pickled"):
            shutil.copytree(folder / "math", folder / name, ignore=shutil.ignore_patterns(SINGLE))
        half = len(weights) // 2
        shards = {f"model-0000{n}-of-00002.safetensors": dict(part) for n, part in enumerate((list(weights.items())[:half], list(weights.items())[half:]), 1)}  # fmt: skip
        for name, tensors in shards.items():
            save_file(tensors, folder / "sharded" / name, {"format": "pt"})
        weight_map = {tensor: name for name, tensors in shards.items() for tensor in tensors}
        write_json(folder / "sharded" / INDEX, {"metadata": {"total_size": 1}, "weight_map": weight_map})
        torch.save(weights, folder / "pickled" / "pytorch_model.bin")
        return folder

    @cached_property
    def mirror(self) -> Path:
        """A mirror of two files each of three datasets."""
        mirror = Mirror(self.folder / "mirror")
        for dataset in list(datasets().values())[:3]:
            for file in dataset.adopts[:2]:
                path = self.folder / "row.jsonl"
                path.write_text('{"a": 1}\n')
                mirror.add(path, dataset, file.model_copy(update={"sha256": "unverified"}), "x")
        mirror.save()
        return mirror.folder

    @cached_property
    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """The sample rows of every dataset, as its adapter makes them of its file's name."""
        paths = sorted(SAMPLES.glob("*.jsonl"))
        return {
            path.name.split(".")[0]: rows_of([Place(path, path.name, path.name.split(".")[1], "test")])
            for path in paths
        }

    @cached_property
    def study(self) -> Path:
        """A finished study of two experts, from made-up scores, with the hashes that `card` compares."""
        return _finished_study(self.folder / "study", self.models)

    @cached_property
    def card(self) -> Path:
        """The card of the study's recommended point, without figures, which take seconds."""
        folder = self.folder / "card"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(card, "_write_figures", lambda results, folder: {})
            done = mkf("card", self.study, "-o", folder, "--samples")
        assert done.exit_code == 0, done.output
        return folder


def _finished_study(out: Path, models: Path) -> Path:
    study = config.parse_study(
        {
            "name": "tiny",
            "base": str(models / "base"),
            "base_license": "apache-2.0",
            "experts": {name: {"model": f"lab/{name}", "skills": name, "license": "mit"} for name in ("finance", "math")},
            "operators": {"task_arithmetic": {"lambda": [0.4, 0.8]}, "ties": {"density": [0.5]}},
            "stages": [1, 2], "tasks": list(TASKS), "retention": "finance_bench_retention_arc", "resamples": 200,
        },
        "study.yml",
    )  # fmt: skip
    plans = [point for stage in study.stages for point in points(study, stage)]
    references = {"base": study.base} | {name: expert.model for name, expert in study.experts.items()}
    keys: dict[str, dict[str, Any]] = {
        **{name: {"model": FINGERPRINTS[name]} for name in references},
        **{
            point.name: {"merge": _measured(point, references), "versions": {"torch": "2"}} for point in plans
        },
    }
    folders = {name: f"{name}-{digest(key)}" for name, key in keys.items()}
    info = {"kind": "tasks", "dataset": "d", "aggregation": "mean", "version": "1", "generates": True, "license": "MIT", "text_may_be_shared": True}  # fmt: skip
    tasks = {task: {**info, "skills": skills} for task, skills in zip(TASKS, (["finance"], ["finance", "math"]), strict=True)}  # fmt: skip
    tasks["finance_bench_retention_arc"] = {**info, "kind": "retention", "skills": []}
    for seed, (name, key) in enumerate(keys.items()):
        _store(out / "points" / folders[name], key, list(tasks), seed)
    rows = {n: {"reference": r, "fingerprint": FINGERPRINTS[n], "folder": folders[n]} for n, r in references.items()}  # fmt: skip
    entries = [point_entry(point, folders[point.name]).as_json() for point in plans]
    similarity = _similarity(study.base, list(references.values())[1:])
    write_json(out / "study.json", {"format": 1, "study": config.dump(study), "limit": None})
    write_json(out / "tasks.json", json.loads(json.dumps(tasks)))
    write_json(out / "index.json", {"format": 1, "models": rows, "points": entries})
    write_json(out / "similarity.json", json.loads(json.dumps(similarity)))
    results = load_results(out, finished=False)
    write_json(out / "summary.json", answer(results, results.similarity).as_json())
    return out


def _measured(point: Point, references: dict[str, str]) -> dict[str, Any]:
    """A point's recipe with fingerprints in place of models, as key.json has it."""
    fingerprints = {reference: FINGERPRINTS[name] for name, reference in references.items()}
    recipe: dict[str, Any] = json.loads(json.dumps(point.recipe()))
    recipe["base_model"] = fingerprints[recipe["base_model"]]
    for entry in recipe["models"]:
        entry["model"] = fingerprints[entry["model"]]
    return recipe


def _store(place: Path, key: dict[str, Any], tasks: list[str], seed: int, items: int = 12) -> None:
    """Write the folder of one model's results."""
    scores = {}
    for n, task in enumerate(tasks):
        right = [float(value) for value in np.random.default_rng([seed, n]).random(items) < 0.4 + 0.02 * seed]
        ids = [f"item-{i}" for i in range(items)]
        scores[task] = {"items": ids, "clusters": ids, "score": right, "correct": right, "options": [0] * items}  # fmt: skip
        rows = [_sample(i, ids[i], task) for i in range(items)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"samples_{task}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    results = {"results": {task: {"score,none": 0.5, "score_stderr,none": 0.1} for task in tasks}, "task_hashes": {}, "truncated_prompts": {}, "configs": {task: {"metadata": {"version": 1}} for task in tasks}}  # fmt: skip
    for name, content in (("scores", scores), ("results", results), ("key", key), ("timings", {"merge": 0.1, "evaluate": 1.0})):  # fmt: skip
        write_json(place / f"{name}.json", content)
    if "merge" in key:
        (place / "recipe.yml").write_text(yaml.safe_dump(key["merge"]))
    write_json(place / SUMS, sums(place))


def _sample(i: int, item: str, task: str) -> dict[str, Any]:
    return {
        "doc_id": i, "doc": {"item_id": item}, "target": f"gold of {task}", "doc_hash": "abc" * 20,
        "arguments": {"gen_args_0": {"arg_0": f"what is it? {i}", "arg_1": {}}}, "resps": [["42"]], "filtered_resps": ["42"],
    }  # fmt: skip


def _similarity(base: str, experts: list[str]) -> dict[str, Any]:
    pairs = [{"a": base, "b": e, "l2": 5.0, "cosine": 0.9} for e in experts]
    pairs.append({"a": experts[0], "b": experts[1], "l2": 7.0, "cosine": 0.8})
    vectors = [{"a": experts[0], "b": experts[1], "cosine": 0.1, "sign_conflicts": 0.48}]
    return {"key": {}} | similarity_content(base, experts, pairs, vectors, layers=2)
