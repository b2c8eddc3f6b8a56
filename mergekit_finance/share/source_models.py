"""The models that a point merges: where they are, which bytes were measured, who names which license.

The source models of a point are the base and its experts. The base is part of every merge, so its license
counts even where it is not a constituent that Gain and OG compare with.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mergekit_finance.errors import ModelError, did_you_mean
from mergekit_finance.files import one_line
from mergekit_finance.models.card_licenses import license_in_families, licenses_on_card
from mergekit_finance.models.licenses import License, find_license, obstacles_to_sharing
from mergekit_finance.study.config import Study
from mergekit_finance.study.results import StudyResults

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
# Names of files with license texts; LICENSE-SERVER-KEY.pem is not one.
LICENSE_FILE = re.compile(
    r"(LICEN[SC]E|COPYING|NOTICE|USE_POLICY)([-_](APACHE|BSD|MIT|LLAMA|CODE|MODEL|DATA))?(\.(txt|md|rst))?",
    re.I,
)
# The same in a card's folder; older cards spelled the folder `licences`.
LICENSE_FILE_IN_CARD = re.compile(r"(licen[sc]es/([^/]+)/)?(LICEN[SC]E|COPYING)[^/]*", re.I)
LARGEST_TEXT = 1_000_000  # bytes of a license text


@dataclass(frozen=True)
class SourceModel:
    """A model whose weights go into a merge.

    Attributes:
        name: `base`, or the expert's name in the study.
        reference: the path or Hub identifier that the study was given.
        fingerprint: the hash of the files that were measured.
        hub_id: the model on the Hub, if it is there.
        claims: who names a license -> the license as named there.
    """

    name: str
    reference: str
    fingerprint: str
    hub_id: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def licenses(self) -> list[License]:
        """All licenses that are claimed. Where they differ, the duties of all of them apply."""
        by_id = {one.id: one for one in map(find_license, self.claims.values())}
        return list(by_id.values()) or [find_license(None)]

    @property
    def shown(self) -> str:
        """The Hub identifier, or the reference if the model is not on the Hub."""
        return self.hub_id or self.reference


def source_models(results: StudyResults, point: str, hub_ids: Mapping[str, str]) -> list[SourceModel]:
    """Return the base and the experts of a point.

    Args:
        hub_ids: Hub identifiers for models that are local folders, by name in the study. Those of experts
            that the point does not merge are not used.

    Raises:
        ModelError: `hub_ids` names a model that is not part of the study.
    """
    models = results.models
    for name in hub_ids:
        if name not in models:
            raise ModelError(f"--hub-id: the study has no {name!r}. {did_you_mean(name, models)}")
    names = results.base_and_experts(point)
    return [
        _source_model(
            results.study, name, models[name].reference, str(models[name].fingerprint), hub_ids.get(name)
        )
        for name in names
    ]


def _source_model(
    study: Study, name: str, reference: str, fingerprint: str, hub_id: str | None
) -> SourceModel:
    in_study = study.base_license if name == "base" else study.experts[name].license
    hub_id = hub_id or (reference.split("@")[0] if is_hub_id(reference) else None)
    claims = {"study.yml": in_study}
    for number, license_name in enumerate(licenses_on_card(folder_on_disk(reference)), 1):
        claims[f"its card ({number})" if number > 1 else "its card"] = license_name
    claims["our list"] = license_in_families(hub_id)
    licenses = {source: one_line(name) for source, name in claims.items() if name}
    return SourceModel(name, reference, fingerprint, hub_id, licenses)


def is_hub_id(reference: str) -> bool:
    """Return whether a reference has the form owner/name; local models are ./folder or an absolute path."""
    return bool(HUB_ID.fullmatch(reference))


def folder_on_disk(reference: str) -> Path | None:
    """Return the folder of a model if it is on this machine, else None. Nothing is downloaded."""
    if not is_hub_id(reference):
        folder = Path(os.path.expanduser(reference.split("@")[0]))
        return folder if os.path.isdir(folder) else None
    # Imported here: `share --help` and reading a card need no Hub client.
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = reference.partition("@")
    config = try_to_load_from_cache(name, "config.json", revision=revision or None)
    return Path(config).parent if isinstance(config, str) else None


def license_files(model: SourceModel) -> list[Path]:
    """Return the license texts beside a model's weights, without links that leave the model's folder."""
    folder = folder_on_disk(model.reference)
    if folder is None:
        return []
    bounds = _bounds(folder)
    candidates = [path for path in folder.iterdir() if LICENSE_FILE.fullmatch(path.name)]
    return sorted(p for p in candidates if p.resolve().is_relative_to(bounds) and _is_small(p))


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < LARGEST_TEXT


def _bounds(folder: Path) -> Path:
    """Return the folder that a model's links may point into.

    It is the model's own folder, or in the Hub's cache, where snapshots link to blobs, the repository's.
    """
    folder = folder.resolve()
    repository = folder.parent.parent
    cached = folder.parent.name == "snapshots" and repository.name.startswith("models--")
    return repository if cached and (repository / "blobs").is_dir() else folder


def obstacles(models: Sequence[SourceModel]) -> list[str]:
    """Return why a merge of these models must not be shared without a person's check, one line each."""
    return obstacles_to_sharing({f"{one.name} ({one.reference})": one.licenses for one in models})


def missing_texts(models: Sequence[SourceModel], files_in_card: Iterable[str]) -> list[str]:
    """Return the license texts that must accompany weights and are missing: `MIT License (finance, math)`.

    Args:
        files_in_card: names of the card's files. A LICENSE at the top may hold the texts of all models.
    """
    models_with_text = {match[2] for name in files_in_card if (match := LICENSE_FILE_IN_CARD.fullmatch(name))}
    if None in models_with_text:
        return []
    missing = []
    for one in (x for x in required_licenses(models) if x.text_copies):
        under_it = [model.name for model in models if one.id in {x.id for x in model.licenses}]
        without = [name for name in under_it if name not in models_with_text]
        if without and (one.text_copies == "each" or without == under_it):
            missing.append(f"{one.title} ({', '.join(without)})")
    return missing


def required_licenses(models: Sequence[SourceModel]) -> list[License]:
    """Return the distinct licenses of all models."""
    return list({one.id: one for model in models for one in model.licenses}.values())


def required_prefix(models: Sequence[SourceModel]) -> str:
    """Return what the name of a shared merge must begin with: `Llama-3`, `Llama` or nothing."""
    return max((one.name_prefix for one in required_licenses(models)), key=len, default="")


def has_prefix(name: str, prefix: str) -> bool:
    """Return whether a repository's name begins as a license requires.

    `Llama-3` must be spelled exactly and not be followed by another digit; other prefixes ignore case.
    """
    if prefix == "Llama-3":
        return bool(re.match(r"Llama[- ]3\D", name))
    return name.lower().startswith(prefix.lower())
