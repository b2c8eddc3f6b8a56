"""Facts about a model that are read without loading its weights: its config and the headers of its files."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mergekit_finance.errors import ModelError, model_errors
from mergekit_finance.files import Json, JsonObject
from mergekit_finance.hosts.hub import why_unreachable
from mergekit_finance.hosts.hub_client import limit_answers
from mergekit_finance.models.buffers import is_buffer
from mergekit_finance.models.card_licenses import license_in_families, licenses_on_card
from mergekit_finance.models.chat_templates import chat_template, named_templates
from mergekit_finance.models.config_values import check_tokenizer_values
from mergekit_finance.models.json_files import (
    CONFIG,
    INDEXES,
    read_config,
    read_model_json,
    shard_names,
    weight_map,
)
from mergekit_finance.models.model_class import check_keys, check_model_class, check_types
from mergekit_finance.models.pickled_weights import read_pickled_tensors
from mergekit_finance.models.tokenizer_files import TokenizerFacts, TokenizerReader, require_vocabulary
from mergekit_finance.models.weight_files import (
    MAX_BYTES,
    ByteReader,
    BytesSpent,
    TensorFacts,
    Values,
    read_header,
    read_samples,
)

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Config keys that must be equal for two models' tensors to be merged element by element.
SHAPE = (
    "architectures",
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
)
VOCABULARY = "vocab_size"
ROPE_THETA = 10000.0  # the default if the config has no value
SINGLE = "model.safetensors"
WEIGHTS = {SINGLE: INDEXES[0], "pytorch_model.bin": INDEXES[1]}  # the single file, and the index of shards
SMALL_FILES = (
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
Computed = TypeVar("Computed")


@dataclass(frozen=True)
class Problem:
    """A defect in a model's files: the id of its finding, and a text on what is wrong and where."""

    id: str
    message: str


@dataclass(frozen=True)
class ModelFacts:
    """Facts about a model from its files: plain data, read without mergekit, transformers or the weights.

    Attributes:
        reference: the model reference in the recipe or study.
        folder: the folder of its files; None if they are not on this machine.
        config: config.json; empty if it was not read.
        tensors: every tensor by name; None if there are no weights, or if their headers are broken.
        samples: values of each floating-point tensor at `weight_files.sample_ranges`, by name.
        weight_files: names of the files that contain the tensors.
        generation_config, tokenizer_config: the contents of these files; None if there is no such file.
        special_tokens, added_tokens: those of special_tokens_map.json and added_tokens.json.
        chat_template: the default chat template; None if there is none.
        named_templates: the templates in additional_chat_templates/, by name.
        tokenizer: tokens and ids; None if there are no tokenizer files.
        licenses: the licenses that the model's card and families of experts name.
        problems: the defects that were found.
        unseen: one sentence for each part that could not be checked.
    """

    reference: str
    folder: Path | None = None
    config: JsonObject = field(default_factory=dict)
    tensors: Mapping[str, TensorFacts] | None = None
    samples: Mapping[str, Values] = field(default_factory=dict)
    weight_files: tuple[str, ...] = ()
    generation_config: JsonObject | None = None
    tokenizer_config: JsonObject | None = None
    special_tokens: JsonObject | None = None
    added_tokens: JsonObject | None = None
    chat_template: str | None = None
    named_templates: Mapping[str, str] = field(default_factory=dict)
    tokenizer: TokenizerFacts | None = None
    problems: tuple[Problem, ...] = ()
    unseen: tuple[str, ...] = ()
    licenses: tuple[str, ...] = ()

    @property
    def text(self) -> JsonObject:
        """The config of the language model: models of text and images have one inside config.json."""
        inner = self.config.get("text_config")
        return inner if isinstance(inner, dict) else self.config

    @property
    def sizes(self) -> dict[str, Json]:
        """The value of every key of SHAPE and of `vocab_size`; None if the config does not have the key."""
        sizes = {key: self.text.get(key) for key in (*SHAPE, VOCABULARY)}
        sizes["architectures"] = self.config.get("architectures")
        heads, width = sizes["num_attention_heads"], sizes["hidden_size"]
        if sizes["num_key_value_heads"] is None:
            sizes["num_key_value_heads"] = heads
        if sizes["head_dim"] is None and isinstance(heads, int) and isinstance(width, int) and heads:
            sizes["head_dim"] = width // heads
        return sizes

    @property
    def rope(self) -> JsonObject:
        """The settings of rotary positions with the keys of transformers 5; older keys are translated."""
        current = self.text.get("rope_parameters")
        if isinstance(current, dict):
            return {"rope_theta": ROPE_THETA, "rope_type": "default", **current}
        theta = self.text.get("rope_theta")
        settings: JsonObject = {"rope_theta": ROPE_THETA if theta is None else theta, "rope_type": "default"}
        scaling = self.text.get("rope_scaling")
        if isinstance(scaling, dict):
            settings |= {"rope_type" if key == "type" else key: value for key, value in scaling.items()}
        return settings


