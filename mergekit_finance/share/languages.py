"""The natural languages of a card: of the merged experts, and of the tasks."""

from collections.abc import Collection, Mapping

from mergekit_finance.models.card_licenses import languages_on_card
from mergekit_finance.share.choice import SharedPoint, is_foreign
from mergekit_finance.share.source_models import folder_on_disk
from mergekit_finance.study.schema import TaskInfo

ENGLISH = "en"
NAMES = {
    "ar": "Arabic", "bn": "Bengali", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew",
    "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese",
    "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "th": "Thai",
    "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
CODES = {name.lower(): code for code, name in NAMES.items()}


def of_experts(choice: SharedPoint) -> list[str]:
    """Return the codes of the merged experts' languages.

    They are the base's language (English unless its card says otherwise), those that the experts' cards add
    to the base's card, and those that skills name, such as `japanese`.
    """
    on_cards = {m.name: set(languages_on_card(folder_on_disk(m.reference))) for m in choice.models}
    of_base = on_cards.pop("base", set())
    codes = {ENGLISH} if not of_base or ENGLISH in of_base else set(of_base)
    for name in choice.entry.combination:
        codes |= on_cards[name] - of_base
    return in_order(codes | of_skills(choice.skills))


def in_order(codes: Collection[str]) -> list[str]:
    """Return language codes, English first, others sorted."""
    return sorted(codes, key=lambda code: (code != ENGLISH, code))


def of_skills(skills: Collection[str]) -> set[str]:
    """Return the codes of the languages among skills."""
    return {CODES[skill.lower()] for skill in skills if skill.lower() in CODES}


def of_tasks(tasks: Mapping[str, TaskInfo]) -> list[str]:
    """Return the codes of the tasks' languages; those of another project's tasks only if a skill names it."""
    codes = set()
    for name, task in tasks.items():
        codes |= of_skills(task.skills) or (set() if is_foreign(name, task) else {ENGLISH})
    return in_order(codes)


def in_words(codes: Collection[str]) -> str:
    """Return `English`, `English and Japanese`, or `English, German and Japanese`."""
    names = [NAMES.get(code, code) for code in codes]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
