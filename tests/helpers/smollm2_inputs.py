"""Small inputs of the SmolLM2 study: corpora, a mirror, and experts that differ a little from their base."""

import json
import lzma
from pathlib import Path

from helpers.datasets import write_jsonl
from helpers.smollm2_study import corpora
from mergekit_finance.data.adopt import adopt
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.plugins.manager import datasets

# A test row, and the same words in a corpus: 14 words in a row.
TEST_SENTENCE = "Operating profit of the pulp mill in the north rose to nine million euros last year"
HEADLINE_COLUMNS = (
    "Dates", "URL", "News", "Price Direction Up", "Price Direction Constant", "Price Direction Down",
    "Asset Comparision", "Past Information", "Future Information", "Price Sentiment",
)  # fmt: skip


def write_mirror(folder: Path) -> Path:
    """Write a mirror of the four datasets whose train rows become questions. Return its folder."""
    raw = folder / "raw"
    test = [{"id": 1, "sentence": TEST_SENTENCE, "label": "positive"}]
    train = [
        {"id": 2, "sentence": "Sales fell .", "label": "negative"},
        {"id": 3, "sentence": TEST_SENTENCE.upper(), "label": "positive"},  # the same words as the test row
    ]
    write_jsonl(raw / "fpb" / "test.jsonl", test)
    write_jsonl(raw / "fpb" / "train.jsonl", train)
    aspect = {"split": "test", "format": "post", "snippets": "[]", "aspects": "[]"}
    for split, sentence in (("test", "Shares of A soared"), ("train", "Shares of B sank")):
        row = {"id": split, "sentence": sentence, "target": sentence[10:11], "sentiment_score": "-0.5"}
        write_jsonl(raw / "fiqa_sa" / f"{split}.jsonl", [row | aspect])
        news = ["1-1-2020", "u", f"gold news of {split}", "1", "0", "0", "0", "1", "0", "positive"]
        path = raw / "headline" / f"{split}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\t".join(HEADLINE_COLUMNS) + "\n" + "\t".join(news) + "\n", encoding="utf-8")
        tagged = {"document": f"d-{split}", "tokens": ["Ann", "lends", f"{split}"], "pos": ["N"] * 3}
        write_jsonl(
            raw / "fin_ner" / f"{split}.jsonl", [tagged | {"id": split, "ner_tags": ["I-PER", "O", "O"]}]
        )
    adopt(raw, Mirror(folder / "mirror"), datasets().values(), lambda text: None)
    return folder / "mirror"


def write_corpora(folder: Path, documents: int = 8, words: int = 60) -> Path:
    """Write a corpus of every text, one of whose finance documents has the words of a test row."""
    folder.mkdir(parents=True, exist_ok=True)
    for text in corpora.TEXTS:
        lines = []
        for number in range(documents):
            content = " ".join(f"{text}{(number * words + k) % 97}" for k in range(words))
            if text == "finance" and number == 0:
                content = f"{content} {TEST_SENTENCE} and more"
            lines.append(json.dumps({"text": content, "source": "test"}) + "\n")
        with lzma.open(folder / f"{text}.jsonl.xz", "wt", encoding="utf-8") as file:
            file.writelines(lines)
    return folder