class FactsReader:
    """Reads the facts of several models. Counts bytes of weight files, and parses equal tokenizers once."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._bytes = ByteReader(max_bytes)
        self._tokenizers = TokenizerReader()

    @property
    def bytes_read(self) -> int:
        """Bytes of weight files that were read so far."""
        return self._bytes.bytes_read

    @property
    def tokenizers_parsed(self) -> int:
        """Tokenizer files that were parsed so far."""
        return self._tokenizers.parsed

    def read(self, reference: str, folder: Path | None = None) -> ModelFacts:
        """Return the facts of a model. Broken files are listed in `problems`, missing ones in `unseen`.

        Args:
            reference: a local folder or a Hub id; nothing is fetched.
            folder: the folder of its files, if it differs from the reference.
        """
        folder = folder or stored_folder(reference)
        licenses = tuple(filter(None, [*licenses_on_card(folder), _license_of_family(reference)]))
        if folder is None:
            unseen_sentence = f"{reference} is not on this machine: nothing was checked"
            return ModelFacts(reference, unseen=(unseen_sentence,), licenses=licenses)
        problems = _Problems()
        unseen: list[str] = []
        config = problems.collect(lambda: _read_config(folder, problems.warn)) or {}
        generation, *of_tokenizer = [
            problems.collect(partial(_optional, folder / name, problems.warn)) for name in SMALL_FILES
        ]
        problems.collect(lambda: check_tokenizer_values(folder, *of_tokenizer))
        tokenizer_config = of_tokenizer[0]
        problems.collect(lambda: require_vocabulary(folder, tokenizer_config))
        tokenizer = problems.collect(lambda: self._tokenizers.read(folder))
        template = problems.collect(lambda: chat_template(folder, tokenizer_config or {}))
        named = problems.collect(lambda: named_templates(folder)) or {}
        files = problems.collect(lambda: weight_files(folder))
        tensors, samples = None, {}
        if files:
            tensors = problems.collect(lambda: self._tensors(folder, files, unseen, problems.warn))
        elif files is not None:
            unseen.append(f"{reference} has no weights on this machine: tensors and values were not checked")
        if tensors:
            try:
                samples = read_samples(folder, list(tensors.values()), self._bytes)
            except BytesSpent:
                unseen.append(f"values of {reference} were not checked: {_spent(self._bytes)}")
            except OSError as error:
                problems.append(Problem("model.broken", f"{folder}: cannot be read ({error})"))
        if tensors and is_pickled(folder):
            unseen.append(f"values of {reference} were not checked: only those of safetensors files are")
        if files and (other := other_set(folder, files)):
            problems.append(Problem("model.two-sets", f"{folder} has {other} and an index of other files"))
        if tokenizer:
            for key in tokenizer.repeated:
                problems.warn(f"{folder / tokenizer.file}: the key {key!r:.80} appears twice")
        if tokenizer and tokenizer.ids is None:
            unseen.append(f"{folder / tokenizer.file} can only be read by its own library: ids not compared")
        return ModelFacts(
            reference, folder, config, tensors, samples, tuple(files or ()), generation, tokenizer_config,
            of_tokenizer[1], of_tokenizer[2], template, named, tokenizer, tuple(dict.fromkeys(problems)),
            tuple(unseen), licenses,
        )  # fmt: skip

    def _tensors(
        self, folder: Path, files: Sequence[str], unseen: list[str], warn: Callable[[str], object]
    ) -> dict[str, TensorFacts] | None:
        tensors: dict[str, TensorFacts] = {}
        for name in files:
            try:
                if name.endswith(".bin"):
                    header = read_pickled_tensors(folder / name, self._bytes)
                else:
                    header = read_header(folder / name, self._bytes, warn)
            except BytesSpent:
                unseen.append(f"tensors of {folder} were not checked: {_spent(self._bytes)}")
                return None
            for tensor in header:
                if tensor.name in tensors:
                    raise ModelError(
                        f"{folder / name}: {tensor.name!r:.80} is in two files of the index.",
                        id="model.broken",
                    )
                tensors[tensor.name] = tensor
        _check_index(folder, tensors, warn)
        return tensors


def _check_index(folder: Path, tensors: Mapping[str, TensorFacts], warn: Callable[[str], object]) -> None:
    """Raise ModelError unless index and files agree: mergekit reads the one, transformers the others."""
    for index in WEIGHTS.values():
        if listed := weight_map(folder, index, warn):
            wrong = sorted(n for n, file in listed.items() if n not in tensors or tensors[n].file != file)
            if wrong:
                file = listed[wrong[0]]
                raise ModelError(f"{folder / index}: {wrong[0]!r:.80} is not in {file}.", id="model.broken")
            if extra := sorted(name for name in tensors.keys() - listed.keys() if not is_buffer(name)):
                raise ModelError(
                    f"{folder / index}: {extra[0]!r:.80} of {tensors[extra[0]].file} is not listed.",
                    id="model.broken",
                )
            return


class _Problems(list[Problem]):
    def collect(self, read: Callable[[], Computed]) -> Computed | None:
        """Return what `read` returns; an error becomes a problem, and None is returned."""
        try:
            return read()
        except OSError as error:
            text = f"{error.filename}: cannot be read ({error.strerror}). Copy or fetch it again."
            self.append(Problem("model.broken", text))
        except ModelError as error:
            self.append(Problem(error.id or "model.broken", error.message))
        return None

    def warn(self, sentence: str) -> None:
        """Add a repeated key of a JSON file."""
        self.append(Problem("model.repeated-key", sentence))


def _spent(reader: ByteReader) -> str:
    return f"a check reads at most {reader.max_bytes / 1e6:g} MB of weight files"


def stored_folder(reference: str) -> Path | None:
    """Return the folder of a model if it is on this machine: a local one, or one in the Hub's cache."""
    path = Path(os.path.expanduser(reference))
    if os.path.isdir(path):  # False for a name that is too long, where Path.is_dir raises OSError
        return path
    name, _, revision = reference.partition("@")
    if revision and os.path.isdir(local := os.path.expanduser(name)):  # mergekit ignores the revision
        return Path(local)
    if not HUB_ID.fullmatch(name):
        return None
    from huggingface_hub import try_to_load_from_cache  # imported here: takes 0.3 s, not for local models

    try:
        config = try_to_load_from_cache(name, "config.json", revision=revision or None)
    except (OSError, ValueError):
        return None
    return Path(config).parent if isinstance(config, str) else None


