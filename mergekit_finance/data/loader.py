"""The loader of all tasks: `custom_dataset: !function mergekit_finance.data.loader.load` in their YAML files.

Rows come from the first of these that applies:

1. `source` or `data_dir` in `--metadata`;
2. the mirror that the environment variable FINANCE_BENCH_DATA names;
3. the cache, filled from the Hub or a pinned URL if rows are missing.
"""

import difflib
import hashlib
import logging
import os
from collections.abc import Iterable
from functools import cache
from multiprocessing import parent_process
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.data.adapters import Row, adapter
from mergekit_finance.data.contents import lacks_demonstrations
from mergekit_finance.data.mirror import VARIABLE, Mirror, default_folder
from mergekit_finance.data.pull import pull
from mergekit_finance.data.records import Record
from mergekit_finance.data.registry import GENERATED, LAB, SAMPLE, dataset, require_source
from mergekit_finance.data.rows import Place, rows_of
from mergekit_finance.errors import DataError, ModelError
from mergekit_finance.hosts.programs import report_mistakes
from mergekit_finance.lab.generated_rows import records as lab_records
from mergekit_finance.models import live_tokenizers
from mergekit_finance.models.loading import load_tokenizer
from mergekit_finance.plugins.api import Dataset
from mergekit_finance.recipe.merge_label import label

if TYPE_CHECKING:
    from datasets import Dataset as Table
    from transformers import PreTrainedTokenizerBase

LOG = logging.getLogger(__name__)


def load(
    fb_dataset: str,
    fb_subset: str = "default",
    fb_option_tokens: bool = False,
    fb_published_prompts: bool = False,
    source: str | None = None,
    data_dir: str | None = None,
    tokenizer: "str | PreTrainedTokenizerBase | None" = None,
    pretrained: str | None = None,
    recipe: str | None = None,
    **others: object,
) -> "dict[str, Table]":
    """Return the rows of one subset in the form that lm-eval expects.

    lm-eval calls it with the task's metadata, the model's arguments and `dataset_kwargs` together.

    Args:
        fb_dataset, fb_subset: Which rows; from the task's YAML.
        fb_option_tokens: Add the number of tokens of each option (for `acc_token`); from the task's YAML.
        fb_published_prompts: The task follows a published protocol only with rows that contain the whole
            prompt (`input`): warn of other rows; from the task's YAML.
        source, data_dir: Where the rows come from; the user's, from `--metadata`.
        tokenizer, pretrained, recipe: Where the tokenizer for `fb_option_tokens` comes from; the model's
            arguments. Without any of them, or if it cannot be loaded, the tokens are left out.
        others: Further model arguments; values that a merge sets (`set.*`) are used with `recipe`.

    Returns:
        The table of the split "test".

    Raises:
        DataError: the rows cannot be loaded, or a key of `--metadata` is misspelled.
    """
    # Imported here because only commands that need a table use it: datasets takes 1 s.
    from datasets import Dataset as Table

    report_mistakes()  # of `lm_eval --include_path` where the start-up hook is off
    _refuse_misspelled_keys(others)
    rows = load_rows(fb_dataset, fb_subset, source, data_dir)
    if source not in GENERATED and lacks_demonstrations(rows):
        _warn_of_zero_shot(fb_dataset)
    if fb_published_prompts and source not in GENERATED and not all(row.get("input") for row in rows):
        _warn_of_own_prompts(fb_dataset)
    if fb_option_tokens:
        merged = live_tokenizers.find_tokenizer(label({"recipe": recipe, **others})) if recipe else None
        rows = _with_option_tokens(rows, tokenizer or pretrained or merged)
    return {"test": Table.from_list(rows)}


@cache
def _warn_of_zero_shot(name: str) -> None:
    """Log once that a dataset's prompts have no demonstrations; worker processes leave it to their parent."""
    if parent_process() is None:
        LOG.warning(
            "%s: without train rows its prompts have no demonstrations (0-shot); do not compare its scores "
            "with few-shot ones. Add the train files: `mergekit-finance data adopt FOLDER`.",
            name,
        )


@cache
def _warn_of_own_prompts(name: str) -> None:
    """Log once that the prompts of a published protocol are missing; in the parent process only."""
    if parent_process() is None:
        LOG.warning(
            "%s: these rows do not contain AdaptLLM's prompts, so ours are used; do not compare the score "
            "with the published one. Get AdaptLLM's rows: `mergekit-finance data pull %s`.",
            name,
            name,
        )


def _refuse_misspelled_keys(keys: Iterable[str]) -> None:
    """Raise DataError for a key that is similar to one of ours; all others are arguments of the model."""
    for key in keys:
        if near := difflib.get_close_matches(key.lower(), ("source", "data_dir"), n=1, cutoff=0.8):
            raise DataError(f"--metadata: unknown key {key!r}. Did you mean {near[0]!r}?")


