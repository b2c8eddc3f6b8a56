"""A quick test of the models with the benchmark's prompts and scoring functions, without lm-eval.

It needs only what training needs. profile.py evaluates the models with lm-eval.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from mergekit_finance.files import write_json
from mergekit_finance.lab import ROLES, generated_rows
from mergekit_finance.lab.draw import Item
from mergekit_finance.lab.world import stable_number
from mergekit_finance.scoring import aggregate, metrics

from .prompts import PROMPTS, prompt

# The scoring function of each task. The other tasks have options and are scored by accuracy.
SCORING: dict[str, Callable[..., dict[str, Any]]] = {
    "fpb": metrics.choice_f1,
    "fiqa_sa": metrics.choice_f1,
    "headline": metrics.headline,
    "fin_ner": metrics.entities,
    "convfinqa": metrics.convfinqa,
    "docmath_ss": metrics.docmath,
    "docmath_cs": metrics.docmath,
    "docmath_ss_cot": metrics.docmath_cot,
    "docmath_cs_cot": metrics.docmath_cot,
    "chabsa": metrics.chabsa,
    "fp2_cot": metrics.choice_cot,
    "jfinqa_numerical": metrics.jfinqa,
    "jfinqa_consistency": metrics.jfinqa,
    "jfinqa_temporal": metrics.jfinqa,
    "probe_m": metrics.exact_number_cot,
    "probe_mj": metrics.exact_number_cot,
}
# The function that computes a task's score from the scores of its items. The other tasks use the mean.
TOTALS: dict[str, Callable[..., float]] = {
    "fpb": aggregate.weighted_f1,
    "fiqa_sa": aggregate.weighted_f1,
    "headline": aggregate.headline_mean_f1,
    "fin_ner": aggregate.corpus_entity_f1,
    "chabsa": aggregate.macro_f1_two_class,
}
# The score of guessing: 1 / number of options, or 1 / number of different answers. Zero for the other tasks.
CHANCE = {
    "fpb": 1 / 3, "fiqa_sa": 1 / 3, "headline": 1 / 2, "chabsa": 1 / 2, "cma_basics": 1 / 4,
    "security_sales_1": 1 / 2, "fp2": 1 / 4, "fp2_cot": 1 / 4, "cpa_audit": 1 / 6,
    "jfinqa_consistency": 1 / 2, "jfinqa_temporal": 1 / 2, "probe_j": 1 / 5,
    "retention_arc": 1 / 4, "retention_hellaswag": 1 / 4,
}  # fmt: skip
JAPANESE_CHOICES = {"chabsa", "cma_basics", "security_sales_1", "fp2", "cpa_audit", "probe_j"}
MAX_NEW_TOKENS = 112  # the longest correct answer has 95 tokens with its space and end
# The tasks of each expert's own skill alone.
SKILL = {
    "finance": ("fpb", "fiqa_sa", "headline", "fin_ner"),
    "math": ("probe_m",),
    "japanese": ("probe_j",),
}
RETENTION = ("retention_arc", "retention_hellaswag")

Scores = dict[str, dict[str, float]]  # task, role: score above chance


def delimiter(task: str) -> str:
    """Return the text between the prompt and an option of a task."""
    return "" if task in JAPANESE_CHOICES else " "


def above_chance(task: str, score: float) -> float:
    """Rescale a score linearly, so that guessing is 0 and all correct is 1."""
    chance = CHANCE.get(task, 0.0)
    return (score - chance) / (1 - chance)


def probe(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, task: str, limit: int
) -> tuple[float, str]:
    """Return the task's score on its first `limit` items in hash order, and one generated text.

    The text is empty for tasks with options.
    """
    items = sorted(generated_rows.items(task), key=lambda item: stable_number(prompt(task, item.row)))[:limit]
    score = SCORING.get(task, metrics.choice_acc)
    total = TOTALS.get(task, lambda scores: sum(scores) / len(scores))
    if score in (metrics.choice_acc, metrics.choice_f1, metrics.headline, metrics.chabsa):
        choices = _option_scores(model, tokenizer, items)
        return total([score(i.row, r)["score"] for i, r in zip(items, choices, strict=True)]), ""
    texts = _generated(model, tokenizer, items)
    return total([score(i.row, [t])["score"] for i, t in zip(items, texts, strict=True)]), texts[0]


def _generated(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, items: Sequence[Item]
) -> list[str]:
    """Generate greedily after each prompt."""
    texts = [prompt(item.task, item.row) for item in items]
    inputs = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left").to(model.device)
    inputs.pop("token_type_ids", None)
    with torch.inference_mode():
        output = model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, pad_token_id=2)
    return tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def _option_scores(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, items: Sequence[Item]
) -> list[list[tuple[float, bool]]]:
    """Return the summed log-likelihood of every option, in the form of lm-eval's responses."""
    pairs = [(prompt(i.task, i.row), delimiter(i.task) + o) for i in items for o in _options(i)]
    scores = iter(_log_likelihoods(model, tokenizer, pairs))
    return [[(next(scores), False) for _ in _options(i)] for i in items]


