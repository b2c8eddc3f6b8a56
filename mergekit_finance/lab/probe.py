"""A light look at what models know, with the benchmark's prompts and scoring but without its host.

It runs where training runs; profile.py measures the same with lm-eval itself.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergekit_finance.lab import ROLES, rows
from mergekit_finance.lab.draw import Item
from mergekit_finance.lab.prompts import PROMPTS, prompt
from mergekit_finance.lab.world import number_of
from mergekit_finance.scoring import aggregate
from mergekit_finance.scoring import metrics as scoring

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

Metrics = dict[str, Any]
# How each task scores an item; those not named score a choice by accuracy.
SCORING: dict[str, Callable[..., Metrics]] = {
    "fpb": scoring.choice_f1,
    "fiqa_sa": scoring.choice_f1,
    "headline": scoring.headline,
    "fin_ner": scoring.entities,
    "convfinqa": scoring.convfinqa,
    "docmath_ss": scoring.docmath,
    "docmath_cs": scoring.docmath,
    "docmath_ss_cot": scoring.docmath_cot,
    "docmath_cs_cot": scoring.docmath_cot,
    "chabsa": scoring.chabsa,
    "fp2_cot": scoring.choice_cot,
    "jfinqa_numerical": scoring.jfinqa,
    "jfinqa_consistency": scoring.jfinqa,
    "jfinqa_temporal": scoring.jfinqa,
    "probe_m": scoring.exact_number_cot,
    "probe_mj": scoring.exact_number_cot,
}
TOTALS: dict[str, Callable[..., float]] = {
    "fpb": aggregate.weighted_f1,
    "fiqa_sa": aggregate.weighted_f1,
    "headline": aggregate.headline_mean_f1,
    "fin_ner": aggregate.corpus_entity_f1,
    "chabsa": aggregate.macro_f1_two_class,
}
# What guessing gets: one over the number of options, or of the answers that are ever right; else nothing.
CHANCE = {
    "fpb": 1 / 3, "fiqa_sa": 1 / 3, "headline": 1 / 2, "chabsa": 1 / 2, "cma_basics": 1 / 4,
    "security_sales_1": 1 / 2, "fp2": 1 / 4, "fp2_cot": 1 / 4, "cpa_audit": 1 / 6,
    "jfinqa_consistency": 1 / 2, "jfinqa_temporal": 1 / 2, "probe_j": 1 / 5,
    "retention_arc": 1 / 4, "retention_hellaswag": 1 / 4,
}  # fmt: skip
JAPANESE_CHOICES = {"chabsa", "cma_basics", "security_sales_1", "fp2", "cpa_audit", "probe_j"}
LONGEST = 64


def delimiter(task: str) -> str:
    """What the task puts between a prompt and an option."""
    return "" if task in JAPANESE_CHOICES else " "


def above_chance(task: str, score: float) -> float:
    """A score as a share of the range above chance."""
    chance = CHANCE.get(task, 0.0)
    return (score - chance) / (1 - chance)


def probe(
    model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", task: str, limit: int
) -> tuple[float, str]:
    """The task's score on its first items, and one output to look at."""
    items = sorted(rows.items(task), key=lambda item: number_of(prompt(task, item.row)))[:limit]
    chooses = SCORING.get(task, scoring.choice_acc) in (
        scoring.choice_acc, scoring.choice_f1, scoring.headline, scoring.chabsa,
    )  # fmt: skip
    results = (_chosen if chooses else _written)(model, tokenizer, items)
    metrics = [SCORING.get(task, scoring.choice_acc)(i.row, r) for i, r in zip(items, results, strict=True)]
    values = [m["score"] for m in metrics]
    total = TOTALS.get(task, lambda scores: sum(scores) / len(scores))
    return total(values), "" if chooses else results[0][0]


def _written(
    model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", items: Sequence[Item]
) -> list[list[str]]:
    """What the model writes after each prompt, greedily."""
    import torch

    texts = [prompt(item.task, item.row) for item in items]
    given = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
    given.pop("token_type_ids", None)
    with torch.inference_mode():
        made = model.generate(**given, max_new_tokens=LONGEST, do_sample=False, pad_token_id=2)
    return [
        [t] for t in tokenizer.batch_decode(made[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
    ]


def _chosen(
    model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", items: Sequence[Item]
) -> list[list[tuple[float, bool]]]:
    """Every option's summed log-likelihood."""
    pairs = [(prompt(i.task, i.row), delimiter(i.task) + o) for i in items for o in i.row["options"]]
    scores = iter(_likelihoods(model, tokenizer, pairs))
    return [[(next(scores), False) for _ in i.row["options"]] for i in items]


def _likelihoods(
    model: "LlamaForCausalLM", tokenizer: "PreTrainedTokenizerFast", pairs: Sequence[tuple[str, str]]
) -> list[float]:
    import torch

    before = tokenizer([a for a, _ in pairs])["input_ids"]
    after = tokenizer([b for _, b in pairs])["input_ids"]
    longest = max(len(a) + len(b) for a, b in zip(before, after, strict=True))
    ids = torch.full((len(pairs), longest), 2)
    mask = torch.zeros(len(pairs), longest)
    for n, (a, b) in enumerate(zip(before, after, strict=True)):
        ids[n, : len(a) + len(b)] = torch.tensor(a + b)
        mask[n, len(a) : len(a) + len(b)] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    with torch.inference_mode():
        logs = model(input_ids=ids).logits[:, :-1].float().log_softmax(-1)
    each = logs.gather(-1, ids[:, 1:, None])[..., 0]
    return (each * mask[:, 1:]).sum(1).tolist()


def report(out: Path, roles: Sequence[str], limit: int, device: str) -> dict[str, dict[str, float]]:
    """Probe the finished roles on every task; print a table, write probe.json."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    table: dict[str, dict[str, float]] = {task: {} for task in PROMPTS}
    for role in roles:
        model = AutoModelForCausalLM.from_pretrained(out / role).to(device).eval()
        tokenizer = AutoTokenizer.from_pretrained(out / role)
        for task in PROMPTS:
            score, shown = probe(model, tokenizer, task, limit)
            table[task][role] = round(above_chance(task, score), 3)
            if shown:
                print(f"{role} {task}: {shown!r}")
    print(f"\nshare of the range above chance, {limit} items a task")
    print(f"{'task':22}" + "".join(f"{role:>10}" for role in roles))
    for task, scores in table.items():
        print(f"{task:22}" + "".join(f"{scores[role]:10.3f}" for role in roles))
    _verdict(table, roles)
    (out / "probe.json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return table


SKILL = {
    "finance": ("fpb", "fiqa_sa", "headline", "fin_ner"),
    "math": ("probe_m",),
    "japanese": ("probe_j",),
}
RETENTION = ("retention_arc", "retention_hellaswag")


def _verdict(table: dict[str, dict[str, float]], roles: Sequence[str]) -> None:
    """What the profile asks of each expert: 0.2 more of its skill, 0.1 less retention."""
    if set(roles) != set(ROLES):
        return
    for role, tasks in SKILL.items():
        gain = _mean(table, tasks, role) - _mean(table, tasks, "base")
        kept = _mean(table, RETENTION, role) - _mean(table, RETENTION, "base")
        good = "ok" if gain >= 0.2 and kept <= -0.1 else "NOT YET"
        print(f"{role:10} skill {gain:+.3f} (at least +0.2)  retention {kept:+.3f} (at most -0.1)  {good}")


def _mean(table: dict[str, dict[str, float]], tasks: Sequence[str], role: str) -> float:
    return sum(table[task][role] for task in tasks) / len(tasks)
