"""The facts of a card that exist only while its folder is written."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class CardFacts:
    """What the text says of the folder and of the installation.

    Attributes:
        recipe: the text of mergekit_config.yml.
        install: the command that installs the packages.
        has_address: whether the command also installs this package.
        figures: file name -> caption.
        hashes: name -> hash.
        versions: package -> version that the results were made with.
        has_weights: whether the folder has the weights.
        samples: whether the folder has prompts and answers.
        license_texts: license texts in the folder.
    """

    recipe: str
    install: str = ""
    has_address: bool = True
    figures: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    has_weights: bool = False
    samples: bool = False
    license_texts: Sequence[str] = ()
