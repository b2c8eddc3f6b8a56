"""Send a card's folder to the Hub. Each reason to refuse is one line."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mergekit_finance.errors import DataError, HubUnreachableError, ModelError, counted
from mergekit_finance.hosts.hub_client import limit_answers
from mergekit_finance.share import card_files, manifest
from mergekit_finance.share.manifest import UploadPlan
from mergekit_finance.share.source_models import has_prefix, missing_texts, obstacles, required_prefix

REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
COMMIT = "/commit/"  # in the address of the last request
CHECKED = "--i-have-checked-the-licenses"


@dataclass(frozen=True)
class Share:
    """A card's folder and the repository that it goes to.

    Attributes:
        folder: written by `mergekit-finance card`.
        repo: owner/name on the Hub.
        weights: send the weights as well.
        private: create the repository as private.
        checked: skip the check of licenses.
        say: called with each line for the user.
    """

    folder: Path
    repo: str
    weights: bool = False
    private: bool = False
    checked: bool = False
    say: Callable[[str], None] = print

    def send(self, dry_run: bool = False) -> str:
        """Send the folder, or with `dry_run` only list it. Returns the repository's address, or empty text.

        Raises:
            DataError: the folder or the repository's name is not usable, or the Hub refuses.
            ModelError: a license forbids sharing.
        """
        _require_repo(self.repo)
        plan = manifest.plan_upload(self.folder, self.weights)
        if dry_run:
            self.say(listing(plan, self.repo))
            if note := manifest.local_paths_note(self.folder):
                self.say(note)
        if self.weights:
            self._require_weights(plan)
        reasons = [] if self.checked else reasons_to_refuse(plan, self.repo)
        if reasons:
            raise ModelError(
                f"not shared: {'; '.join(reasons)}. If you have checked that you may share it, add {CHECKED}."
            )
        if not plan.has_weights:
            for text in _required_texts(plan):
                self.say(f"Before its weights are shared: {text}")
        return "" if dry_run else upload(plan, self.repo, self.private)

    def _require_weights(self, plan: UploadPlan) -> None:
        """Raise unless all weights that the card lists are there unchanged: its scores are of those."""
        remedy = f"`mergekit-finance card OUT -o {self.folder} --weights` writes them."
        if plan.missing_weights:
            name = plan.missing_weights[0]
            reason = plan.left_out.get(name, "gone")
            raise DataError(f"{self.folder}: --weights: {name} is {reason}. {remedy}")
        if not plan.has_weights:
            raise DataError(f"{self.folder}: --weights: the folder has no weights of this card. {remedy}")


def _require_repo(repo: str) -> None:
    """Raise DataError unless the Hub accepts this owner/name."""
    # Imported here to keep --help fast: the Hub's client takes 0.5 s.
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if not REPO.fullmatch(repo):
        raise DataError(f"--repo {_one_line(repr(repo))}: not a repository's name. Use owner/name.")
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise DataError(f"--repo: the Hub does not accept this name ({_one_line(error)})") from error


def reasons_to_refuse(plan: UploadPlan, repo: str) -> list[str]:
    """Return the reasons not to share: licenses that forbid it, or unmet conditions of sharing weights."""
    models = card_files.stored_source_models(plan.folder)
    reasons = obstacles(models)
    if not plan.has_weights:
        return reasons
    prefix = required_prefix(models)
    owner, name = repo.split("/")
    if not has_prefix(name, prefix):
        reasons.append(f"the license requires a name that begins with {prefix}, such as {owner}/{prefix}-…")
    return reasons + _required_texts(plan)


def _required_texts(plan: UploadPlan) -> list[str]:
    """Return one line if license texts must accompany weights and are missing."""
    missing = missing_texts(card_files.stored_source_models(plan.folder), plan.send)
    if not missing:
        return []
    return [f"the text of {' and '.join(missing)} must accompany the weights; put it into DIR/LICENSE"]


def listing(plan: UploadPlan, repo: str) -> str:
    """Return a table of every file with its size, and of what is left out."""
    lines = [f"To {repo}:"]
    lines += [f"  {path.stat().st_size:>13,}  {name}" for name, path in plan.send.items()]
    lines.append(f"  {plan.size:>13,}  bytes in {counted(len(plan.send), 'file')}")
    if plan.left_out:
        lines.append("Left out:")
        lines += [f"  {name}  ({reason})" for name, reason in plan.left_out.items()]
    return "\n".join(lines)


def upload(plan: UploadPlan, repo: str, private: bool) -> str:
    """Create the repository if it does not exist, and add all files in one commit. Returns its address."""
    from huggingface_hub import CommitOperationAdd, HfApi, get_token  # see the note in _require_repo

    if not get_token():
        raise DataError("not logged in to the Hub. Run `hf auth login`, or set HF_TOKEN.")
    operations = [CommitOperationAdd(name, str(path)) for name, path in plan.send.items()]
    message = "Model card, recipe and results (mergekit-finance)"
    limit_answers()
    try:
        api = HfApi(library_name="mergekit-finance")
        address = str(api.create_repo(repo, private=private or None, exist_ok=True))
        api.create_commit(repo, operations, commit_message=message)
    except Exception as error:  # `_as_one_line` returns errors of other origin unchanged
        raise _as_one_line(error, repo) from error
    return address


def _as_one_line(error: Exception, repo: str) -> Exception:
    """Return a DataError for refusals of the Hub and failures of the network; other errors unchanged."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled  # takes 0.4 s to load

    cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
    if isinstance(cause, OfflineModeIsEnabled):
        return DataError("the Hub is switched off by HF_HUB_OFFLINE. Unset it to share.")
    if isinstance(cause, HubUnreachableError):
        committed = COMMIT in str(cause)
        after = (
            "Look whether the commit arrived before you share again" if committed else "Nothing was committed"
        )
        return DataError(f"the Hub cannot be reached ({_one_line(cause)}). {after}.")
    if isinstance(cause, HfHubHTTPError) and cause.response is not None:
        return DataError(_http_status(cause.response.status_code, str(cause), repo))
    if isinstance(cause, HfHubHTTPError.__bases__[0] | ConnectionError | TimeoutError):
        return DataError(f"the Hub cannot be reached ({_one_line(cause)}). Nothing was committed.")
    if isinstance(cause, RuntimeError):  # of hf_xet, which transfers large files
        return DataError(f"the files could not be sent ({_one_line(cause)}). Nothing was committed.")
    if isinstance(cause, ValueError) and "metadata" in str(cause):  # huggingface_hub has no class for it
        return DataError(f"the Hub does not accept this card: {_one_line(cause)}")
    if isinstance(cause, ValueError):
        return DataError(f"the Hub's answer cannot be parsed: {_one_line(cause)}")
    return error


def _http_status(status: int, text: str, repo: str) -> str:
    if status == 401:
        return "the Hub does not accept your token. Run `hf auth login` with a token that may write."
    if status == 403:
        return f"{repo}: you may not write there (403). Choose another repository or another token."
    if status == 404:
        return f"{repo}: the owner does not exist, or you may not see it (404)"
    return f"the Hub answered {status}: {_one_line(text)}. Nothing was committed."


def _one_line(error: object) -> str:
    """Return an error's text as one line of at most 300 characters, or its type's name if it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__
