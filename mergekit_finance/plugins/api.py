"""The types that plugin hooks return.

The field `license` is also accepted as `licence`, in constructors, in YAML and as an attribute,
for one release.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass as validated_dataclass

from mergekit_finance.files import JsonObject

LICENSE_KEYS = AliasChoices("license", "licence")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class File(_Record):
    """One file of a dataset's source.

    Attributes:
        path: its path in the source, and in a mirror below the dataset's folder.
        adapter: the name of the function in `data.adapters` that turns its records into rows.
        subset, split: the subset and split of its rows. If `subset` is empty, the file has several subsets
            and the adapter assigns each row to one.
        sha256: SHA-256 of its bytes, or "unverified" if it is not known in advance.
        url: the URL to download it from, if not from the source's repository.
    """

    path: str
    adapter: str
    subset: str = "default"
    split: str = "test"
    sha256: str = "unverified"
    url: str | None = None


class Source(_Record):
    """A repository that files of a dataset are downloaded from, at a pinned revision.

    `gate` is the page where access has to be requested, if the repository is gated.
    """

    kind: Literal["hub", "url"]
    repo: str
    revision: str
    files: tuple[File, ...]
    gate: str | None = None

    def address(self, file: File) -> str:
        """Return the URL of a file at the pinned revision."""
        if file.url:
            return file.url
        if self.kind == "hub":
            return f"hf://datasets/{self.repo}@{self.revision}/{file.path}"
        return f"https://raw.githubusercontent.com/{self.repo}/{self.revision}/{file.path}"


class Dataset(_Record):
    """A dataset and where its files can be found.

    Attributes:
        name: the name by which tasks refer to it (`fb_dataset`).
        title, homepage, license, citation: shown in reports and model cards.
        text_may_be_shared: whether reports and shared results may contain its text.
        sources: by name, in order of preference.
        adopts: raw files that `mergekit-finance data adopt` searches for, by file name pattern.
    """

    name: str
    title: str
    homepage: str
    license: str = Field(validation_alias=LICENSE_KEYS)
    citation: str
    text_may_be_shared: bool
    sources: dict[str, Source] = Field(default_factory=dict)
    adopts: tuple[File, ...] = ()

    @property
    def licence(self) -> str:
        """The old name of `license`."""
        return self.license


@validated_dataclass(frozen=True)
class Expert:
    """A model that was continually pre-trained from a family's base.

    Attributes:
        model: a Hub id, or a local folder written `./name`.
        license: its SPDX id or the Hub's name for it; "unknown" if none is stated.
        note: what a user should know about it, for example its dtype.
    """

    model: str
    license: str = Field(validation_alias=LICENSE_KEYS)
    note: str = ""

    @property
    def licence(self) -> str:
        """The old name of `license`."""
        return self.license


@validated_dataclass(frozen=True)
class Family:
    """A base model and its experts; `experts` maps a skill to an expert."""

    name: str
    base: str
    license: str = Field(validation_alias=LICENSE_KEYS)
    experts: Mapping[str, Expert] = Field()

    @property
    def licence(self) -> str:
        """The old name of `license`."""
        return self.license


@dataclass(frozen=True)
class Section:
    """A section of the reports.

    Attributes:
        name: unique among sections.
        title: the heading.
        render: gets the content of gain.json and returns the text that `mergekit-finance run` prints; an
            empty text omits the section.
        render_study: gets the content of summary.json and returns text for the end of a study's report.html.
    """

    name: str
    title: str
    render: Callable[[JsonObject], str]
    render_study: Callable[[JsonObject], str] | None = None