def require_folder(reference: str, problem: str = "") -> None:
    """Raise ModelError if a reference is the path of a folder that is gone: hosts take it for a Hub id.

    Args:
        reference: a path or a Hub id.
        problem: what cannot be done, with a colon, for the message.
    """
    path = os.path.expanduser(reference.partition("@")[0])
    if path.startswith(("/", ".")) and not (os.path.isdir(path) or os.path.isdir(reference)):
        raise ModelError(
            f"model {reference!r}: {problem}no such folder. It may have been moved since the checks.",
            id="model.missing",
        )


def weight_files(folder: Path) -> list[str]:
    """Return the names of the weight files in a folder that mergekit reads; empty if there are none.

    An index of shards takes precedence over a single file, and safetensors over `.bin`.

    Raises:
        ModelError: the index is broken or lists a file outside the folder.
    """
    for single, index in WEIGHTS.items():
        if names := shard_names(folder, index):
            return names
        if os.path.exists(folder / single):
            return [single]
    return []


def other_set(folder: Path, files: Sequence[str]) -> str:
    """Return the single file of weights beside an index of other files, which transformers reads; else ""."""
    for single, index in WEIGHTS.items():
        if os.path.exists(folder / single):
            return single if list(files) != [single] else ""
        if os.path.exists(folder / index):
            break
    return ""


