"""What things are called in figures and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

OPERATORS = {"task_arithmetic": "Task Arithmetic", "ties": "TIES", "dare_ties": "DARE-TIES"}
SHORT = {"task_arithmetic": "TA", "ties": "TIES", "dare_ties": "DARE-TIES"}
SYMBOLS = {"lambda": "λ", "density": "d"}
STAGES = {
    1: "Stage 1: the base and one expert",
    2: "Stage 2: two experts",
    3: "Stage 3: three experts",
}
TURNING = dict.fromkeys([0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)])
KINDS = {"tasks": "", "probes": "probes", "retention": "retention"}


def straight(text: str) -> str:
    """Without characters that turn the direction of text: they would scramble what stands beside a name."""
    return text.translate(TURNING)


def task(name: str) -> str:
    return name.removeprefix("finance_bench_")


def clipped(text: str, most: int) -> str:
    """The beginning of a name that is too long for its place."""
    return text if len(text) <= most else text[: most - 1] + "…"


def operator(name: str, short: bool = False) -> str:
    return (SHORT if short else OPERATORS).get(name, name)


def values(point: Mapping[str, Any]) -> str:
    """`λ 0.4`, or `d 0.2, λ 1`."""
    found = sorted(
        point["values"].items(), key=lambda kv: list(SYMBOLS).index(kv[0]) if kv[0] in SYMBOLS else 9
    )
    dense = [kv for kv in found if kv[0] == "density"]
    rest = [kv for kv in found if kv[0] != "density"]
    return ", ".join(f"{SYMBOLS.get(key, key)} {value:g}" for key, value in dense + rest)


def combination(names: Sequence[str]) -> str:
    """`finance + math`; of one expert `base + finance`."""
    return " + ".join(["base", *names] if len(names) == 1 else names)


def how(point: Mapping[str, Any], short: bool = True) -> str:
    return f"{operator(point['operator'], short)} {values(point)}"


def point(known: Mapping[str, Any]) -> str:
    """`finance + math · TA λ 0.4`."""
    return f"{combination(known['combination'])} · {how(known)}"


def initials(names: Sequence[str]) -> dict[str, str]:
    """One capital a name where that tells them apart, else the names."""
    made = {name: name[:1].upper() for name in names}
    return made if len(set(made.values())) == len(made) else {name: name for name in names}


def skills(known: Mapping[str, Any]) -> str:
    """The group of a task: `finance + math`, `probes`, …"""
    return KINDS.get(known["kind"], known["kind"]) or " + ".join(known.get("skills") or ["other"])


def points(value: float, sign: bool = False) -> str:
    """A share as points of a hundred."""
    shown = round(100 * value, 1) + 0.0  # no minus zero
    return f"{shown:+.1f}" if sign and shown else f"{shown:.1f}"


def interval(numbers: Sequence[float], sign: bool = False) -> str:
    value, low, high = (points(number, sign) for number in numbers)
    return f"{value} [{low}, {high}]"
