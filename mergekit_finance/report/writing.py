"""Make everything, then write it: under temporary names, renamed when whole."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from mergekit_finance.errors import DataError
from mergekit_finance.report import figures
from mergekit_finance.report import page as html
from mergekit_finance.report.stored import Stored, load

PAGE = "report.html"


def build(out: Path, with_text: bool = False) -> list[Path]:
    """Read OUT, write OUT/report.html and OUT/figures/; returns what was written."""
    stored = load(out, with_text)
    _refuse(out)
    made = contents(stored)
    _write(out, made)
    _remove_stale(out, made)
    return [out / name for name in made]


def _refuse(out: Path) -> None:
    """Nothing is written through a link, nor where something is in the way: looked at before any of it is."""
    folder = out / "figures"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise DataError(f"{folder}: is a link or no folder; remove it, the report writes its figures there")
    for place in (out / PAGE, *(out / name for name in _pictures())):
        if place.is_dir() and not place.is_symlink():
            raise DataError(f"{place}: is a folder; remove it, the report writes a file there")


def _pictures() -> list[str]:
    """Every figure that a report may have, as a path in OUT."""
    return [f"figures/{name}.{ending}" for name in figures.NAMES for ending in ("png", "svg")]


def contents(stored: Stored) -> dict[str, bytes]:
    """Every file of the report by its path in OUT. The same bytes from the same results."""
    pictures = [html.Picture(drawn, drawn.png(), drawn.svg()) for drawn in figures.drawn(stored)]
    page = html.page(stored, pictures).encode("utf-8", "replace")
    found = {}
    for picture in pictures:
        found[f"figures/{picture.drawn.name}.png"] = picture.png
        found[f"figures/{picture.drawn.name}.svg"] = picture.svg
    return found | {PAGE: page}


def _write(out: Path, made: Mapping[str, bytes]) -> None:
    """All files under temporary names first, so that a full disk leaves the report before as it was."""
    scratch = {out / name: _beside(out / name) for name in made}
    try:
        for place, data in zip(scratch, made.values(), strict=True):
            place.parent.mkdir(exist_ok=True)
            scratch[place].write_bytes(data)
        for place, temporary in scratch.items():
            temporary.replace(place)
    except OSError as fault:
        raise DataError(f"{out}: the report cannot be written ({fault})") from fault
    finally:
        for temporary in scratch.values():
            with suppress(OSError):  # of a folder that may only be read: the fault above says it
                temporary.unlink(missing_ok=True)


def _beside(place: Path) -> Path:
    return place.with_name(f".{place.name}.{os.getpid()}")


def _remove_stale(out: Path, made: Mapping[str, bytes]) -> None:
    """A figure of ours that the study has no results for any more."""
    for name in _pictures():
        if name not in made and (out / name).exists():
            (out / name).unlink()
