"""How somebody else installs the packages that a card's results were made with."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from mergekit_finance.errors import DataError
from mergekit_finance.evaluation.keys import PACKAGES
from mergekit_finance.files import Json

PACKAGE = "mergekit-finance"
VERSION = re.compile(r"[A-Za-z0-9.][A-Za-z0-9.+!-]*")
ADDRESS = re.compile(r"(git\+)?https://[\w.-]+(:\d+)?/[\w./@%+~-]+")  # nothing that a shell interprets
SSH = re.compile(r"git@([\w.-]+):([\w./-]+)")
COMMIT = re.compile(r"[0-9a-f]{40}")
GIT_SECONDS = 10


def require_address(address: str) -> None:
    """Raise DataError unless pip can install from this address, which anybody can read."""
    if not ADDRESS.fullmatch(address):
        raise DataError(
            f"--install-from {address!r:.120}: not an address that pip installs from. "
            "Use git+https://HOST/OWNER/REPOSITORY, or an https:// address of a wheel."
        )


def install_command(versions: Mapping[str, str], address: str | None) -> str:
    """Return a `pip install` command; without this package if it has no public address.

    Args:
        versions: package -> version that the results were made with.
        address: where this package is installed from, as `published_address` returns it.
    """
    packages = list(pinned_packages(versions)) or [PACKAGE]
    if address is None:
        packages = [package for package in packages if package.partition("==")[0] != PACKAGE]
    elif address:
        packages = [
            f'"{PACKAGE} @ {address}"' if package.partition("==")[0] == PACKAGE else package
            for package in packages
        ]
    return f"pip install {' '.join(packages)}"


def pinned_packages(versions: Mapping[str, str]) -> Iterator[str]:
    """Yield arguments for `pip install`: our packages only, because anyone may have edited key.json."""
    for name, number in versions.items():
        if name in PACKAGES:
            yield f"{name}=={number.split('+')[0]}" if VERSION.fullmatch(number) else name


def published_address() -> str | None:
    """Return where others can install this package from: an address for pip, or "" for the package index.

    pip records the origin of a package that does not come from an index (PEP 610). For a local clone the
    address is that of its remote repository.

    Returns:
        None if the origin is a folder that has no public remote repository.
    """
    try:
        recorded = distribution(PACKAGE).read_text("direct_url.json")
    except PackageNotFoundError:
        return None
    if recorded is None:
        return ""
    try:
        return _address(json.loads(recorded))
    except ValueError:
        return None


def _address(origin: Json) -> str | None:
    """Return the public address of a PEP 610 record."""
    if not isinstance(origin, dict) or not isinstance(url := origin.get("url"), str):
        return None
    if isinstance(git := origin.get("vcs_info"), dict):
        return _git_address(url, str(git.get("commit_id", "")))
    parts = urlsplit(url)
    if parts.scheme == "file":
        return _remote_of(Path(unquote(parts.path)))
    return _public(url)


def _remote_of(clone: Path) -> str | None:
    """Return the address of a local clone's remote repository, with its commit if that was pushed."""
    remote = _git(clone, "config", "--get", "remote.origin.url")
    if not remote or not (clone / ".git").exists():
        return None
    is_pushed = _git(clone, "branch", "--remotes", "--contains", "HEAD")
    return _git_address(remote, _git(clone, "rev-parse", "HEAD") if is_pushed else "")


def _git(clone: Path, *arguments: str) -> str:
    """Return what git prints, or "" if it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(clone), *arguments],
            capture_output=True, text=True, timeout=GIT_SECONDS, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _git_address(remote: str, commit: str) -> str | None:
    """Return `git+https://HOST/OWNER/REPOSITORY@COMMIT`."""
    if match := SSH.fullmatch(remote):
        remote = f"https://{match[1]}/{match[2]}"
    public = _public(remote)
    if public is None:
        return None
    return f"git+{public}@{commit}" if COMMIT.fullmatch(commit) else f"git+{public}"


def _public(url: str) -> str | None:
    """Return an https address without user name and password; None for any other."""
    parts = urlsplit(url)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return bare if ADDRESS.fullmatch(bare) else None