def _license_of_family(reference: str) -> str | None:
    name = reference.partition("@")[0]
    return license_in_families(name) if HUB_ID.fullmatch(name) else None


def _optional(path: Path, warn: Callable[[str], object]) -> JsonObject | None:
    return read_model_json(path, warn=warn) if os.path.exists(path) else None


def _read_config(folder: Path, warn: Callable[[str], object] | None = None) -> JsonObject:
    config = read_config(folder, warn)
    check_model_class(folder / CONFIG, config)
    check_types(folder / CONFIG, config)
    check_keys(folder / CONFIG, config)
    return config


def load_config(reference: str, trust_remote_code: bool = False) -> "PretrainedConfig":
    """Return a model's config as transformers loads it. Raises ModelError: broken, or cannot be fetched."""
    # Imported here to keep --help fast: mergekit takes 4.5 s.
    from mergekit.common import ModelReference

    if os.path.isdir(reference):
        _read_config(Path(reference))
    require_hub(reference)
    with model_errors(f"model {reference!r}: its config cannot be loaded"):
        return ModelReference.model_validate(reference).config(trust_remote_code)


def require_hub(reference: str) -> None:
    """Raise ModelError if a model has to be fetched from the Hub, and the Hub does not answer."""
    name, _, revision = reference.partition("@")
    if os.path.isdir(os.path.expanduser(name)) or not HUB_ID.fullmatch(name):
        return
    folder = stored_folder(reference)
    if folder and weight_files(folder):
        limit_answers()  # hosts ask whether the cached files are the newest
        return
    if error := why_unreachable(name, CONFIG, revision or None):
        raise ModelError(
            f"model {reference!r}: cannot be fetched ({error}). Check the network and HF_ENDPOINT, or name a "
            "local folder.",
            id="model.unreachable",
        )


def fetched_folder(reference: str) -> Path:
    """Return the folder of a model, which is downloaded from the Hub if it is not local."""
    from mergekit.common import ModelReference  # see the note in load_config

    require_hub(reference)
    with model_errors(f"model {reference!r}: cannot be fetched", "model.missing"):
        return Path(ModelReference.model_validate(reference).local_path(ignore_lora=True))


def read_tensors(reference: str) -> list[TensorFacts]:
    """Return the tensors in the headers of a model's weight files, in order of file name.

    Raises:
        ModelError: a file listed in the index is missing, or a file is truncated or broken, or a `.bin` file
            contains anything but tensors. No code in it is run.
    """
    folder = fetched_folder(reference)
    if is_pickled(folder):
        return [tensor for name in weight_files(folder) for tensor in read_pickled_tensors(folder / name)]
    files = {*map(folder.joinpath, shard_names(folder)), *folder.glob("*.safetensors")}
    return [tensor for path in sorted(files) for tensor in _safetensors(path, reference)]


def is_pickled(folder: Path) -> bool:
    """Return whether a folder's weights are `.bin` files, because it has no safetensors files."""
    return any(name.endswith(".bin") for name in weight_files(folder))


def _safetensors(path: Path, reference: str) -> list[TensorFacts]:
    """Return the tensors of a file as the safetensors library reads its header."""
    from safetensors import SafetensorError, safe_open

    if not os.path.isfile(path):
        raise ModelError(
            f"model {reference!r}: {path.name} is missing, although the index lists it",
            id="model.missing",
        )
    tensors = []
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():
                header = file.get_slice(name)
                tensors.append(TensorFacts(name, tuple(header.get_shape()), str(header.get_dtype())))
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"model {reference!r}: {path.name} is truncated or broken ({error}). Copy it again.",
            id="model.broken",
        ) from error
    return tensors


def short_name(reference: str) -> str:
    """Return the last component of a path or Hub id, for tables."""
    return reference.rstrip("/").split("/")[-1]
