"""Checks of a recipe's `tokenizer:` block: mergekit reads sources of tokens only while it merges."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mergekit.common import ModelReference
from mergekit.config import MergeConfiguration
from mergekit.tokenizer.config import ModelTokenEmbedding, TokenEmbeddingConfig, TokenizerConfig

from mergekit_finance.checks.findings import finding
from mergekit_finance.errors import ModelError, RecipeError, did_you_mean
from mergekit_finance.models.facts import stored_folder
from mergekit_finance.models.json_files import read_config
from mergekit_finance.models.tokenizer_files import TokenizerReader, has_tokenizer

MAX_MULTIPLE = 1_000_000  # rows to which a vocabulary is padded; multiples in use are 8 to 1,024


def check_tokenizer_block(config: MergeConfiguration) -> None:
    """Check `tokenizer:` and `tokenizer_source:` of a recipe against the tokenizers that are on this machine.

    Args:
        config: the recipe, for any merge method.

    Raises:
        RecipeError: a model does not exist or is not merged, a token has no source, its model does not have
            it, or a number is out of range.
        ModelError: a model whose tokenizer is used has none.
    """
    block = config.tokenizer or TokenizerConfig(source=config.tokenizer_source or "base")
    if config.tokenizer is None and config.tokenizer_source is None:
        return
    multiple = block.pad_to_multiple_of
    if multiple is not None and not 0 <= multiple <= MAX_MULTIPLE:
        raise RecipeError(
            f"tokenizer.pad_to_multiple_of: {multiple} is not a whole number from 0 to {MAX_MULTIPLE}"
        )
    source = block.source
    if isinstance(source, ModelReference):
        _check_exists("tokenizer", source, ("base", "union"))
    vocabularies = _Vocabularies(config)
    for model in {vocabularies.base, source}:
        folder = stored_folder(str(model.model)) if isinstance(model, ModelReference) else None
        if folder and not has_tokenizer(folder):
            raise finding("model.tokenizer", f"tokenizer: {model} has no tokenizer").as_error()
    for token, entry in (block.tokens or {}).items():
        _check_token(f"tokenizer.tokens.{token}", token, entry, vocabularies)
    if source == "base":
        _check_rows(block.tokens or {}, vocabularies)


def _check_exists(place: str, model: ModelReference, names: tuple[str, ...] = ()) -> None:
    path = model.model.path
    if not os.path.exists(path) and (path.count("/") != 1 or path.startswith(".")):
        hint = did_you_mean(path, names) if names else "Correct it."
        raise RecipeError(f"{place}: there is no model {str(model)!r}. {hint}", id="model.missing")


@dataclass(frozen=True)
class _Vocabulary:
    """Ids of the tokens of one model, and the rows of its embeddings (None: not known)."""

    ids: Mapping[str, int]
    rows: int | None

    def has(self, token: str) -> bool:
        """Return whether the model has an embedding for a token."""
        return token in self.ids and (self.rows is None or self.ids[token] < self.rows)


@dataclass(frozen=True)
class _Vocabularies:
    """The vocabularies of the merged models, read when they are needed."""

    config: MergeConfiguration
    reader: TokenizerReader = field(default_factory=TokenizerReader)

    @property
    def models(self) -> list[ModelReference]:
        return self.config.referenced_models()

    @property
    def base(self) -> ModelReference:
        return self.config.base_model or self.models[0]

    def of(self, model: ModelReference) -> _Vocabulary | None:
        """Return a model's vocabulary; None if it is not on this machine, or not readable without a host."""
        folder = stored_folder(str(model.model))
        try:
            facts = self.reader.read(folder) if folder else None
            rows = read_config(folder).get("vocab_size") if folder else None
        except ModelError:  # a check of the model's files reports it
            return None
        if facts is None or facts.ids is None:
            return None
        return _Vocabulary(facts.ids, rows if isinstance(rows, int) else None)

    def all(self) -> Iterator[_Vocabulary]:
        yield from filter(None, map(self.of, self.models))


def _check_token(place: str, token: str, entry: TokenEmbeddingConfig, vocabularies: _Vocabularies) -> None:
    source = entry.source
    model = source.model if isinstance(source, ModelTokenEmbedding) else source
    if isinstance(model, ModelReference):
        _check_exists(place, model)
        if model not in vocabularies.models:
            names = map(str, vocabularies.models)
            raise RecipeError(
                f"{place}: {str(model)!r} is not merged here. {did_you_mean(str(model), names)}"
            )
    if not entry.force and all(vocabulary.has(token) for vocabulary in vocabularies.all()):
        return  # mergekit takes the embedding that each model has
    if source is None:
        raise RecipeError(f"{place}: no source. Name a merged model, or write source: {{kind: zero}}")
    vocabulary = vocabularies.of(model) if isinstance(model, ModelReference) else None
    if vocabulary is None:
        return
    if isinstance(source, ModelTokenEmbedding) and source.token_id is not None:
        if source.token_id < 0 or (vocabulary.rows is not None and source.token_id >= vocabulary.rows):
            valid = "of at least 0" if vocabulary.rows is None else f"from 0 to {vocabulary.rows - 1}"
            raise RecipeError(f"{place}: {str(model)!r} has no token_id {source.token_id}. Write one {valid}")
        return
    name = source.token if isinstance(source, ModelTokenEmbedding) else token
    if not vocabulary.has(str(name)):
        raise RecipeError(
            f"{place}: {str(model)!r} has no token {name!r:.80}. Name a model that has it, or one of its "
            "tokens: {kind: model_token, model: ..., token: ...}"
        )


def _check_rows(tokens: Mapping[str, TokenEmbeddingConfig], vocabularies: _Vocabularies) -> None:
    """Raise RecipeError for new tokens that have no row in the base: `source: base` adds no rows."""
    base = vocabularies.of(vocabularies.base)
    if base is None or base.rows is None:
        return
    for count, token in enumerate(token for token in tokens if token not in base.ids):
        if len(base.ids) + count >= base.rows:
            raise RecipeError(
                f"tokenizer.tokens.{token}: mergekit adds no rows with source: base. Write source: union"
            )
