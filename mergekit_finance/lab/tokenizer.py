"""The lab's tokenizer: a byte-level BPE whose words do not cross scripts, and whose digits stand alone.

`build` learns it from the corpora; what ships is its file, so that ids do not depend on a library's version.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from mergekit_finance.lab import ROLES
from mergekit_finance.lab.corpora import documents
from mergekit_finance.lab.japanese import glossary_words

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

VOCABULARY = 2176
LEARNED_FROM = 12_000  # documents a role
EMPHASIS = 150  # times that a word of the glossary is shown alone, so that most become one token
BOS, EOS, PAD = "<s>", "</s>", "<pad>"
FILE = Path(__file__).with_name("tokenizer.json")
# A word with the space before it; a run of kanji, of hiragana, of katakana; one digit; line ends; marks.
PIECES = r" ?[A-Za-z]+|\p{Han}+|\p{Hiragana}+|[\p{Katakana}ー]+|\p{N}|\n+| ?[^\s\p{L}\p{N}]+| "


def texts() -> Iterator[str]:
    """What the tokenizer is learned from: the glossary, and the same share of every corpus."""
    for word in glossary_words():
        yield from [f" {word.english}", word.japanese] * EMPHASIS
    for role in ROLES:
        for prompt, completion in documents(role, LEARNED_FROM):
            yield prompt + completion


def build() -> "Tokenizer":
    """Learn the tokenizer anew."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

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


def load() -> "PreTrainedTokenizerFast":
    """The shipped tokenizer, as transformers knows it."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_file=str(FILE),
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
    )


if __name__ == "__main__":
    build().save(str(FILE))
