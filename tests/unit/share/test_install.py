"""The install line of a card: an address that others can use, and nothing that a shell would run."""

import json
import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from mergekit_finance.errors import DataError
from mergekit_finance.share import install

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def recorded(monkeypatch: pytest.MonkeyPatch, content: object) -> None:
    """Let pip's record of where the package came from be this; None: from an index."""
    text = None if content is None else json.dumps(content)
    monkeypatch.setattr(install, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))


@pytest.mark.parametrize(
    ("origin", "address"),
    [
        (None, ""),
        ({"url": "https://github.com/a/b.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}, f"git+https://github.com/a/b.git@{COMMIT}"),
        ({"url": "https://user:token@github.com/a/b", "vcs_info": {"vcs": "git"}}, "git+https://github.com/a/b"),
        ({"url": "https://example.org/w/mergekit_finance-0.1.0-py3-none-any.whl", "archive_info": {}}, "https://example.org/w/mergekit_finance-0.1.0-py3-none-any.whl"),
        ({"url": "git+file:///home/me/x", "vcs_info": {"vcs": "git", "commit_id": COMMIT}}, None),
        ({"url": "https://x/$(id)", "archive_info": {}}, None),
        ({"url": 1}, None),
        ([], None),
    ],
)  # fmt: skip
def test_the_address_is_that_of_pips_record(
    monkeypatch: pytest.MonkeyPatch, origin: object, address: str | None
) -> None:
    recorded(monkeypatch, origin)
    assert install.published_address() == address


def test_of_a_local_clone_the_address_is_that_of_its_remote(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recorded(monkeypatch, {"url": tmp_path.as_uri(), "dir_info": {"editable": True}})
    assert install.published_address() is None
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert install.published_address() is None
    remote = ["remote", "add", "origin", "git@github.com:me/mergekit-finance.git"]
    subprocess.run(["git", "-C", tmp_path, *remote], check=True)
    assert install.published_address() == "git+https://github.com/me/mergekit-finance.git"


def test_a_package_that_is_not_installed_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(install, "distribution", missing)
    assert install.published_address() is None


def test_the_command_installs_the_versions_of_the_results() -> None:
    versions = {"mergekit-finance": "0.1.0", "torch": "2.6.0+cu124"}
    assert install.install_command(versions, "") == "pip install mergekit-finance==0.1.0 torch==2.6.0"
    assert install.install_command(versions, None) == "pip install torch==2.6.0"
    assert (
        install.install_command(versions, "git+https://h/a/b")
        == 'pip install "mergekit-finance @ git+https://h/a/b" torch==2.6.0'
    )


@pytest.mark.parametrize(
    "address", ["git+https://h/a b", "https://h/$(x)", "file:///x", "git+https://h/a;b", ""]
)
def test_an_address_that_a_shell_would_interpret_is_refused(address: str) -> None:
    with pytest.raises(DataError, match="not an address that pip installs from"):
        install.require_address(address)
    install.require_address("git+https://github.com/a/b@v1.0")


def test_versions_in_key_json_cannot_inject_commands() -> None:
    versions = {
        "torch": "2.6.0+cu124",
        "mergekit": "1!2.0-rc1",
        "lm-eval": "1; rm -rf ~",
        "datasets": "1\n```",
        "tokenizers": "$(x)",
        "--d": "1",
        "evil": "1.0",
    }
    assert list(install.pinned_packages(versions)) == [
        "torch==2.6.0", "mergekit==1!2.0-rc1", "lm-eval", "datasets", "tokenizers",
    ]  # fmt: skip