def _with_option_tokens(rows: list[Row], tokenizer: "str | PreTrainedTokenizerBase | None") -> list[Row]:
    """Add the number of tokens of each option, counted after the last word of the prompt."""
    if isinstance(tokenizer, str):
        try:
            tokenizer = load_tokenizer(tokenizer)
        except ModelError:  # loading the model will report it
            tokenizer = None
    if tokenizer is None:
        return rows
    prompt_end = "Answer:"
    start = len(tokenizer(prompt_end)["input_ids"])
    options = {text for row in rows for text in row["options"]}
    counts = {text: len(tokenizer(f"{prompt_end} {text}")["input_ids"]) - start for text in options}
    return [row | {"option_tokens": [counts[text] for text in row["options"]]} for row in rows]


def load_rows(name: str, subset: str, source: str | None = None, data_dir: str | None = None) -> list[Row]:
    """Return the rows of one subset, ordered by a hash of `item_id`.

    Any first N rows are therefore a random sample, and a larger N contains a smaller one.

    Args:
        name, subset: Of the dataset.
        source: A source of the dataset, or "sample" or "lab".
        data_dir: The folder of a mirror.

    Raises:
        DataError: the rows are missing, altered or wrong, or cannot be fetched, or both places are given.
    """
    registered = dataset(name)
    if source and data_dir:
        raise DataError(
            f"rows: source {source} and data_dir {data_dir} are both given. Leave one of them out."
        )
    if source == LAB:
        rows = [dict(row) for row in _lab_rows(name, subset)]
    else:
        places = locate(registered, subset, source, data_dir)
        rows = [row for row in rows_of(places) if row.get("subset", subset) == subset]
        if not rows:
            raise DataError(f"{places[0].path}: no rows of {name} {subset}")
    return sorted(rows, key=lambda row: hashlib.sha256(f"{name}/{row['item_id']}".encode()).digest())


@cache
def _lab_rows(name: str, subset: str) -> tuple[Row, ...]:
    """Return rows of the lab's generated world, through the dataset's own adapter."""
    splits, adapter_name = lab_records(name, subset)
    shown = f"lab {name}/{subset}"
    rows = adapter(adapter_name)(
        {
            split: [Record(data, shown, line, "record") for line, data in enumerate(records, 1)]
            for split, records in splits.items()
        }
    )
    # The lab's models were trained on FIN NER prompts that do not state the format.
    return tuple(row | {"states_format": False} if "states_format" in row else row for row in rows)


def locate(dataset: Dataset, subset: str, source: str | None, data_dir: str | None) -> list[Place]:
    """Return the files behind one subset, with their checksums compared; downloaded if necessary."""
    require_source(dataset, source)
    if source == SAMPLE:
        return [_sample_place(dataset.name, subset)]
    if data_dir or (os.environ.get(VARIABLE) and source is None):
        return _in_mirror(Mirror.existing(data_dir or os.environ[VARIABLE]), dataset, subset)
    cache = Mirror(default_folder())
    if source is not None or not cache.entries(dataset.name, subset):
        pull(dataset, cache, source)
    return _in_mirror(cache, dataset, subset)


def _in_mirror(mirror: Mirror, dataset: Dataset, subset: str) -> list[Place]:
    if not mirror.has_test_rows(dataset.name, subset):
        held = sorted({f"{e.dataset}/{e.subset}" for e in mirror.files.values()})
        raise DataError(
            f"{mirror.folder}: the mirror has no rows of {dataset.name}/{subset} "
            f"(it has {', '.join(held) or 'none'}). "
            f"Add them: `mergekit-finance data adopt FOLDER --mirror {mirror.folder}`"
        )
    return [
        Place(mirror.verify(name), str(mirror.folder / name), entry.adapter, entry.split)
        for name, entry in mirror.entries(dataset.name, subset).items()
    ]


def _sample_place(name: str, subset: str) -> Place:
    """Return the file with a few rows written for this project: `<dataset>-<subset>.<adapter>.jsonl`."""
    files = sorted(Path(__file__).with_name("samples").glob(f"{name}-{subset}.*.jsonl"))
    if not files:
        raise DataError(f"{name}/{subset}: there are no sample rows of it. Use a mirror.")
    return Place(files[0], files[0].name, files[0].name.split(".")[1], "test")


def rows_fingerprint(name: str, subset: str, source: str | None = None, data_dir: str | None = None) -> str:
    """Return a hash (16 hexadecimal digits) of the bytes behind one subset, for keys of stored results."""
    if source == LAB:
        return hashlib.sha256(repr(load_rows(name, subset, source)).encode()).hexdigest()[:16]
    places = locate(dataset(name), subset, source, data_dir)
    parts = sorted(hashlib.sha256(place.path.read_bytes()).hexdigest() for place in places)
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]
