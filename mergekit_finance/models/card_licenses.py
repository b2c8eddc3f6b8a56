"""The licenses that a model's card (README.md) or a family of experts names, and a card's languages."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from mergekit_finance import strict_yaml
from mergekit_finance.files import Json, read_text
from mergekit_finance.models.licenses import UNKNOWN
from mergekit_finance.plugins.manager import families

FRONT_MATTER = re.compile(r"\s*---\n(.*?)\n---[ \t]*(\n|\Z)", re.S)  # where the Hub reads it
UNREADABLE_LICENSE = re.compile(r"\s*---\s.*?^[ \t]*[\"']?license", re.S | re.M)  # the end is missing
LANGUAGE_CODE = re.compile(r"[a-z]{2}")
LARGEST_CARD = 16_000_000  # bytes of a model card; strict_yaml bounds its front matter


def licenses_on_card(folder: Path | None) -> list[str]:
    """Return the licenses in the front matter of the model's README.md; `unknown` if it is unreadable.

    Args:
        folder: of the model; None if it is not on this machine.
    """
    if folder is None or not os.path.isfile(folder / "README.md"):
        return []
    front_matter = _front_matter(folder / "README.md")
    if front_matter is None:
        return [UNKNOWN]
    value = front_matter.get("license")
    entries = value if isinstance(value, list) else [value]
    return [_license_name(entry, front_matter) for entry in entries if entry not in (None, "")]


def languages_on_card(folder: Path | None) -> list[str]:
    """Return the two-letter codes of languages in the front matter of the model's README.md.

    Args:
        folder: of the model; None if it is not on this machine.
    """
    if folder is None or not os.path.isfile(folder / "README.md"):
        return []
    value = (_front_matter(folder / "README.md") or {}).get("language")
    codes = value if isinstance(value, list) else [value]
    return [code for code in codes if isinstance(code, str) and LANGUAGE_CODE.fullmatch(code)]


def _front_matter(path: Path) -> Mapping[str, Json] | None:
    """Return a model card's front matter: empty if it has none, None if it cannot be parsed."""
    try:
        text = read_text(path, max_bytes=LARGEST_CARD, links=True)  # the Hub's cache holds links
        block = FRONT_MATTER.match(text)
        content = strict_yaml.parse(block[1]) if block else None
    except (OSError, ValueError):
        return None
    if content is None:
        return None if UNREADABLE_LICENSE.match(text) else {}
    return content if isinstance(content, dict) else None


def _license_name(entry: Json, front_matter: Mapping[str, Json]) -> str:
    """Return one license of a model card; `other` stands for the card's `license_name`."""
    name = front_matter.get("license_name", entry) if entry == "other" else entry
    return name if isinstance(name, str) and name.strip() else UNKNOWN


def license_in_families(hub_id: str | None) -> str | None:
    """Return the license that a family of experts (ours or a plugin's) records for a model on the Hub."""
    for family in families():
        recorded = [(family.base, family.license), *((e.model, e.license) for e in family.experts.values())]
        for model, license_name in recorded:
            if hub_id and model == hub_id and license_name != UNKNOWN:
                return license_name
    return None
