"""Live models in, scores out: tasks, requests and the host's objects are made once for a whole study."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from mergekit_finance.evaluation.harness import Harness, quiet_hosts
from mergekit_finance.evaluation.truncation import truncated

if TYPE_CHECKING:
    from lm_eval.models.huggingface import HFLM
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FEWSHOT_SEED = 1234  # lm_eval's default
Results = dict[str, Any]


@dataclass
class Meter:
    """A harness that is asked many times: `measure` gives lm-eval's results and samples for a live model."""

    harness: Harness
    max_gen_toks: int | None = None
    quiet: bool = False  # without the bars of lm-eval's requests
    _cut: dict[tuple[str, int], dict[str, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        quiet_hosts()
        for task in self.harness.loaded["tasks"].values():
            _settle(task, self.max_gen_toks)
            task.build_all_requests = _Once(task)

    def host(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> "HFLM":
        """lm-eval's wrapper; it sees every later change of the model's parameters."""
        from lm_eval.models.huggingface import HFLM

        batch, device = self.harness.batch_size, self.harness.device
        host = HFLM(pretrained=model.to(device), tokenizer=tokenizer, batch_size=batch)
        if self.quiet:
            for name in ("loglikelihood", "generate_until"):
                setattr(host, name, partial(getattr(host, name), disable_tqdm=True))
        return host

    def measure(self, host: "HFLM", name: str) -> tuple[Results, float]:
        """lm-eval's results and samples, and the seconds that its evaluation took."""
        from lm_eval.evaluator import evaluate

        started = time.monotonic()
        tasks = {"tasks": self.harness.loaded["tasks"], "groups": {}}
        with _bars():
            results = evaluate(lm=host, task_dict=tasks, limit=self.harness.limit, bootstrap_iters=0)
        seconds = time.monotonic() - started
        results["config"] = {"model": "hf", "model_args": {"pretrained": name}}
        results["truncated_prompts"] = self._truncated(results["samples"], host)
        return results, seconds

    def _truncated(self, samples: Mapping[str, Sequence[Any]], host: "HFLM") -> dict[str, int]:
        """Prompts are the same for every model of a study, so their count is made once a tokenizer."""
        known = (host.tokenizer.name_or_path, host.max_length)
        if known not in self._cut:
            self._cut[known] = truncated(samples, host.tokenizer, host.max_length)
        return self._cut[known]


class _Once:
    """Builds a task's requests at the first call; later ones get the same, with no answers in them."""

    def __init__(self, task: Any) -> None:
        self.task, self.build, self.asked = task, task.build_all_requests, None

    def __call__(self, **asked: Any) -> None:
        if self.asked != asked:
            self.build(**asked)
            self.asked = asked
        for instance in self.task.instances:
            instance.resps, instance.filtered_resps = [], {}


@contextmanager
def _bars() -> Iterator[None]:
    """lm-eval's bars beside a study's: none for a task's requests (there is no switch for it), and those of a
    model, where they are wanted, on the line below the study's; they go when they are done."""
    from lm_eval.api import model, task
    from lm_eval.models import huggingface

    below = {"position": 1, "leave": False}
    changes = {task: {"disable": True}, model: below, huggingface: below}
    before = {module: module.tqdm for module in changes}
    for module, settings in changes.items():
        module.tqdm = partial(before[module], **settings)
    try:
        yield
    finally:
        for module, bar in before.items():
            module.tqdm = bar


def _settle(task: Any, max_gen_toks: int | None) -> None:
    """What lm_eval's simple_evaluate settles before it evaluates."""
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    if max_gen_toks and task.get_config("output_type") == "generate_until":
        own = (task.get_config("generation_kwargs") or {}).get("max_gen_toks", max_gen_toks)
        task.set_config(key="generation_kwargs", value={"max_gen_toks": min(own, max_gen_toks)}, update=True)


def item_scores(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, list[Any]]]:
    """Per task, in the rows' order: item and cluster ids, what `score` aggregates, right or wrong,
    and how many options there were to choose from (0: the answer is written)."""
    return {task: _columns(task, rows) for task, rows in sorted(samples.items())}


def _columns(task: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    ordered = sorted(rows, key=lambda row: row["doc_id"])
    columns: dict[str, list[Any]] = {"items": [], "clusters": [], "score": [], "correct": [], "options": []}
    for row in ordered:
        doc = row["doc"] if isinstance(row["doc"], Mapping) else {}
        item = str(doc.get("item_id", row["doc_hash"]))
        columns["items"].append(item)
        columns["clusters"].append(str(doc.get("cluster_id", item)))
        columns["score"].append(row["score"])
        columns["options"].append(len(row["arguments"]) if len(row["arguments"]) > 1 else 0)
        columns["correct"].append(float(row.get("correct", _right(row["score"]))))
    return columns


def _right(score: Any) -> float:
    """A task of somebody else's may report no `correct`: a score of one is right."""
    return float(isinstance(score, int | float) and score >= 1)