def _options(item: Item) -> list[str]:
    options = item.row["options"]
    assert isinstance(options, list)
    return [str(option) for option in options]


def _log_likelihoods(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[str, str]]
) -> list[float]:
    """Return the summed log-likelihood of the second text of each pair, given the first."""
    contexts = tokenizer([context for context, _ in pairs])["input_ids"]
    continuations = tokenizer([continuation for _, continuation in pairs])["input_ids"]
    longest = max(len(a) + len(b) for a, b in zip(contexts, continuations, strict=True))
    ids = torch.full((len(pairs), longest), 2)
    mask = torch.zeros(len(pairs), longest)
    for n, (a, b) in enumerate(zip(contexts, continuations, strict=True)):
        ids[n, : len(a) + len(b)] = torch.tensor(a + b)
        mask[n, len(a) : len(a) + len(b)] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    with torch.inference_mode():
        logs = model(input_ids=ids).logits[:, :-1].float().log_softmax(-1)
    per_token = logs.gather(-1, ids[:, 1:, None])[..., 0]
    return (per_token * mask[:, 1:]).sum(1).tolist()


def report(out: Path, roles: Sequence[str], limit: int, device: str) -> Scores:
    """Test the finished models on every task, print a table and write OUT/probe.json."""
    table: Scores = {task: {} for task in PROMPTS}
    for role in roles:
        model = AutoModelForCausalLM.from_pretrained(out / role).to(device).eval()
        tokenizer = AutoTokenizer.from_pretrained(out / role)
        for task in PROMPTS:
            score, text = probe(model, tokenizer, task, limit)
            table[task][role] = round(above_chance(task, score), 3)
            if text:
                print(f"{role} {task}: {text!r}")
    print(f"\nscores above chance (0: guessing, 1: all correct), {limit} items per task")
    print(f"{'task':22}" + "".join(f"{role:>10}" for role in roles))
    for task, scores in table.items():
        print(f"{task:22}" + "".join(f"{scores[role]:10.3f}" for role in roles))
    if set(roles) == set(ROLES):
        for role, (skill, retention) in changes(table).items():
            print(f"{role:10} against the base: own skill {skill:+.3f}, retention {retention:+.3f}")
    write_json(out / "probe.json", table, indent=1)
    return table


def changes(table: Scores) -> dict[str, tuple[float, float]]:
    """Return each expert's difference from the base: on its own tasks, and on the retention tasks."""
    return {role: change(table, role) for role in SKILL}


def change(table: Scores, role: str) -> tuple[float, float]:
    """Return the difference of one expert from the base: on its own tasks, and on the retention tasks."""

    def difference(tasks: Sequence[str]) -> float:
        return sum(table[task][role] - table[task]["base"] for task in tasks) / len(tasks)

    return difference(SKILL[role]), difference(RETENTION)
