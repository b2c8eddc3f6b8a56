"""Tokens and their ids, read from a model's tokenizer files without transformers."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mergekit_finance.errors import ModelError, first_line
from mergekit_finance.files import Json, JsonObject, RepeatedKey, parse_json, read_bytes
from mergekit_finance.models.json_files import LFS_POINTER, read_model_json

COPY = "Copy or fetch it again"
MAX_TOKENIZER = 256_000_000  # bytes; the largest tokenizer.json in use has about 35 MB
# Files with a vocabulary. The first existing one is read: transformers prefers tokenizer.json.
VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model")

RULES = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
NEED_JSON = ("TokenizersBackend", "PreTrainedTokenizerFast")  # classes that are read from tokenizer.json


def has_tokenizer(folder: Path) -> bool:
    """Return whether a model's folder has a file from which transformers can make a tokenizer."""
    return any(os.path.exists(folder / name) for name in ("tokenizer_config.json", *VOCABULARIES))


def require_vocabulary(folder: Path, config: JsonObject | None) -> None:
    """Raise ModelError if a tokenizer_config.json is there without the vocabulary that it needs.

    Args:
        folder: of the model.
        config: the content of tokenizer_config.json, if there is one.
    """
    kind = (config or {}).get("tokenizer_class")
    if kind not in NEED_JSON or any(os.path.exists(folder / name) for name in VOCABULARIES):
        return
    raise ModelError(
        f"{folder}: tokenizer.json is missing, and tokenizer_config.json has the class {kind}, which is read "
        "from it. Copy or fetch the tokenizer files again.",
        id="model.tokenizer",
    )


@dataclass(frozen=True)
class TokenizerFacts:
    """A tokenizer, read from its files.

    Attributes:
        file: the name of the file with the vocabulary.
        sha256: the SHA-256 of that file; models with the same one share this object.
        ids: the id of every token; None if only the tokenizer's library can read the file.
        repeated: keys that appear twice in an object of the file.
        rule_parts: how texts are split into tokens: the content of each part of a tokenizer.json.
        template_ids: the ids of the special tokens that its post_processor puts around texts.
    """

    file: str
    sha256: str
    ids: Mapping[str, int] | None
    repeated: tuple[str, ...] = ()
    rule_parts: Mapping[str, Json] = field(default_factory=dict)
    template_ids: tuple[int, ...] = ()

    @cached_property
    def rules(self) -> dict[str, str]:
        """A digest of each of `rule_parts`; made on demand, because most merges are of one tokenizer."""
        parts = dict(self.rule_parts)
        merges = parts.get("merges")
        if isinstance(merges, list):  # older files have "a b" where newer ones have ["a", "b"]
            pairs = (" ".join(map(str, pair)) if isinstance(pair, list) else str(pair) for pair in merges)
            parts["merges"] = "\n".join(pairs)
        return {part: _digest(json.dumps(value, sort_keys=True)) for part, value in parts.items()}


class NotATokenizerError(ValueError):
    """The content of a file from which no tokenizer can be made."""


class TokenizerReader:
    """Reads tokenizers; files with equal bytes are parsed once.

    Attributes:
        parsed: number of files that were parsed.
    """

    def __init__(self) -> None:
        self.parsed = 0
        self._by_hash: dict[str, TokenizerFacts] = {}

    def read(self, folder: Path) -> TokenizerFacts | None:
        """Return the tokenizer in a model's folder; None if there is none.

        Raises:
            ModelError: the tokenizer's file cannot be read, or no tokenizer can be made of it.
        """
        file = next((name for name in VOCABULARIES if os.path.exists(folder / name)), None)
        if file is None:
            return None
        try:
            data = read_bytes(folder / file, MAX_TOKENIZER, links=True)
            added = _added_tokens(folder) if file == "vocab.json" else {}
            sha256 = hashlib.sha256(data + repr(sorted(added.items())).encode()).hexdigest()
            if sha256 not in self._by_hash:
                self.parsed += 1
                self._by_hash[sha256] = _facts(file, sha256, data, added)
        except NotATokenizerError as error:
            raise ModelError(
                f"{folder / file}: not a tokenizer ({error}). {COPY}.", id="model.tokenizer"
            ) from error
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{folder / file}: cannot be read ({error}). {COPY}.",
                id="model.broken",
            ) from error
        return self._by_hash[sha256]


