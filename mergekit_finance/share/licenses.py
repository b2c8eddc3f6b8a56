"""Licences of models: what they want of who shares a merge, and which forbid it. No legal advice."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["permissive", "own terms", "non-commercial", "share-alike", "no derivatives", "unknown"]
Copy = Literal["", "once", "each"]  # each: it names the holders, so every parent's own text


@dataclass(frozen=True)
class Licence:
    """A licence by the Hub's id. `begins`: what a derived model's name must begin with."""

    id: str
    title: str
    kind: Kind
    duties: tuple[str, ...] = ()
    link: str = ""
    built_with: str = ""
    begins: str = ""
    notice: str = ""
    copy: Copy = ""  # whether its text must go along with weights
    commercial: bool = True
    alike: bool = False  # a derivative must be under the same licence

    @property
    def shareable(self) -> bool:
        return self.kind not in ("unknown", "no derivatives")

    def carries(self, other: "Licence") -> bool:
        """Whether who keeps its duties keeps the other's, too."""
        known = "unknown" not in (self.kind, other.kind)
        return known and set(other.duties) < set(self.duties)


def _llama(version: str, year: str, begins: str, built: str, link: str) -> Licence:
    """Meta's community licences; `begins` in the spelling that a repository's name allows."""
    duties = [
        f"Give a copy of the Llama {version} Community License along with the weights.",
        f"Keep the notice of the Llama {version} licence (the file NOTICE).",
        f"Respect the Llama {version} Acceptable Use Policy, and pass it on.",
    ]
    if built:
        duties += [
            f'Show "{built}" prominently on the model\'s page.',
            f'The model\'s name must begin with "{begins.replace("-", " ")}" (as a repository: {begins}-…).',
        ]
    who = "Meta Llama 3" if version == "3" else f"Llama {version}"
    terms = "LLAMA 2 Community License" if version == "2" else f"{who} Community License"
    return Licence(
        f"llama{version}",
        f"{terms} ({year})",
        "own terms",
        tuple(duties),
        link,
        built,
        begins,
        f"{who} is licensed under the {terms}, Copyright © Meta Platforms, Inc. All Rights Reserved.",
        copy="once",
    )


def _cc(code: str, title: str, *, nc: bool = False, sa: bool = False, nd: bool = False) -> Licence:
    duties = ["Name the authors, link the licence and say what was changed."]
    if nc:
        duties.append("No commercial use, of the merge either.")
    if sa:
        duties.append(f"Share the merge under the same licence, {title}.")
    if nd:
        duties.append("No changed version may be shared: a merge is one.")
    kind: Kind = "no derivatives" if nd else "share-alike" if sa else "non-commercial" if nc else "permissive"
    *parts, version = code.split("-")
    link = f"https://creativecommons.org/licenses/{'-'.join(parts[1:])}/{version}/"
    return Licence(code, title, kind, tuple(duties), link, commercial=not nc, alike=sa)


