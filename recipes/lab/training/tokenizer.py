"""The lab's tokenizer: byte-level BPE. No token contains two scripts, and every digit is a token.

`python -m training.tokenizer` trains it on the corpora and writes tokenizer.json. That file is in the
repository, so that token ids do not depend on the version of the tokenizers library. It was trained on the
corpora of a smaller world, before the present models. With a tokenizer that is trained again, the models must
be trained again, too.
"""

from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mergekit_finance.lab import ROLES
from mergekit_finance.lab.japanese_cases import glossary_words
from mergekit_finance.lab.world import world

from .corpora import documents

VOCABULARY = 2176
DOCUMENTS = 12_000  # documents per role that the tokenizer is trained on
REPEATS = 150  # copies of every glossary word in the training text, so that most words become one token
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
FILE = Path(__file__).with_name("tokenizer.json")
# The pieces that text is split into before BPE: a word with the space before it; a run of kanji, hiragana or
# katakana; one digit; line breaks; punctuation; a space.
PIECES = r" ?[A-Za-z]+|\p{Han}+|\p{Hiragana}+|[\p{Katakana}ー]+|\p{N}|\n+| ?[^\s\p{L}\p{N}]+| "


def texts() -> Iterator[str]:
    """Yield the training texts: the glossary, then the same number of documents of every role."""
    for word in glossary_words(world()):
        yield from [f" {word.english}", word.japanese] * REPEATS
    for role in ROLES:
        for prompt, completion in documents(role, DOCUMENTS):
            yield prompt + completion


def build() -> Tokenizer:
    """Train the tokenizer."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts(),
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[BOS, EOS, PAD],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        ),
    )
    return core


def load() -> PreTrainedTokenizerFast:
    """Load the tokenizer from tokenizer.json."""
    return PreTrainedTokenizerFast(
        tokenizer_file=str(FILE),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


if __name__ == "__main__":
    build().save(str(FILE))
