"""The one loader of all tasks: `custom_dataset: !function mergekit_finance.data.loader.load`.

Where rows come from, in order: `source` or `data_dir` in `--metadata`; the mirror named by
FINANCE_BENCH_DATA; the cache; the Hub or a pinned URL.
"""

import difflib
import hashlib
import itertools
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mergekit_finance.data.adapters import Row, adapter
from mergekit_finance.data.mirror import VARIABLE, Mirror, default_folder
from mergekit_finance.data.records import Record, read
from mergekit_finance.data.registry import dataset
from mergekit_finance.errors import DataError, ModelError, did_you_mean
from mergekit_finance.models import live_tokenizers
from mergekit_finance.plugins.api import Dataset
from mergekit_finance.recipe.overrides import label

if TYPE_CHECKING:
    from datasets import Dataset as Table

SAMPLE, LAB = "sample", "lab"
# A place that holds a file's bytes: path, name in errors, adapter, split.
Place = tuple[Path, str, str, str]


def load(
    fb_dataset: str,
    fb_subset: str = "default",
    fb_option_tokens: bool = False,
    source: str | None = None,
    data_dir: str | None = None,
    tokenizer: str | None = None,
    pretrained: str | None = None,
    recipe: str | None = None,
    **others: Any,
) -> "dict[str, Table]":
    """The rows of one subset as lm-eval wants them.

    lm-eval calls it with the task's metadata, the model's arguments and `dataset_kwargs`. What begins with
    `fb_` is the task's; `source` and `data_dir` are the user's, from `--metadata`; `tokenizer` and
    `pretrained` or `recipe` are the model's, and tell how many tokens each option has (for `acc_token`).
    """
    from datasets import Dataset as Table

    _refuse_misspelt(others)
    rows = load_rows(fb_dataset, fb_subset, source, data_dir)
    if fb_option_tokens and (
        found := tokenizer or pretrained or live_tokenizers.find(label({"recipe": recipe, **others}))
    ):
        rows = _with_option_tokens(rows, found)
    return {"test": Table.from_list(rows)}


def _refuse_misspelt(others: Iterable[str]) -> None:
    """An error for a key that is nearly ours; the others are the model's arguments, which come along."""
    for key in others:
        if near := difflib.get_close_matches(key.lower(), ("source", "data_dir"), n=1, cutoff=0.8):
            raise DataError(f"--metadata: unknown key {key!r}. Did you mean {near[0]!r}?")


def _with_option_tokens(rows: list[Row], tokenizer: Any) -> list[Row]:
    """Each row with the number of tokens of its options, as they follow the prompt's last word. `tokenizer`
    may be a model's name: where that cannot be loaded, the model will say so, and acc_token is left out."""
    if isinstance(tokenizer, str):
        from mergekit_finance.merging.in_memory import load_tokenizer

        try:
            tokenizer = load_tokenizer(tokenizer)
        except ModelError:
            return rows
    before = "Answer:"
    start = len(tokenizer(before)["input_ids"])
    texts = {text for row in rows for text in row["options"]}
    counts = {text: len(tokenizer(f"{before} {text}")["input_ids"]) - start for text in texts}
    return [row | {"option_tokens": [counts[text] for text in row["options"]]} for row in rows]


def load_rows(name: str, subset: str, source: str | None = None, data_dir: str | None = None) -> list[Row]:
    """Rows of one subset, ordered by a hash of `item_id`, so that any first N are a random sample."""
    known = dataset(name)
    if source == LAB:
        return _ordered(name, lab_rows(name, subset))
    places, subset_of = locate(known, subset, source, data_dir)
    rows = [r for r in rows_of(places) if r.get("subset", subset_of) == subset_of]
    if not rows:
        raise DataError(f"{places[0][1]}: no rows of {name} {subset}")
    return _ordered(name, rows)


def _ordered(name: str, rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: hashlib.sha256(f"{name}/{row['item_id']}".encode()).digest())