KNOWN = {
    licence.id: licence
    for licence in (
        Licence(
            "apache-2.0", "Apache License 2.0", "permissive",
            ("Give a copy of the Apache License 2.0, keep its notices, and say that files were changed.",),
            "https://www.apache.org/licenses/LICENSE-2.0",
            copy="once",
        ),
        Licence(
            "mit", "MIT License", "permissive", ("Keep the copyright notice and the MIT licence's text.",),
            "https://opensource.org/license/mit",
            copy="each",
        ),
        Licence(
            "bsd-3-clause", "BSD 3-Clause License", "permissive",
            ("Keep the copyright notice and the licence's text.",),
            "https://opensource.org/license/bsd-3-clause",
            copy="each",
        ),
        Licence("cc0-1.0", "CC0 1.0", "permissive", (), "https://creativecommons.org/publicdomain/zero/1.0/"),
        _llama("2", "July 2023", "", "", "https://ai.meta.com/llama/license/"),
        _llama("3", "April 2024", "Llama-3", "Built with Meta Llama 3", "https://llama.meta.com/llama3/license/"),
        _llama("3.1", "July 2024", "Llama", "Built with Llama", "https://www.llama.com/llama3_1/license/"),
        _llama("3.2", "September 2024", "Llama", "Built with Llama", "https://www.llama.com/llama3_2/license/"),
        _llama("3.3", "December 2024", "Llama", "Built with Llama", "https://www.llama.com/llama3_3/license/"),
        Licence(
            "gemma", "Gemma Terms of Use", "own terms",
            (
                "Give a copy of the Gemma Terms of Use along with the weights.",
                "Keep the notice of the Gemma terms (the file NOTICE).",
                "Bind whoever gets the merge to the terms' use restrictions, and say that files changed.",
            ),
            "https://ai.google.dev/gemma/terms",
            notice="Gemma is provided under and subject to the Gemma Terms of Use found at "
            "ai.google.dev/gemma/terms",
            copy="once",
        ),
        _cc("cc-by-4.0", "CC BY 4.0"),
        _cc("cc-by-sa-4.0", "CC BY-SA 4.0", sa=True),
        _cc("cc-by-nc-4.0", "CC BY-NC 4.0", nc=True),
        _cc("cc-by-nc-sa-4.0", "CC BY-NC-SA 4.0", nc=True, sa=True),
        _cc("cc-by-nd-4.0", "CC BY-ND 4.0", nd=True),
        _cc("cc-by-nc-nd-4.0", "CC BY-NC-ND 4.0", nc=True, nd=True),
    )
}  # fmt: skip
UNKNOWN = "unknown"
ALIASES = {
    "apache": "apache-2.0", "apache-2": "apache-2.0", "apache-license-2.0": "apache-2.0",
    "mit-license": "mit", "bsd": "bsd-3-clause", "cc0": "cc0-1.0",
    "llama-2": "llama2", "llama-3": "llama3", "meta-llama-3": "llama3",
    "llama-3.1": "llama3.1", "llama-3.2": "llama3.2", "llama-3.3": "llama3.3",
}  # fmt: skip


def licence(name: str | None) -> Licence:
    """By the Hub's id, or as people write it; what is not in our list is unknown, under its own name."""
    code = re.sub(r"[\s_]+", "-", (name or "").strip().lower())
    code = ALIASES.get(code, code)
    if code in KNOWN:
        return KNOWN[code]
    shown = name.strip() if name and code not in ("other", UNKNOWN) else UNKNOWN
    return Licence(shown, shown, "unknown", ("Find out what its licence allows before you share anything.",))


def of_merge(found: Iterable[Licence]) -> dict[str, str]:
    """`license`, and where needed `license_name` and `license_link`, of a merge: all duties, and no fewer.

    A parent's licence is the merge's only where it carries the duties of all others; two permissive ones do
    not carry each other's, for each wants its own text kept. Share-alike wants the merge under itself.
    """
    distinct = sorted({licence.id: licence for licence in found}.values(), key=lambda x: x.id)
    left = [x for x in distinct if not any(other.carries(x) for other in distinct)]
    if (alike := [x for x in left if x.alike]) and all(x.kind == "permissive" or x.alike for x in left):
        left = alike
    if not left:
        return {"license": UNKNOWN}
    if len(left) == 1 and left[0].kind != "unknown":
        return {"license": left[0].id}
    named = "-and-".join(
        sorted(re.sub(r"[^a-z0-9.-]+", "-", x.id.lower()).strip("-") or UNKNOWN for x in left)
    )
    return {"license": "other", "license_name": named, "license_link": "README.md#licences-and-duties"}


def conflict(found: Iterable[Licence]) -> str | None:
    """Why no licence satisfies all of these, if so: share-alike beside terms that it does not carry.

    Creative Commons lets BY-NC be adapted under BY-NC-SA, and BY under BY-SA.
    """
    strict = {x.id: x for x in found if x.kind not in ("permissive", "unknown")}
    for one in (x for x in strict.values() if x.alike):
        others = sorted(x.id for x in strict.values() if x.id != one.id and not one.carries(x))
        if others:
            return (
                f"{one.id} wants the merge under itself, which the terms of {', '.join(others)} do not allow"
            )
    return None
