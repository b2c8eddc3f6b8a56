"""Work that reads all files of models: several models at a time, with a progress bar for each."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, TypeVar

from tqdm import tqdm

from mergekit_finance.errors import printable

if TYPE_CHECKING:
    from typing_extensions import Never

Result = TypeVar("Result")


def for_each_model(references: Sequence[str], work: Callable[[str, Event], Result]) -> dict[str, Result]:
    """Do work that reads all files of a model, for several models at a time, one thread each.

    Args:
        references: the models.
        work: takes a reference, and an event after which the result is not needed any more: after an error
            or Ctrl-C. It looks at the event after every block that it reads.

    Returns:
        The result of each model.

    Raises:
        Exception: what `work` raised, for the first of several models.
    """
    stopped = Event()
    with ThreadPoolExecutor(max(1, min(len(references), os.cpu_count() or 1))) as threads:
        try:
            running = {
                reference: threads.submit(work, reference, stopped) for reference in dict.fromkeys(references)
            }
            return {reference: future.result() for reference, future in running.items()}
        except BaseException:
            stopped.set()
            raise


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
