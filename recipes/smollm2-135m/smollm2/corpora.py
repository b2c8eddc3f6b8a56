"""The training and held-out texts of each domain.

A folder of corpora has one file `<domain>.jsonl.xz` for each domain, with a document a line:
{"text": ..., "source": ...}. Held-out documents are the first of a domain in the order of the sha256 of their
text, of those that are neither very short nor very long. They are never trained on.

The finance text also has the train rows of FPB, FiQA-SA, Headline and FIN NER as questions with answers,
REPEATS times. They are taken from a mirror of the datasets. A train row whose text is that of a test row is
left out. Text of test rows of any dataset is cut out of all documents (see `overlap`).
"""

import hashlib
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mergekit_finance.data.adapters import Row, adapter
from mergekit_finance.data.mirror import Mirror
from mergekit_finance.data.records import read

from .overlap import TestText, test_rows

DOMAINS = ("finance", "math", "japanese")
TEXTS = (*DOMAINS, "general")  # held-out texts; general is not trained on
HELD_OUT = 160  # documents of each domain
HELD_OUT_LENGTH = (200, 20_000)  # characters
REPEATS = 6  # of the questions made from train rows
QUESTIONS = ("fpb", "fiqa_sa", "headline", "fin_ner")


@dataclass(frozen=True)
class Texts:
    """The documents of one domain.

    Attributes:
        train: In the order of the file, then the questions.
        held_out: At most HELD_OUT documents, in the order of their hashes.
        questions: How many of `train` were made from train rows, repetitions counted.
    """

    train: list[str]
    held_out: list[str]
    questions: int = 0


def documents(corpora: Path, domain: str) -> list[str]:
    """Return the documents of a domain in the order of its file."""
    with lzma.open(corpora / f"{domain}.jsonl.xz", "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def texts(corpora: Path, domain: str, mirror: Path) -> Texts:
    """Return the train and held-out documents of a domain, without text of test rows.

    Args:
        corpora: The folder of the files.
        domain: One of TEXTS.
        mirror: A mirror of the datasets: its test rows are cut out; its train rows of QUESTIONS are added to
            the finance text.
    """
    test = TestText.of_rows(test_rows(mirror))
    all_documents = [test.cut(text) for text in documents(corpora, domain)]
    held_out = _held_out(all_documents)
    chosen = set(held_out)
    train = [text for text in all_documents if text not in chosen]
    questions = [q for q in finance_questions(mirror) if not test.contains(q)] if domain == "finance" else []
    return Texts(train + questions * REPEATS, held_out, len(questions) * REPEATS)


def _held_out(all_documents: list[str]) -> list[str]:
    shortest, longest = HELD_OUT_LENGTH
    fitting = {text for text in all_documents if shortest <= len(text) <= longest}
    return sorted(fitting, key=_hash)[: min(HELD_OUT, len(fitting) // 2)]


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


# ---- questions


def finance_questions(mirror: Path) -> Iterator[str]:
    """Yield the train rows of QUESTIONS in the words of the tasks' prompts, each with its answer."""
    opened = Mirror.existing(mirror)
    for name in QUESTIONS:
        test = TestText.of_rows(rows_of_split(opened, name, "test"))
        for row in rows_of_split(opened, name, "train"):
            if row["text"] and not test.contains(row["text"], whole=True):
                yield _question(name, row)


def rows_of_split(mirror: Mirror, name: str, split: str) -> list[Row]:
    """Return the rows of one split of a dataset, as the tasks have them."""
    rows = []
    for file, entry in mirror.entries(name, "default").items():
        if entry.split == split:
            records = list(read(mirror.verify(file), file))
            rows += adapter(entry.adapter)({"test": records})
    return rows


def _question(name: str, row: Row) -> str:
    if name == "fin_ner":
        return f"{row['text']}\nExtract named entity: {row['label']}"
    answer = row["options"][row["gold_index"]]
    if name == "headline":
        return f"Headline: {row['text']}\nQuestion: {row['question']}\nAnswer: {answer}"
    asked = "what is the sentiment" + (f" on {row['target']}" if name == "fiqa_sa" else "")
    return f"{row['text']}\nQuestion: {asked}?\nAnswer: {answer}"