def _facts(file: str, sha256: str, data: bytes, added: Mapping[str, int]) -> TokenizerFacts:
    """Parse a file with a vocabulary.

    Raises:
        NotATokenizerError: it can be parsed, but no tokenizer can be made of it.
        ValueError: it cannot be parsed.
    """
    if data.startswith(LFS_POINTER):
        raise ValueError("a pointer of Git LFS: `git lfs pull` fetches the file")
    if file == "vocab.txt":
        return TokenizerFacts(file, sha256, {token: i for i, token in enumerate(_lines(data))})
    if not file.endswith(".json"):
        return TokenizerFacts(file, sha256, None)
    repeated: list[RepeatedKey] = []
    content = parse_json(data.decode("utf-8"), repeated=repeated)
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    if file == "vocab.json":
        ids = {**_mapping(content), **added}
    else:
        ids = _ids(content)
        _check_with_its_library(data)
    is_whole = file == "tokenizer.json"
    rule_parts = _rule_parts(content) if is_whole else {}
    template_ids = tuple(_template_ids(content.get("post_processor"))) if is_whole else ()
    return TokenizerFacts(file, sha256, ids, tuple(one.key for one in repeated), rule_parts, template_ids)


def _template_ids(processor: Json) -> Iterator[int]:
    """Yield the ids of the special tokens that a post_processor adds; it may be a sequence of several."""
    if not isinstance(processor, dict):
        return
    parts, tokens = processor.get("processors"), processor.get("special_tokens")
    for part in parts if isinstance(parts, list) else ():
        yield from _template_ids(part)
    lists = [processor.get("sep"), processor.get("cls")]  # of BERT: pairs of a token and its id
    for token in tokens.values() if isinstance(tokens, dict) else ():
        lists += [token.get("ids")] if isinstance(token, dict) else []
    for ids in lists:
        if isinstance(ids, list):
            yield from (id for id in ids if isinstance(id, int))


def _rule_parts(content: JsonObject) -> dict[str, Json]:
    """Return the parts of a tokenizer.json that decide how texts are split into tokens."""
    parts: dict[str, Json] = {part: content.get(part) for part in RULES}
    model = content.get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    return {**parts, "merges": merges} if isinstance(merges, list) else parts


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _lines(data: bytes) -> list[str]:
    try:
        return data.decode("utf-8").splitlines()
    except ValueError as error:
        raise NotATokenizerError(str(error)) from error


def _check_with_its_library(data: bytes) -> None:
    """Raise NotATokenizerError unless the tokenizers library, as in transformers, reads a tokenizer.json."""
    from tokenizers import Tokenizer  # imported here to keep --help fast; it loads neither torch nor a host

    try:
        Tokenizer.from_buffer(data)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises plain Exceptions; a Rust panic is a BaseException
        raise NotATokenizerError(first_line(error)[:200]) from error


def _ids(content: JsonObject) -> dict[str, int]:
    """Return the id of every token in a tokenizer.json."""
    model = content.get("model")
    if not isinstance(model, dict):
        raise NotATokenizerError("it has no model")
    ids = _vocabulary(model.get("vocab"))
    more = content.get("added_tokens")
    for token in more if isinstance(more, list) else ():
        name, number = (token.get("content"), token.get("id")) if isinstance(token, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(number, int):
            raise NotATokenizerError("an entry of added_tokens has no content or no id")
        ids[name] = number
    return ids


def _vocabulary(vocabulary: Json) -> dict[str, int]:
    """Return the ids of a vocabulary, which is a mapping, or Unigram's list of (token, score) pairs."""
    if isinstance(vocabulary, dict):
        return _mapping(vocabulary)
    if isinstance(vocabulary, list):
        return {str(pair[0]): i for i, pair in enumerate(vocabulary) if isinstance(pair, list) and pair}
    raise NotATokenizerError("its model has no vocabulary")


def _mapping(content: JsonObject) -> dict[str, int]:
    ids = {token: number for token, number in content.items() if isinstance(number, int)}
    if len(ids) != len(content):
        raise NotATokenizerError("an id of a token is not a number")
    return ids


def _added_tokens(folder: Path) -> dict[str, int]:
    path = folder / "added_tokens.json"
    return _mapping(read_model_json(path)) if os.path.exists(path) else {}
