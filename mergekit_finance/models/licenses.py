"""Model licenses: what each requires when a merge is shared, and which forbid it. Not legal advice."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

LicenseKind = Literal["permissive", "own terms", "non-commercial", "share-alike", "no derivatives", "unknown"]
TextCopies = Literal["", "once", "each"]


@dataclass(frozen=True)
class License:
    """A license and its obligations.

    Attributes:
        id: the Hub's identifier, for example `apache-2.0`.
        title: the name shown in the card.
        kind: what it permits; `unknown` for a license that is not in this file.
        duties: one sentence per obligation.
        link: where its text is published.
        built_with: the line that the model's page must show, if any.
        name_prefix: what the name of a derived model must start with, if anything.
        notice: the text for the NOTICE file, if any.
        text_copies: copies of its text that must accompany the weights: none, one, or one for each model
            under it (because the text names the copyright holder).
        commercial: whether commercial use is allowed.
        share_alike: whether a derived model must be under the same license.
    """

    id: str
    title: str
    kind: LicenseKind
    duties: tuple[str, ...] = ()
    link: str = ""
    built_with: str = ""
    name_prefix: str = ""
    notice: str = ""
    text_copies: TextCopies = ""
    commercial: bool = True
    share_alike: bool = False

    @property
    def shareable(self) -> bool:
        """Whether a merge of a model under this license may be shared at all."""
        return self.kind not in ("unknown", "no derivatives")

    def covers(self, other: "License") -> bool:
        """Return whether fulfilling this license's duties also fulfills all duties of `other`."""
        both_known = "unknown" not in (self.kind, other.kind)
        return both_known and set(other.duties) < set(self.duties)


@dataclass(frozen=True)
class MergeLicense:
    """The three license fields of a model card's front matter."""

    license: str
    license_name: str | None = None
    license_link: str | None = None


def _llama(version: str, year: str, name_prefix: str, built_with: str, link: str) -> License:
    """Return a Meta community license. `name_prefix` is spelled as a repository name allows."""
    duties = [
        f"Give a copy of the Llama {version} Community License along with the weights.",
        f"Keep the notice of the Llama {version} license (the file NOTICE).",
        f"Respect the Llama {version} Acceptable Use Policy, and pass it on.",
    ]
    if built_with:
        spoken_prefix = name_prefix.replace("-", " ")
        duties += [
            f'Show "{built_with}" prominently on the model\'s page.',
            f'The model\'s name must begin with "{spoken_prefix}" (as a repository: {name_prefix}-…).',
        ]
    product = "Meta Llama 3" if version == "3" else f"Llama {version}"
    terms = "LLAMA 2 Community License" if version == "2" else f"{product} Community License"
    return License(
        f"llama{version}",
        f"{terms} ({year})",
        "own terms",
        tuple(duties),
        link,
        built_with,
        name_prefix,
        f"{product} is licensed under the {terms}, Copyright © Meta Platforms, Inc. All Rights Reserved.",
        text_copies="once",
    )


def _creative_commons(
    code: str, title: str, *, nc: bool = False, sa: bool = False, nd: bool = False
) -> License:
    """Return a Creative Commons license: `nc` non-commercial, `sa` share-alike, `nd` no derivatives."""
    duties = ["Name the authors, link the license and say what was changed."]
    if nc:
        duties.append("No commercial use, which includes the merge.")
    if sa:
        duties.append(f"Share the merge under the same license, {title}.")
    if nd:
        duties.append("Do not share a changed version: a merge is a changed version.")
    kind: LicenseKind = (
        "no derivatives" if nd else "share-alike" if sa else "non-commercial" if nc else "permissive"
    )
    *parts, version = code.split("-")
    link = f"https://creativecommons.org/licenses/{'-'.join(parts[1:])}/{version}/"
    return License(code, title, kind, tuple(duties), link, commercial=not nc, share_alike=sa)


