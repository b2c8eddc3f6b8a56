"""Targets of the fuzzer (see fuzz_targets): folders of studies and cards, and answers of models."""

import gzip
import hashlib
import json
import math
import os
import shutil
from typing import Any

import pytest

from helpers.fuzz_guard import command
from helpers.fuzz_inputs import Inputs
from helpers.fuzz_targets import Case
from helpers.mutations import Damage
from mergekit_finance.data.registry import GENERATED
from mergekit_finance.evaluation.answer_store import read_folder
from mergekit_finance.files import sha256_file
from mergekit_finance.report.page import page
from mergekit_finance.scoring import aggregate, metrics
from mergekit_finance.share import card
from mergekit_finance.statistics.bootstrap import bootstrap
from mergekit_finance.study.results import load_results
from mergekit_finance.study.store import Store

# ---- folders


def study_folder(inputs: Inputs, damage: Damage) -> Case:
    """Any file of a study's folder, as the report and the statistics read it."""
    out = inputs.study
    top = ("study.json", "tasks.json", "index.json", "similarity.json")
    below = ("scores.json", "results.json", "key.json", "samples_finance_bench_fpb.jsonl", "recipe.yml")
    name = damage.pick((*top, *below))
    path = out / name if name in top else damage.pick(sorted(out.glob(f"points/*/{name}")))
    text = path.read_text()
    if name.startswith("samples"):
        first, _, remaining = text.partition("\n")
        data = damage.json(first) + f"\n{remaining}".encode()
    else:
        data = damage.yaml(text) if name.endswith(".yml") else damage.json(text)
    return Case(lambda: read_study(inputs), path, data)


def summary(inputs: Inputs, damage: Damage) -> Case:
    """summary.json, of which most faults are in one part."""
    path = inputs.study / "summary.json"
    text = path.read_text()
    if damage.often(4):
        return Case(lambda: read_study(inputs), path, damage.json(text))
    content = json.loads(text)
    part = damage.pick(sorted(content))
    content[part] = damage.value(content[part])
    return Case(
        lambda: read_study(inputs), path, json.dumps(content).encode("utf-8", "surrogatepass"),
        f"{part}: {content[part]!r}",
    )  # fmt: skip


def read_study(inputs: Inputs) -> None:
    """Read what `report` reads, without figures, which take seconds and are left out where they fail."""
    results = load_results(inputs.study)
    results.require_results([*results.singles, *results.chosen])
    page(results).encode()
    bootstrap(list(results.report.values()), 20, 0)
    assert results.selection and results.study.source not in GENERATED


def written_card(inputs: Inputs, damage: Damage) -> Case:
    """`card` of a study of which one file is damaged, without figures."""
    out = inputs.study
    name = damage.pick(("study.json", "tasks.json", "index.json", "summary.json", "key.json", "files.json", "recipe.yml", "scores.json"))  # fmt: skip
    path = out / name if (out / name).exists() else damage.pick(sorted(out.glob(f"points/stage2-*/{name}")))

    def read() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(card, "_write_figures", lambda results, folder: {})
            patch.setattr("mergekit_finance.share.install._git", lambda clone, *arguments: "")  # starts git
            command("card", out, "-o", inputs.out / "card", *(("--samples",) if damage.often() else ()))

    data = damage.yaml(path.read_text()) if name.endswith(".yml") else damage.json(path.read_text())
    return Case(read, path, data)


def shared_card(inputs: Inputs, damage: Damage) -> Case:
    """`share --dry-run` or `leaderboard` of a card's folder."""
    names = ("README.md", "results/files.json", "results/models.json", "results/summary.json", "results/scores.json", "results/key.json", "study.yml")  # fmt: skip
    path = inputs.card / damage.pick(names)
    text = path.read_text()
    data = damage.json(text) if path.suffix == ".json" else damage.text(text).encode("utf-8", "surrogatepass")
    if damage.often():
        return Case(lambda: ranked_card(inputs), path, data)
    return Case(lambda: command("share", inputs.card, "--repo", "me/x", "--dry-run"), path, data)


