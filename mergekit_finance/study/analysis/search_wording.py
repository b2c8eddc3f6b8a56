"""What a search did not ask, in words: for the verdict, the report and the card."""

from collections.abc import Iterator
from itertools import pairwise

from mergekit_finance.errors import counted
from mergekit_finance.study.schema import RaceResult, Summary


def search_sentences(summary: Summary) -> Iterator[tuple[str, str]]:
    """Yield what was asked and what was not; nothing for a study of the full grid."""
    races = summary.races or {}
    if not races:
        return
    settings = sum(race.settings for race in races.values())
    dropped = f"{settings - len(races)} of {settings} settings"
    yield (
        "search",
        "The settings of each combination raced on growing parts of the selection items (successive "
        f"rejects). The races asked for {share_of_answers(summary)} of the answers that the full grid needs "
        f"on these items. {dropped} were dropped: they answered no report item, and no task besides "
        f"those of the {'objective and its bounds' if summary.objective else 'macro average'}.",
    )
    if summary.objective and summary.objective.bounds:
        yield (
            "search",
            "A setting that surely did not keep a bound, on the items of a round, came after all others. "
            "Whether the winners keep the bounds is decided on all selection items. A dropped setting may "
            "keep a bound that a winner does not.",
        )
    for name, race in races.items():
        yield "search", f"{name}: {rounds_text(race)}."
    if any(_asks_nothing_new(race) for race in races.values()):
        yield (
            "search",
            "Some rounds asked for no new items, because a round has at least one cluster of every task. "
            "Such races may take more than the budget and choose by few items. Raise `limit`.",
        )
    yield (
        "search",
        "Dropped settings are left out of figures and tables of scores. Operators, and their sensitivity to "
        "hyperparameters, are not compared: that needs the full grid.",
    )


def _asks_nothing_new(race: RaceResult) -> bool:
    """Return whether a round of a race had the items of the round before."""
    return any(one.items == later.items for one, later in pairwise(race.rounds))


def share_of_answers(summary: Summary) -> str:
    """Return the share of the answers of the full grid on selection items that all races asked for."""
    races = (summary.races or {}).values()
    asked, all_answers = sum(race.answers for race in races), sum(race.grid_answers for race in races)
    return f"{_percent(asked, all_answers)} ({asked:,} of {all_answers:,})"


def _percent(count: int, total: int) -> str:
    """Return a share as `24.9 %`."""
    return f"{100 * count / max(1, total):.1f} %"


def rounds_text(race: RaceResult) -> str:
    """Return `30 settings answered 48 of 576 items, 15 of them 96 items, ...: 24.9 % of the answers`."""
    if not race.rounds:
        return f"1 setting, no race, {counted(race.items, 'item')}"
    first, *later = race.rounds
    parts = [f"{first.settings} settings answered {first.items} of {race.items} items"]
    parts += [f"the best {one.settings} of them {one.items}" for one in later]
    return f"{', '.join(parts)}, the winner all: {_percent(race.answers, race.grid_answers)} of the answers"


def search_note(summary: Summary) -> str:
    """Return one sentence for a card, or "" for a study of the full grid."""
    if not summary.races:
        return ""
    return (
        "They won a race against the other settings (successive rejects), which asked for "
        f"{share_of_answers(summary)} of the answers of the full grid on those items."
    )
