"""Sending a card's folder to the Hub, and every reason not to, in one line each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mergekit_finance.errors import DataError, ModelError
from mergekit_finance.share import manifest as files
from mergekit_finance.share import parents
from mergekit_finance.share.manifest import Plan

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
CHECKED = "--i-have-checked-the-licences"


@dataclass(frozen=True)
class Share:
    """What is to be sent where."""

    folder: Path
    repo: str
    weights: bool = False
    private: bool = False
    checked: bool = False
    say: Callable[[str], None] = print

    def __call__(self, dry_run: bool = False) -> str:
        """Send, or with `dry_run` only list; the repository's address."""
        _require_repo(self.repo)
        found = files.plan(self.folder, self.weights)
        if dry_run:
            self.say(listing(found, self.repo))
            self._tell_paths()
        self._refuse(found)
        self._remind(found)
        return "" if dry_run else send(found, self.repo, self.private)

    def _tell_paths(self) -> None:
        if told := files.told_paths(self.folder):
            self.say(told)

    def _remind(self, found: Plan) -> None:
        """What weights will want; recipe and scores go without it."""
        for duty in () if found.weights else _missing_texts(found):
            self.say(f"Before its weights are shared: {duty}")

    def _refuse(self, found: Plan) -> None:
        """Licences, then what they want of weights, unless a person vouches for it."""
        if self.weights:
            self._require_weights(found)
        stops = obstacles(found, self.repo) if not self.checked else []
        if stops:
            raise ModelError(f"not shared: {'; '.join(stops)}. If you have checked that you may: {CHECKED}")

    def _require_weights(self, found: Plan) -> None:
        """All that the card tells of, and as it tells: scores beside other weights would be false."""
        again = f"`mergekit-finance card OUT -o {self.folder} --weights` writes them"
        if found.lost:
            why = found.left.get(found.lost[0], "gone")
            raise DataError(f"{self.folder}: --weights: {found.lost[0]} is {why}; {again}")
        if not found.weights:
            raise DataError(f"{self.folder}: --weights: there are none of this card here; {again}")


def _require_repo(repo: str) -> None:
    """owner/name, as the Hub takes it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not REPO.fullmatch(repo):
        raise DataError(f"--repo {_line(repr(repo))}: give owner/name")
    try:
        validate_repo_id(repo)
    except HFValidationError as fault:
        raise DataError(f"--repo: the Hub takes no such name: {_line(fault)}") from fault


def obstacles(found: Plan, repo: str) -> list[str]:
    """Why this must not go out: licences that forbid it, and duties of weights that are not met."""
    models = files.stored_parents(found.folder)
    stops = parents.obstacles(models)
    if not found.weights:
        return stops
    begins = parents.begins(models)
    if not _begins(repo.split("/")[1], begins):
        stops.append(
            f"the licence wants a name that begins with {begins}, as in {repo.split('/')[0]}/{begins}-…"
        )
    return stops + _missing_texts(found)


def _begins(name: str, wanted: str) -> bool:
    """`Llama-3` to the letter, and no further digit after it; `Llama` in any spelling."""
    if wanted == "Llama-3":
        return bool(re.match(r"Llama[- ]3\D", name))
    return name.lower().startswith(wanted.lower())


def _missing_texts(found: Plan) -> list[str]:
    """Licences that want their text along with weights."""
    wanted = parents.missing_texts(files.stored_parents(found.folder), found.send)
    if not wanted:
        return []
    return [f"the text of {' and '.join(wanted)} must go along with weights: put it into DIR/LICENSE"]


def listing(found: Plan, repo: str) -> str:
    """Every file with its size, and what stays."""
    lines = [f"To {repo}:"]
    lines += [f"  {path.stat().st_size:>13,}  {name}" for name, path in found.send.items()]
    lines.append(f"  {found.size:>13,}  bytes in {len(found.send)} files")
    if found.left:
        lines.append("Left out:")
        lines += [f"  {name}  ({reason})" for name, reason in found.left.items()]
    return "\n".join(lines)


def send(found: Plan, repo: str, private: bool) -> str:
    """Create the repository where there is none, and add all files in one commit."""
    from huggingface_hub import CommitOperationAdd, HfApi, get_token

    if not get_token():
        raise DataError("not logged in to the Hub: `hf auth login`, or set HF_TOKEN")
    operations = [CommitOperationAdd(name, str(path)) for name, path in found.send.items()]
    try:
        api = HfApi(library_name="mergekit-finance")
        address = str(api.create_repo(repo, private=private or None, exist_ok=True))
        api.create_commit(
            repo, operations, commit_message="Model card, recipe and results (mergekit-finance)"
        )
    except Exception as fault:  # every kind of them; what is not one of the Hub's or the network's goes on
        raise _explained(fault, repo) from fault
    return address


def _explained(fault: Exception, repo: str) -> Exception:
    """The Hub's refusals and the network's failures in one line each; other faults as they are."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    cause = fault.__cause__ if isinstance(fault, RuntimeError) and fault.__cause__ else fault
    if isinstance(cause, OfflineModeIsEnabled):
        return DataError("the Hub is switched off here (HF_HUB_OFFLINE); unset it to share")
    if isinstance(cause, HfHubHTTPError) and cause.response is not None:
        return DataError(_status(cause.response.status_code, str(cause), repo))
    if isinstance(cause, HfHubHTTPError.__bases__[0] | ConnectionError | TimeoutError):
        return DataError(f"the Hub cannot be reached ({_line(cause)}); nothing was committed")
    if isinstance(cause, ValueError) and "metadata" in str(cause):  # huggingface_hub has no kind for it
        return DataError(f"the Hub does not take this card: {_line(cause)}")
    if isinstance(cause, ValueError):
        return DataError(f"the Hub's answer is not understood: {_line(cause)}")
    return fault


def _status(status: int, text: str, repo: str) -> str:
    if status == 401:
        return "the Hub does not accept your token: `hf auth login` again, with a token that may write"
    if status == 403:
        return f"{repo} is not yours to write to (403): name one of yours, or use a token that may write"
    if status == 404:
        return f"{repo}: the Hub knows no such owner, or does not let you see it (404)"
    return f"the Hub answered {status}: {_line(text)}; nothing was committed"


def _line(fault: object) -> str:
    """A fault's text in one line."""
    return " ".join(str(fault).split())[:300] or type(fault).__name__
