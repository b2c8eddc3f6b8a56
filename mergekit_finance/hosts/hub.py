"""Ask the Hub for a file before anything is fetched.

Without this, its library retries for half a minute, and waits without a limit for a server that sends a byte
now and then.
"""

import threading
import time
from typing import Literal

from mergekit_finance.errors import HubUnreachableError
from mergekit_finance.hosts.hub_client import ask_again, is_silent, limit_answers

ATTEMPTS, PAUSE = 3, 1.0  # seconds between attempts
_answered: set[str] = set()  # addresses of Hubs that answered in this process


def why_unreachable(
    repo: str, file: str, revision: str | None = None, repo_type: Literal["model", "dataset"] = "model"
) -> HubUnreachableError | None:
    """Return why the Hub cannot be reached; None if it answers, or if HF_HUB_OFFLINE is set.

    A Hub that answered once in this process is not asked again. "No such file" and "gated" are answers, too.

    Args:
        repo: of the file that is asked for.
        file: its path in the repository.
        revision: of the repository.
        repo_type: model or dataset.
    """
    # Imported here to keep --help fast: huggingface_hub takes 0.2 s.
    from huggingface_hub import constants, hf_hub_url

    if constants.is_offline_mode():
        return None
    limit_answers()
    if constants.ENDPOINT in _answered and not is_silent():
        return None
    url = hf_hub_url(repo, file, revision=revision, repo_type=repo_type)
    seconds = constants.HF_HUB_ETAG_TIMEOUT
    errors: list[HubUnreachableError | None] = []
    thread = threading.Thread(target=lambda: errors.append(_ask(url, seconds)), daemon=True)
    thread.start()
    thread.join(seconds)
    if not errors:
        return HubUnreachableError(f"no answer from {constants.ENDPOINT} in {seconds} s")
    if errors[0] is None:
        _answered.add(constants.ENDPOINT)
    return errors[0]


def _ask(url: str, seconds: float) -> HubUnreachableError | None:
    from huggingface_hub import get_hf_file_metadata
    from huggingface_hub.errors import HfHubHTTPError

    problem = ""
    for attempt in range(ATTEMPTS):
        time.sleep(PAUSE if attempt else 0)
        ask_again()
        try:
            get_hf_file_metadata(url, timeout=seconds)
            return None
        except HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status not in (408, 429) and status < 500:
                return None  # a later step says what is missing or closed
            problem = f"{url} answered HTTP {status}"
        except Exception as error:  # of the library's HTTP client, which has other names in other versions
            problem = f"{url}: {' '.join(str(error).split()) or type(error).__name__}"
    return HubUnreachableError(problem)