def lab_rows(name: str, subset: str) -> list[Row]:
    """Rows of the lab's generated world, through the dataset's own adapter."""
    from mergekit_finance.lab.rows import records

    splits, reader = records(name, subset)
    shown = f"lab {name}/{subset}"
    return adapter(reader)(
        {
            split: [Record(r, shown, n, "record") for n, r in enumerate(made, 1)]
            for split, made in splits.items()
        }
    )


def rows_of(places: Iterable[Place]) -> list[Row]:
    """Read and adapt files; a repeated `item_id` is an error, for it would count an item twice."""
    by_adapter: dict[str, dict[str, list[Record]]] = {}
    for path, shown, adapter_name, split in places:
        by_adapter.setdefault(adapter_name, {}).setdefault(split, []).extend(read(path, shown))
    rows: list[Row] = []
    seen: set[str] = set()
    for adapter_name, records in by_adapter.items():
        if "test" not in records:
            raise DataError(f"{records['train'][0].file}: the test split is missing beside it")
        for row in adapter(adapter_name)(records):
            if row["item_id"] in seen:
                raise _twice(row["item_id"], by_adapter)
            seen.add(row["item_id"])
            rows.append(row)
    return rows


def _twice(item_id: str, by_adapter: dict[str, dict[str, list[Record]]]) -> DataError:
    """An error that names the first two records that make rows of this id."""
    records = ((name, record) for name, splits in by_adapter.items() for record in splits["test"])
    makers = (r for name, r in records for row in adapter(name)({"test": [r]}) if row["item_id"] == item_id)
    first, second = itertools.islice(makers, 2)
    other = second.spot if first.file == second.file else second.place
    return DataError(f"{first.place} and {other}: item_id {item_id!r} occurs twice")


def locate(known: Dataset, subset: str, source: str | None, data_dir: str | None) -> tuple[list[Place], str]:
    """The files behind one subset, checksums compared, and the subset's name inside them."""
    if source == SAMPLE:
        return [sample_place(known.name, subset)], subset
    if source is not None and source not in known.sources:
        raise DataError(
            f"{known.name}: unknown source {source!r}. {did_you_mean(source, [*known.sources, SAMPLE, LAB])}"
        )
    if data_dir or (os.environ.get(VARIABLE) and source is None):
        return _in_mirror(Mirror.existing(data_dir or os.environ[VARIABLE]), known, subset), subset
    cache = Mirror(default_folder())
    if source is not None or not cache.of(known.name, subset):
        from mergekit_finance.data.sources import pull

        pull(known, cache, source)
    return _in_mirror(cache, known, subset), subset


def _in_mirror(mirror: Mirror, known: Dataset, subset: str) -> list[Place]:
    entries = mirror.of(known.name, subset)
    if not any(entry.split == "test" for entry in entries.values()):
        has = sorted({f"{e.dataset}/{e.subset}" for e in mirror.files.values()})
        raise DataError(
            f"{mirror.folder}: the mirror has no rows of {known.name}/{subset} "
            f"(it has {', '.join(has) or 'none'}). "
            f"Add them: `mergekit-finance data adopt FOLDER --mirror {mirror.folder}`"
        )
    return [(mirror.verify(n), str(mirror.folder / n), e.adapter, e.split) for n, e in entries.items()]


def sample_place(name: str, subset: str) -> Place:
    """The handful of rows that this project wrote itself: `<dataset>-<subset>.<adapter>.jsonl`."""
    found = sorted(Path(__file__).with_name("samples").glob(f"{name}-{subset}.*.jsonl"))
    if not found:
        raise DataError(f"{name}/{subset}: the project has no sample rows of it; use a mirror")
    return found[0], found[0].name, found[0].name.split(".")[1], "test"


def fingerprint(name: str, subset: str, source: str | None = None, data_dir: str | None = None) -> str:
    """A hash of the bytes behind one subset, for keys of stored results."""
    if source == LAB:
        return hashlib.sha256(repr(load_rows(name, subset, LAB)).encode()).hexdigest()[:16]
    places, _ = locate(dataset(name), subset, source, data_dir)
    parts = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path, *_ in places)
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
