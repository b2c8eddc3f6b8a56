"""Virtual environments for the packaging tests: ours laid over the running one, with --no-deps."""

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from helpers.commands import HANG, ForkServer

ROOT = Path(__file__).resolve().parents[2]
DEPENDENCIES = Path(sysconfig.get_paths()["purelib"])


def run(*command, cwd=None, env=None, check=True):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**inherited(), **(env or {})}, capture_output=True, text=True,
        timeout=HANG,
    )  # fmt: skip
    if check and done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def inherited():
    """This process's variables without PYTHONPATH: an environment has its own copy of the package."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@dataclass(frozen=True)
class Environment:
    """A virtual environment at `folder`."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Environment":
        """An environment that has the running one's dependencies and nothing of ours."""
        run(sys.executable, "-m", "venv", "--without-pip", folder)
        environment = cls(folder)
        view = folder / "dependencies"
        view.mkdir()
        for entry in DEPENDENCIES.iterdir():
            if "mergekit_finance" not in entry.name and entry.suffix != ".pth":
                (view / entry.name).symlink_to(entry)
        (environment.site / "dependencies.pth").write_text(f"{view}\n", encoding="utf-8")
        return environment

    @cached_property
    def site(self) -> Path:
        return next((self.folder / "lib").glob("python3*")) / "site-packages"

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def listing(self) -> set[str]:
        names = (str(p.relative_to(self.site)) for p in self.site.rglob("*"))
        return {name for name in names if "__pycache__" not in name}

    def pip(self, *args):
        """pip of the running environment, working on this one."""
        return run(
            sys.executable,
            "-m",
            "pip",
            "--python",
            self.python,
            *args,
            env={"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )

    def install(self, *what):
        return self.pip("install", "-q", "--no-deps", "--no-build-isolation", "--force-reinstall", *what)

    def run(self, *args, **options):
        """Start this environment's Python."""
        return run(self.python, *args, **options)

    def run_warm(self, warm: ForkServer, *args, cwd, env=None, check=True):
        """The same in a child of `warm_python.py`, where importing a host takes 0.6 s instead of 7."""
        variables = {**inherited(), **(env or {})}
        done = warm.run([str(self.python), *map(str, args)], str(cwd), variables, str(self.site))
        assert not check or done.returncode == 0, done.stderr
        return done


def build_wheels(folder: Path, *sources: Path) -> list[Path]:
    """Build the wheels of source folders into a new folder."""
    run(
        sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", *sources, "-w", folder
    )  # fmt: skip
    return sorted(folder.glob("*.whl"))
