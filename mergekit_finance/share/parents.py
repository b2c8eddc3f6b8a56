"""The models that a point is made of: where they are, whose bytes they have, who says what licence."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mergekit_finance.errors import ModelError, did_you_mean
from mergekit_finance.files import one_line
from mergekit_finance.share import licenses as licences
from mergekit_finance.share.licenses import Licence
from mergekit_finance.study.results import Loaded

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
# Names that licence texts have; LICENSE-SERVER-KEY.pem is none of them.
TEXTS = re.compile(
    r"(LICEN[SC]E|COPYING|NOTICE|USE_POLICY)([-_](APACHE|BSD|MIT|LLAMA|CODE|MODEL|DATA))?(\.(txt|md|rst))?",
    re.I,
)
KEPT = re.compile(r"(licences/([^/]+)/)?(LICEN[SC]E|COPYING)[^/]*", re.I)  # in a card
FRONT = re.compile(rb"(\xef\xbb\xbf)?\s*---\s.*?^\s*[\"']?license", re.S | re.M)


@dataclass(frozen=True)
class Parent:
    """A model that is merged. `claims`: where a licence is named -> the licence as named there."""

    name: str
    reference: str
    fingerprint: str
    hub_id: str | None = None
    claims: Mapping[str, str] = field(default_factory=dict)

    @property
    def licences(self) -> list[Licence]:
        """All that are claimed: where they differ, the duties of all hold."""
        found = {x.id: x for x in map(licences.licence, self.claims.values())}
        return list(found.values()) or [licences.licence(None)]

    def as_json(self) -> dict[str, Any]:
        return {**vars(self), "claims": dict(self.claims)}


def parents(loaded: Loaded, point: str, hub_ids: Mapping[str, str]) -> list[Parent]:
    """Base and experts of a point; a base takes part in every merge, and its licence with it."""
    names = loaded.raw(point)
    for name in hub_ids:
        if name not in names:
            raise ModelError(f"--hub-id: {name!r} is no parent of {point}. {did_you_mean(name, names)}")
    return [_parent(loaded, name, hub_ids.get(name)) for name in names]


def _parent(loaded: Loaded, name: str, hub_id: str | None) -> Parent:
    known, study = loaded.models[name], loaded.study
    reference = str(known["reference"])
    in_study = study.base_licence if name == "base" else study.experts[name].licence
    hub_id = hub_id or (reference.split("@")[0] if is_hub_id(reference) else None)
    own = {f"its card ({i})" if i > 1 else "its card": x for i, x in enumerate(_on_card(reference), 1)}
    claims = {"study.yml": in_study, **own, "our list": _in_families(hub_id)}
    return Parent(
        name, reference, known["fingerprint"], hub_id, {k: one_line(v) for k, v in claims.items() if v}
    )


def is_hub_id(reference: str) -> bool:
    """owner/name; a local model is written ./folder or as a whole path."""
    return bool(HUB_ID.fullmatch(reference))


def place(reference: str) -> Path | None:
    """The folder of a model, if it is on this machine: nothing is fetched."""
    if not is_hub_id(reference):
        folder = Path(reference.split("@")[0]).expanduser()
        return folder if folder.is_dir() else None
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = reference.partition("@")
    found = try_to_load_from_cache(name, "config.json", revision=revision or None)
    return Path(found).parent if isinstance(found, str) else None


def _on_card(reference: str) -> list[str]:
    """The licences in the front matter of the model's own README.md; what cannot be read there is unknown."""
    folder = place(reference)
    if folder is None or not (folder / "README.md").is_file():
        return []
    data = _front_matter(folder / "README.md")
    if data is None:
        return [licences.UNKNOWN]
    found = data.get("license")
    entries = found if isinstance(found, list) else [found]
    return [_named(entry, data) for entry in entries if entry not in (None, "")]


def _front_matter(path: Path) -> Mapping[str, Any] | None:
    """Of a model's card; empty where it has none, None where it has one that nobody can read."""
    from huggingface_hub import metadata_load

    try:
        text = path.read_bytes()
        found = metadata_load(path)
    except Exception:  # somebody else's front matter, wrong in ways of its own
        return None
    return None if found is None and FRONT.match(text) else found or {}


def _named(entry: Any, data: Mapping[str, Any]) -> str:
    """One licence of a model's card, by its own name where the Hub has none."""
    found = data.get("license_name", entry) if entry == "other" else entry
    return found if isinstance(found, str) and found.strip() else licences.UNKNOWN


def _in_families(hub_id: str | None) -> str | None:
    """The licence that a family of ours or of a plugin notes for a model of the Hub."""
    from mergekit_finance.plugins.manager import families

    for family in families():
        pairs = [(family.base, family.license), *((e.model, e.license) for e in family.experts.values())]
        for model, noted in pairs:
            if hub_id and model == hub_id and noted != licences.UNKNOWN:
                return noted
    return None


def texts(parent: Parent) -> list[Path]:
    """Licence texts that lie beside a parent's weights, and not behind a link to somewhere else."""
    folder = place(parent.reference)
    found = [path for path in folder.iterdir() if TEXTS.fullmatch(path.name)] if folder else []
    bounds = _bounds(folder) if folder else Path()
    return sorted(p for p in found if p.resolve().is_relative_to(bounds) and _is_small(p))


def _is_small(path: Path) -> bool:
    return path.is_file() and path.stat().st_size < 1_000_000


def _bounds(folder: Path) -> Path:
    """Where a model's own files end: its folder; in the Hub's cache, which links to blobs, one up."""
    folder = folder.resolve()
    whole = folder.parent.parent
    cached = folder.parent.name == "snapshots" and whole.name.startswith("models--")
    return whole if cached and (whole / "blobs").is_dir() else folder


def obstacles(found: Sequence[Parent]) -> list[str]:
    """Why a merge of these must not be shared without a person's word, a line each."""
    lines = []
    for parent in found:
        for one in parent.licences:
            if one.kind == "unknown":
                lines.append(f"the licence of {parent.name} ({parent.reference}) is {_unknown(one)}")
            elif not one.shareable:
                lines.append(f"{one.id}, the licence of {parent.name} ({parent.reference}), forbids it")
    clash = licences.conflict([one for parent in found for one in parent.licences])
    return [*lines, clash] if clash else lines


def _unknown(one: Licence) -> str:
    return "unknown" if one.id == licences.UNKNOWN else f"{one.id!r}, which we do not know"


def missing_texts(found: Sequence[Parent], there: Iterable[str]) -> list[str]:
    """Licences whose text must go along with weights and is not there: `MIT License (finance, math)`.

    there: files of the card; a LICENSE of the card's own may hold the texts of all.
    """
    kept = {match[2] for name in there if (match := KEPT.fullmatch(name))}
    if None in kept:
        return []
    lines = []
    for one in (x for x in required(found) if x.copy):
        under = [parent.name for parent in found if one.id in {x.id for x in parent.licences}]
        without = [name for name in under if name not in kept]
        if without and (one.copy == "each" or without == under):
            lines.append(f"{one.title} ({', '.join(without)})")
    return lines


def required(found: Sequence[Parent]) -> list[Licence]:
    """The distinct licences of all parents."""
    return list({one.id: one for parent in found for one in parent.licences}.values())


def begins(found: Sequence[Parent]) -> str:
    """What the name of a shared merge must begin with: `Llama-3`, `Llama` or nothing; the longest wins."""
    return max((one.begins for one in required(found)), key=len, default="")
