"""Turn the texts of all domains into tokens, once for all experts.

In recipes/smollm2-135m: `python -m smollm2.tokens CORPORA MIRROR MODEL OUT` writes, for each domain:

    OUT/<domain>.train.npy       uint16 tokens of the documents in a random order, each closed by an end token
    OUT/<domain>.held_out.npy    the same of the held-out documents
    OUT/<domain>.held_out.jsonl  their beginnings, for the tasks in bits per byte
    OUT/tokens.json              counts

A row of training is a run of tokens: it may begin and end within a document, and attention crosses documents.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from mergekit_finance.files import atomic_path, atomic_write

from .corpora import TEXTS, texts

END = "<|endoftext|>"
COUNTS = "tokens.json"
BEGINNING = 1000  # bytes of a held-out document in the tasks
PART = 512  # documents that are tokenized at a time


def tokens(documents: Sequence[str], model: Path) -> np.ndarray:
    """Return the tokens of documents, each closed by an end token, as uint16.

    Args:
        documents: The texts.
        model: A folder with a tokenizer of at most 65,536 tokens.
    """
    from tokenizers import Tokenizer  # imported here: other parts of this file need no tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    end = tokenizer.token_to_id(END)
    if end is None:
        end = _end_of_sequence(model)
    parts = []
    for start in range(0, len(documents), PART):
        encoded = tokenizer.encode_batch(list(documents[start : start + PART]), add_special_tokens=False)
        parts += [np.array([*one.ids, end], dtype=np.uint16) for one in encoded]
    return np.concatenate(parts)


def _end_of_sequence(model: Path) -> int:
    """Return the end token that a model's configuration names."""
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    end = config["eos_token_id"]
    return int(end[0] if isinstance(end, list) else end)


def beginning(text: str) -> str:
    """Return the beginning of a text: at most BEGINNING bytes of UTF-8, without a part of a character."""
    return text.encode()[:BEGINNING].decode(errors="ignore")


def write_domain(corpora: Path, mirror: Path, model: Path, out: Path, domain: str) -> dict[str, int]:
    """Write the files of one domain and return its counts."""
    found = texts(corpora, domain, mirror)
    order = np.random.default_rng(0).permutation(len(found.train))
    train = tokens([found.train[k] for k in order], model) if domain != "general" else np.zeros(0, np.uint16)
    held_out = tokens(found.held_out, model)
    for name, array in (("train", train), ("held_out", held_out)):
        with atomic_path(out / f"{domain}.{name}.npy") as scratch, scratch.open("wb") as file:
            np.save(file, array)
    lines = [json.dumps({"text": beginning(text)}, ensure_ascii=False) for text in found.held_out]
    atomic_write(out / f"{domain}.held_out.jsonl", "\n".join(lines) + "\n")
    return {
        "documents": len(found.train),
        "questions": found.questions,
        "train_tokens": len(train),
        "held_out_documents": len(found.held_out),
        "held_out_tokens": len(held_out),
    }


def write_all(
    corpora: Path, mirror: Path, model: Path, out: Path, processes: int = 1
) -> dict[str, dict[str, int]]:
    """Write the files of all domains, unless they are there, and return the counts by domain."""
    path = out / COUNTS
    if path.is_file():
        counts: dict[str, dict[str, int]] = json.loads(path.read_text(encoding="utf-8"))
        return counts
    out.mkdir(parents=True, exist_ok=True)
    work = [(corpora, mirror, model, out, domain) for domain in TEXTS]
    if processes == 1:
        counts = {domain: write_domain(*work[k]) for k, domain in enumerate(TEXTS)}
    else:
        with ProcessPoolExecutor(min(processes, len(work)), mp_context=get_context("spawn")) as pool:
            counts = dict(zip(TEXTS, pool.map(write_domain, *zip(*work, strict=True)), strict=True))
    atomic_write(path, json.dumps(counts, indent=1) + "\n")
    return counts


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tokens of all domains."""
    parser = argparse.ArgumentParser(prog="python -m smollm2.tokens", description=__doc__)
    for name in ("corpora", "mirror", "model", "out"):
        parser.add_argument(name, type=Path)
    cores = os.cpu_count() or 1
    parser.add_argument("--processes", type=int, default=min(4, cores), help="(default: %(default)s)")
    options = parser.parse_args(argv)
    counts = write_all(options.corpora, options.mirror, options.model, options.out, options.processes)
    print(json.dumps(counts, indent=1), file=sys.stderr)


if __name__ == "__main__":
    main()
