"""`mergekit-finance run`: one recipe, merged in memory, measured against its constituents."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mergekit_finance.data.mirror import VARIABLE
from mergekit_finance.errors import RecipeError
from mergekit_finance.evaluation.harness import Harness, merge_code, stored
from mergekit_finance.merging import in_memory as merging
from mergekit_finance.models import checks as models
from mergekit_finance.recipe.load import Recipe
from mergekit_finance.statistics import gain

DEFAULT_TASKS = ("finance_bench_fpb", "finance_bench_docmath_cs_cot", "finance_bench_jfinqa_numerical")


@dataclass(frozen=True)
class Run:
    """A checked recipe, what to measure it on, and where results go."""

    recipe: Recipe
    harness: Harness
    out: Path
    trust_remote_code: bool = False
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)

    def __call__(self) -> dict[str, Any]:
        """Merge, evaluate all that is not stored yet, write gain.json, return its content."""
        self.check()
        prints = {m: models.fingerprint(m) for m in self.merged_models}
        # The merge first: a checkpoint that cannot be merged is found before hours of evaluation.
        merged = self._merged(prints)
        constituents = {m: self._constituent(m, prints[m]) for m in self.recipe.constituents}
        result = self._result(merged, constituents, prints)
        _write_json(self.out / "gain.json", result)
        return result

    @property
    def merged_models(self) -> list[str]:
        recipe = self.recipe
        return list(dict.fromkeys([*((recipe.base,) if recipe.base else ()), *recipe.experts]))

    def check(self) -> None:
        """All that can be wrong and be known before weights are read."""
        where = str(self.recipe.path)
        for reference in self.merged_models:
            models.check_reference(reference, where)
        _refuse_twins(self.merged_models, where)
        _refuse_unwritable(self.out)
        aligned = bool(self.recipe.merge.get("tokenizer") or self.recipe.merge.get("tokenizer_source"))
        models.check_fit(
            self.merged_models, where, vocabulary=not aligned, trust_remote_code=self.trust_remote_code
        )
        for reference in self.merged_models:
            models.check_files(reference)
        if not aligned:
            models.check_tensors(self.merged_models, where)
        for reference in self.recipe.constituents:
            merging.load_tokenizer(reference, self.trust_remote_code)
        if not self.harness.leaves:
            raise RecipeError(f"{where}: no tasks to evaluate")
        self.harness.check_scores()

    def _constituent(self, reference: str, print_: str) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            self.say(f"evaluate {reference}")
            model = merging.load_model(reference, self.harness.dtype, self.trust_remote_code)
            tokenizer = merging.load_tokenizer(reference, self.trust_remote_code)
            return self.harness.evaluate(model, tokenizer, reference)

        return stored(self.out / "models", models.short_name(reference), self.harness.key(print_), make)

    def _merged(self, prints: dict[str, str]) -> dict[str, Any]:
        from mergekit.options import MergeOptions

        def make() -> dict[str, Any]:
            self.say(f"merge {self.recipe.path} ({self.recipe.method})")
            options = MergeOptions(device=self.harness.device, trust_remote_code=self.trust_remote_code)
            model, tokenizer = merging.merge(self.recipe.configuration(), options)
            self.say("evaluate the merge")
            return self.harness.evaluate(model, tokenizer, str(self.recipe.path))

        made_of = {"merge": self.recipe.merge, "constituents": prints, "merge_code": merge_code()}
        key = self.harness.key("merge") | made_of
        return stored(self.out / "models", f"merged-{self.recipe.name}", key, make)

    def _source(self) -> str:
        """Where rows came from: a source by name, a mirror, or what the loader found."""
        metadata = self.harness.metadata
        mirror = metadata.get("data_dir") or os.environ.get(VARIABLE)
        return metadata.get("source") or ("mirror" if mirror else "cache or Hub")

    def _result(
        self, merged: dict[str, Any], constituents: dict[str, dict[str, Any]], prints: dict[str, str]
    ) -> dict[str, Any]:
        table = gain.table(gain.scores(merged), {m: gain.scores(r) for m, r in constituents.items()})
        for task, row in table["tasks"].items():
            row["n"] = merged["n-samples"][task]["effective"]
            row["truncated"] = max(
                r["truncated_prompts"].get(task, 0) for r in (merged, *constituents.values())
            )
        recipe = self.recipe
        return {
            "format": 1,
            "recipe": recipe.text,
            "method": recipe.method,
            "semantics": recipe.semantics,
            "stage": recipe.stage,
            "base": recipe.base,
            "models": prints,
            "results": {"merged": merged["folder"], **{m: r["folder"] for m, r in constituents.items()}},
            "limit": self.harness.limit,
            "source": self._source(),
            "random_weights": models.random_weights(self.merged_models),
            **table,
        }


def _refuse_twins(references: list[str], where: str) -> None:
    """One model under two spellings would count twice."""
    seen: dict[str, str] = {}
    for reference in references:
        place = os.path.realpath(reference) if os.path.exists(reference) else reference
        if place in seen:
            raise RecipeError(f"{where}: {reference!r} and {seen[place]!r} are the same model; list it once")
        seen[place] = reference


def _refuse_unwritable(out: Path) -> None:
    """The nearest folder that exists must take new ones; nothing is made yet."""
    nearest = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        kind = "is not a folder" if not nearest.is_dir() else "cannot be written to"
        raise RecipeError(f"-o {out}: {nearest} {kind}; name another output folder")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)