KNOWN = {
    license_.id: license_
    for license_ in (
        License(
            "apache-2.0", "Apache License 2.0", "permissive",
            ("Give a copy of the Apache License 2.0, keep its notices, and say that files were changed.",),
            "https://www.apache.org/licenses/LICENSE-2.0",
            text_copies="once",
        ),
        License(
            "mit", "MIT License", "permissive",
            ("Keep the copyright notice and the text of the MIT license.",),
            "https://opensource.org/license/mit",
            text_copies="each",
        ),
        License(
            "bsd-3-clause", "BSD 3-Clause License", "permissive",
            ("Keep the copyright notice and the text of the license.",),
            "https://opensource.org/license/bsd-3-clause",
            text_copies="each",
        ),
        License("cc0-1.0", "CC0 1.0", "permissive", (), "https://creativecommons.org/publicdomain/zero/1.0/"),
        _llama("2", "July 2023", "", "", "https://ai.meta.com/llama/license/"),
        _llama("3", "April 2024", "Llama-3", "Built with Meta Llama 3", "https://llama.meta.com/llama3/license/"),
        _llama("3.1", "July 2024", "Llama", "Built with Llama", "https://www.llama.com/llama3_1/license/"),
        _llama("3.2", "September 2024", "Llama", "Built with Llama", "https://www.llama.com/llama3_2/license/"),
        _llama("3.3", "December 2024", "Llama", "Built with Llama", "https://www.llama.com/llama3_3/license/"),
        License(
            "gemma", "Gemma Terms of Use", "own terms",
            (
                "Give a copy of the Gemma Terms of Use along with the weights.",
                "Keep the notice of the Gemma terms (the file NOTICE).",
                "Bind recipients of the merge to the use restrictions in the terms; say that files changed.",
            ),
            "https://ai.google.dev/gemma/terms",
            notice="Gemma is provided under and subject to the Gemma Terms of Use found at "
            "ai.google.dev/gemma/terms",
            text_copies="once",
        ),
        _creative_commons("cc-by-4.0", "CC BY 4.0"),
        _creative_commons("cc-by-sa-4.0", "CC BY-SA 4.0", sa=True),
        _creative_commons("cc-by-nc-4.0", "CC BY-NC 4.0", nc=True),
        _creative_commons("cc-by-nc-sa-4.0", "CC BY-NC-SA 4.0", nc=True, sa=True),
        _creative_commons("cc-by-nd-4.0", "CC BY-ND 4.0", nd=True),
        _creative_commons("cc-by-nc-nd-4.0", "CC BY-NC-ND 4.0", nc=True, nd=True),
    )
}  # fmt: skip
UNKNOWN = "unknown"
ALIASES = {
    "apache": "apache-2.0", "apache-2": "apache-2.0", "apache-license-2.0": "apache-2.0",
    "mit-license": "mit", "bsd": "bsd-3-clause", "cc0": "cc0-1.0",
    "llama-2": "llama2", "llama-3": "llama3", "meta-llama-3": "llama3",
    "llama-3.1": "llama3.1", "llama-3.2": "llama3.2", "llama-3.3": "llama3.3",
}  # fmt: skip


def find_license(name: str | None) -> License:
    """Return the license with this Hub identifier or common spelling.

    A name that is not in the list gives a license of kind `unknown` under that name.
    """
    code = re.sub(r"[\s_]+", "-", (name or "").strip().lower())
    code = ALIASES.get(code, code)
    if code in KNOWN:
        return KNOWN[code]
    title = name.strip() if name and code not in ("other", UNKNOWN) else UNKNOWN
    duty = "Find out what its license allows before you share anything."
    return License(title, title, "unknown", (duty,))


def license_of_merge(licenses: Iterable[License]) -> MergeLicense:
    """Return the license of a merge of models under these licenses.

    One of them is used for the merge only if its obligations are a superset of all the others'. Two
    permissive licenses never are (each requires its own notice), so the result is `other`. A share-alike
    license, if present, must be the merge's license.
    """
    distinct = sorted({one.id: one for one in licenses}.values(), key=lambda one: one.id)
    needed = [one for one in distinct if not any(other.covers(one) for other in distinct)]
    share_alike = [one for one in needed if one.share_alike]
    if share_alike and all(one.kind == "permissive" or one.share_alike for one in needed):
        needed = share_alike
    if not needed:
        return MergeLicense(UNKNOWN)
    if len(needed) == 1 and needed[0].kind != "unknown":
        return MergeLicense(needed[0].id)
    names = sorted(re.sub(r"[^a-z0-9.-]+", "-", one.id.lower()).strip("-") or UNKNOWN for one in needed)
    return MergeLicense("other", "-and-".join(names), "README.md#licenses-and-duties")


def obstacles_to_sharing(licenses: Mapping[str, Sequence[License]]) -> list[str]:
    """Return why a merge must not be shared without a person's check, one line each.

    Args:
        licenses: of each model, by the name that the lines show.
    """
    lines = []
    for model, of_model in licenses.items():
        for one in of_model:
            if one.kind == "unknown":
                which = "unknown" if one.id == UNKNOWN else f"{one.id!r:.80}, which is not in our list"
                lines.append(f"the license of {model} is {which}")
            elif not one.shareable:
                lines.append(f"{one.id}, the license of {model}, forbids sharing a merge")
    if clash := conflict(one for of_model in licenses.values() for one in of_model):
        lines.append(f"the licenses of the models contradict each other: {clash}")
    return lines


def conflict(licenses: Iterable[License]) -> str | None:
    """Return why no license satisfies all of these, or None if one does.

    A share-alike license conflicts with terms that it does not cover. Creative Commons allows adapting BY-NC
    works under BY-NC-SA, and BY works under BY-SA.
    """
    strict = {one.id: one for one in licenses if one.kind not in ("permissive", "unknown")}
    for one in (x for x in strict.values() if x.share_alike):
        others = sorted(x.id for x in strict.values() if x.id != one.id and not one.covers(x))
        if others:
            return (
                f"{one.id} requires the merge to be under {one.id}, which the terms of {', '.join(others)} "
                "do not allow"
            )
    return None
