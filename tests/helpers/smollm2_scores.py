"""Random scores of a base, nine experts and their merges, as the SmolLM2 study stores them."""

from itertools import product

import numpy as np

from helpers.smollm2_study import corpora, data, points
from mergekit_finance.similarity.measured import Similarity
from mergekit_finance.study.schema import Columns, TaskInfo

FACTS = {
    "finance_bench_fpb": ("tasks", ["finance"], "weighted_f1"),
    "finance_bench_chabsa": ("tasks", ["finance", "japanese"], "macro_f1_two_class"),
    "finance_bench_convfinqa": ("tasks", ["finance", "math"], "mean"),
    "finance_bench_probe_m": ("probes", ["math"], "mean"),
    "finance_bench_probe_j": ("probes", ["japanese"], "mean"),
    "finance_bench_retention_arc": ("retention", [], "mean"),
    "smollm2_text_finance": ("probes", ["finance"], "bits_per_byte"),
    "smollm2_text_math": ("probes", ["math"], "bits_per_byte"),
    "smollm2_text_general": ("probes", [], "bits_per_byte"),
}


def info(task):
    """The facts about a task."""
    kind, skills, aggregation = FACTS[task]
    bits = aggregation == "bits_per_byte"
    return TaskInfo(
        kind=kind, skills=skills, dataset=task, aggregation=aggregation, lower_is_better=bits,
        unit="bits_per_byte" if bits else "", generates=task.endswith("convfinqa"),
    )  # fmt: skip


def columns(score, correct, options=0, clusters=None):
    """The items of a task."""
    ids = [f"i{k}" for k in range(len(score))]
    return Columns(
        items=ids, clusters=clusters or ids, score=score, correct=correct, options=[options] * len(score)
    )


def right(answers, options=0):
    """The items of a task whose score is 1 for a right answer."""
    return columns([float(answer) for answer in answers], [float(answer) for answer in answers], options)


def random_columns(task, rng, skill, items=24):
    """Items of a task of which a model with this skill gets about the share `skill` right."""
    correct = [float(value) for value in rng.random(items) < skill]
    if task.startswith("smollm2_text"):
        return columns([[-100.0 + 40 * skill + rng.normal(), 50] for _ in range(items)], [0.0] * items)
    if task.endswith("fpb"):
        gold = ["positive", "neutral", "negative"]
        pairs = [[gold[k % 3], gold[k % 3] if c else gold[(k + 1) % 3]] for k, c in enumerate(correct)]
        return columns(pairs, correct, 3)
    if task.endswith("chabsa"):
        return columns([[k % 2, k % 2 if c else 1 - k % 2] for k, c in enumerate(correct)], correct, 2)
    return columns(correct, correct, 0 if task.endswith(("convfinqa", "probe_m")) else 4)


def study(items=24, kinds="abc"):
    """Scores of a whole study: base, experts, representatives' grids, and all merges at one setting."""
    rng = np.random.default_rng(0)
    names = [f"{domain}_{kind}" for kind in kinds for domain in corpora.DOMAINS]
    family = points.Family("base", {name: name for name in names})
    setting = points.FIRST[1]
    merges = [*family.at(dict.fromkeys(points.KINDS, setting)), *family.grid(points.FIRST)]
    seeds = [one for one in points.MORE if one[0] == "dare_ties"]
    merges += family.grid(seeds[1:])
    scores = data.Scores(
        settings=dict.fromkeys(points.KINDS, setting), tasks={task: info(task) for task in FACTS}
    )
    models = [data.Model("base"), *(data.Model(name) for name in names)]
    models += [data.Model(p.name, p.combination, p.operator, p.values) for p in merges]
    for model in models:
        skill = 0.3 + 0.1 * len(model.combination) + 0.2 * rng.random()
        scores.add(model, {task: random_columns(task, rng, skill, items) for task in FACTS})
    return scores


def similarity(names, layers=2):
    """Random similarity of a base and experts, in total and by layer."""
    rng = np.random.default_rng(1)

    def entry():
        everything = ["base", *names]
        pairs = [(a, b) for a, b in product(everything, everything) if a < b]
        return {
            "elements": 10,
            "norms": {},
            "pairs": [
                {"a": a, "b": b, "l2": float(rng.random()), "cosine": float(rng.random())} for a, b in pairs
            ],
            "task_vectors": {n: {"norm": float(rng.random()), "relative_norm": 0.1} for n in names},
            "task_vector_pairs": [
                {"a": a, "b": b, "cosine": float(rng.random()), "sign_conflicts": float(rng.random())}
                for a, b in pairs
                if "base" not in (a, b)
            ],
        }

    return Similarity.model_validate(
        {
            "format": 1, "base": "base", "models": list(names), "everything": True, "skipped": [], "total": entry(),
            "layers": {str(k): entry() for k in range(layers)}, "modules": {}, "tensors": {},
        }
    )  # fmt: skip