def ranked_card(inputs: Inputs) -> None:
    """Rank a copy whose manifest has the hashes of the damaged files, so that their content is read."""
    copy = inputs.out / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(inputs.card, copy, ignore=shutil.ignore_patterns("*.png", "*.safetensors"))
    manifest = copy / "results" / "files.json"
    try:
        recorded = json.loads(manifest.read_bytes())
        files = [name for name in recorded["files"] if os.path.isfile(copy / name)]
        recorded["files"] = {name: sha256_file(copy / name) for name in files}
        manifest.write_text(json.dumps(recorded))
    except (ValueError, TypeError, KeyError):
        pass  # the manifest itself is damaged
    command("leaderboard", copy)


def store(inputs: Inputs, damage: Damage) -> Case:
    """Stored results of a model, which a study uses again or evaluates again."""
    source = damage.pick(sorted((inputs.study / "points").iterdir()))
    place = inputs.out / "stored" / "points" / source.name
    shutil.rmtree(inputs.out / "stored", ignore_errors=True)
    shutil.copytree(source, place)
    path = place / damage.pick(("scores.json", "results.json", "key.json", "files.json", "timings.json"))

    def read() -> None:
        stored = Store(inputs.out / "stored")
        printed: list[str] = []
        stored.mention_older_results(printed.append)
        stored.seconds(iter([place.name]))
        if not stored.discard_damaged(place, samples=True):
            stored.scores(place)
            stored.results(place)

    return Case(read, path, damage.json(path.read_text()))


def answers(inputs: Inputs, damage: Damage) -> Case:
    """A file of stored answers with the hash of its own bytes in its name, so that only its content tells."""
    lines = ['["0a",[-1.5,true],12,2048]', '["0b","5,400 \\u7b54",300,256]', '["0c",-20.25,0,2048]']
    packed = gzip.compress(
        b"\n".join(damage.json(line) if damage.often() else line.encode() for line in lines)
    )
    data = damage.bytes(packed) if damage.often(4) else packed
    path = inputs.out / "answers" / f"3-{hashlib.sha256(data).hexdigest()[:16]}.jsonl.gz"

    def read() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        for answer in read_folder(path.parent).values():
            assert isinstance(answer.response, str | float | tuple) and isinstance(answer.tokens, int)
        path.unlink(missing_ok=True)

    return Case(read, shown=repr(data))


# ---- answers of models, which are untrusted text

ANSWERS = (
    "The answer is 42.", "So the change is 5,400 - 5,100 = $300 million.\n\n**Answer: (300)**", r"Thus $\boxed{\frac{3}{4}}$ %.",
    "#### 12", "Therefore, the answer is (B).", "yes", "Answer: no, it fell by 12.5 percentage points", "- Oakline\n- Pinecrest",
    "Harbour Bank: organization, Lind: person", "5400 (thousand)", "-0.05%", "1.2 trillion or about 3 1/2", "Question: what? Answer: 1",
    "答えは4です。", "よって、売上高は1億2,300万円増加した。", "【答え】③", "はい", "△1,200百万円", "正解：２", "解答は（イ）である。", "一兆二千億円", "3割5分",
)  # fmt: skip
BITS = [
    "9", "1,", "1.", "(", ")", "[", "\\boxed{", "\\frac{", "{", "}", "$", "%", "-", "−", "△", "▲", " ", "\n", "\t", "\u3000", "=", ":", "：", "。", ".",
    "answer", "Answer:", "the answer is ", "答え", "答えは", "万", "億", "兆", "千", "百万", "half", "percent", "million ", "thousand ", "e10", "E+", "1/2", "**", "`",
    "#", "- ", "* ", "(A)", "①", "②", "ア", "yes ", "no ", "not ", "is ", "Question:", "質問：", "\x00", "\x1b[2J", "\u202e", "\ufeff", "💥", "é", "²", "½", "٣", "፩",
    "〇", "㈱", "𝟘", "\ud800", "US$", "¥", "between 1 and ", "from 1 to ", ", ", "、", "，", "_", "\\text{", "\\%", "\\,",
]  # fmt: skip
LENGTHS = (1, 2, 3, 30, 400, 3000)
CHOICES = (metrics.choice_f1, metrics.headline, metrics.chabsa, metrics.choice_acc)
GENERATED_ANSWERS = {
    "convfinqa-default": (metrics.convfinqa, metrics.convfinqa_cot), "docmath-simpshort": (metrics.docmath, metrics.docmath_cot), "docmath-compshort": (metrics.docmath, metrics.docmath_cot),
    "financemath-default": (metrics.docmath_cot,), "gsm8k-default": (metrics.exact_number_cot,), "mgsm_ja-default": (metrics.exact_number_cot,),
    "fp2-default": (metrics.choice_cot,), "fin_ner-default": (metrics.entities,), "tatqa-default": (metrics.tatqa, metrics.tatqa_cot),
    **dict.fromkeys(("jfinqa-numerical_reasoning", "jfinqa-consistency_checking", "jfinqa-temporal_reasoning"), (metrics.jfinqa, metrics.jfinqa_cot)),
}  # fmt: skip


