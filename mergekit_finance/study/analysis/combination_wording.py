"""The effect of a combination in one plain sentence."""

from mergekit_finance.study.analysis import verdict
from mergekit_finance.study.analysis.phrases import difference, merge_name
from mergekit_finance.study.schema import Effect, EffectKind, Summary


def combination_sentence(summary: Summary, combination: str) -> str:
    """Return the effect of a combination's selected merge as one plain sentence, with what decided it."""
    effect, merge = verdict.effect(summary, combination), merge_name(combination)
    row = summary.selected[summary.combinations[combination].selected].sets[effect.tested]
    best, over_best = row.best_constituent, difference(row.over_best_constituent)
    over_base = f" ({difference(row.over_base)})" if row.over_base else ""
    if effect.kind is EffectKind.TOO_FEW_ITEMS:
        return (
            f"{row.clusters} independent items are too few for a verdict on {merge}: it differs by "
            f"{over_best} from {best}, the best model in it."
        )
    if effect.kind in (EffectKind.BORDERLINE, EffectKind.NOT_REPEATED):
        return _uncertain(effect, merge, f"{over_best} from {best}, the best model in it")
    above = f"{merge} scores higher than {best}, the best model in it, by {over_best}"
    unclear = f"{merge} does not differ clearly from {best}, the best model in it ({over_best})"
    sentences = {
        EffectKind.ABOVE_ALL: f"{above}, and higher than the base{over_base}.",
        EffectKind.NOT_ABOVE_BASE: f"{above}, but not clearly higher than the base{over_base}.",
        EffectKind.NOT_ABOVE_EXPERTS: f"{above}, but not clearly higher than every expert before merging.",
        EffectKind.NOT_AFTER_CORRECTION: f"{above}, but not after correction for the number of combinations.",
        EffectKind.NO_EFFECT: f"{unclear}.",
        EffectKind.BELOW_BASE: f"{unclear}, and scores lower than the base{over_base}.",
        EffectKind.BELOW_BEST: f"{merge} scores lower than {best}, the best model in it: {over_best}.",
        EffectKind.INTERFERENCE: (
            f"{merge} scores lower than the mean of the models in it ({difference(row.gain)}) and than "
            f"{best}, the best of them ({over_best})."
        ),
    }
    return sentences[effect.kind]


def _uncertain(effect: Effect, merge: str, difference: str) -> str:
    if effect.kind is EffectKind.BORDERLINE:
        return f"The verdict on {merge} depends on the random seed: it differs by {difference}."
    return f"Other training runs do not repeat the effect of {merge}, which differs by {difference}."
