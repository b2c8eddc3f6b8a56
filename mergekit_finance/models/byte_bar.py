"""The progress bar of work that reads all files of a model."""

from typing import TYPE_CHECKING

from tqdm import tqdm

from mergekit_finance.errors import printable

if TYPE_CHECKING:
    from typing_extensions import Never


def byte_bar(work: str, name: str, total: int, quiet: bool) -> "tqdm[Never]":
    """Return a bar that counts bytes and appears after two seconds.

    Args:
        work: what is done, one word.
        name: of the model's folder.
        total: bytes.
        quiet: without a bar.
    """
    text = f"{work} {printable(name)}"
    return tqdm(total=total, unit="B", unit_scale=True, delay=2, leave=False, desc=text, disable=quiet)