def answer(inputs: Inputs, damage: Damage) -> Case:
    """Text that a model generated, scored by every rule of a dataset."""
    name = damage.pick(sorted(GENERATED_ANSWERS))
    doc: Any = damage.pick(inputs.rows[name])
    text = _text(damage)

    def read() -> None:
        for rule in GENERATED_ANSWERS[name]:
            _check_metrics(rule(doc, [text]))

    return Case(read, shown=f"{name}: {text!r}")


def _text(damage: Damage) -> str:
    """Return an answer with up to four bits, some of them repeated thousands of times."""
    text: str = damage.pick(ANSWERS)
    if not damage.often(1):
        return text
    for _ in range(damage.random.randrange(5)):
        bits = "".join(damage.pick(BITS) for _ in range(damage.pick((1, 1, 2, 3)))) * damage.pick(LENGTHS)
        at = damage.random.randrange(len(text) + 1)
        text = text[:at] + bits + text[at:]
    return text + (damage.pick(ANSWERS) if damage.often() else "")


def likelihoods(inputs: Inputs, damage: Damage) -> Case:
    """Log-likelihoods of options: NaN, infinite, equal."""
    names = [name for name, rows in inputs.rows.items() if "gold_index" in rows[0] and rows[0]["options"]]
    name = damage.pick(names)
    doc: Any = dict(damage.pick(inputs.rows[name]))
    doc.setdefault("class_id", 0)
    values = (-1.0, -2.0, 0.0, -math.inf, math.inf, math.nan, -1e308, -5e-324)
    results = [(damage.pick(values), bool(damage.random.randrange(2))) for _ in doc["options"]]

    def read() -> None:
        for rule in CHOICES:
            _check_metrics(rule(doc, results))

    return Case(read, shown=f"{name}: {results!r}")


def scores_of_items(inputs: Inputs, damage: Damage) -> Case:
    """Values that aggregations get: (gold, choice) and counts, any number of items."""
    pairs = [(damage.random.randrange(-1, 3), damage.random.randrange(3)) for _ in range(damage.random.randrange(1, 30))]  # fmt: skip
    counts = [(0, damage.random.randrange(4), damage.random.randrange(4)) for _ in pairs]

    def read() -> None:
        for value in (aggregate.weighted_f1(pairs), aggregate.macro_f1_two_class(pairs), aggregate.corpus_entity_f1(counts), aggregate.headline_mean_f1([(0, *pair) for pair in pairs])):  # fmt: skip
            assert 0 <= value <= 1, value

    return Case(read, shown=f"{pairs} {counts}")


def _check_metrics(values: metrics.Metrics) -> None:
    """Assert that an item's metrics are finite numbers, or tuples of integers."""
    assert {"score", "correct"} <= set(values), values
    for value in values.values():
        if isinstance(value, str):
            assert value in ("marker", "fallback", "none"), values
            continue
        assert all(map(math.isfinite, value if isinstance(value, tuple) else (value,))), values
    assert values["correct"] in (0.0, 1.0), values
