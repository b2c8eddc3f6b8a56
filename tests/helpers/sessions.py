"""Tiny models and recipes for sessions, and what a session's point must equal."""

from pathlib import Path
from typing import Any

from helpers.merging import WORDS, random_models, raw, recipe, run, write_tokenizer
from mergekit_finance.merging.session import MergeSession

NAMES = ("base", "finance", "math")


def models(folder: Path, **settings: Any) -> Path:
    random_models(folder, **settings)
    for name in NAMES:
        write_tokenizer(folder / name, WORDS)
    return folder


def at(settings: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a point."""
    entries = [{**m, "parameters": dict(m["parameters"])} for m in settings["models"]]
    shared = dict(settings["parameters"])
    for name, value in point.items():
        if name in ("lambda_", "seed"):
            shared[name.rstrip("_")] = value
            continue
        for entry in entries:
            mask_id = entry["parameters"]["mask_id"]
            model_value = value.get(mask_id) if isinstance(value, dict) else value
            if model_value is not None:
                entry["parameters"][name] = model_value
    return {**settings, "models": entries, "parameters": shared}


def assert_is_written(session: MergeSession, settings: dict[str, Any], out: Path) -> None:
    written = run(settings, out)
    live = dict(session.model.named_parameters(remove_duplicate=False))
    assert set(written) <= set(live)
    wrong = [n for n, tensor in written.items() if raw(live[n].data) != raw(tensor)]
    assert not wrong


def settings_of(folder: Path, method: str, semantics: str, **more: Any) -> dict[str, Any]:
    each = {} if method == "cpt_task_arithmetic" else {"density": 0.4}
    return recipe(folder, method, ("finance", "math"), each=each, semantics=semantics, **more)
