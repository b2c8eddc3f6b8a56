"""Start console commands: in a child of the fork server, or as a process of their own."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

BIN = Path(sys.executable).parent
HANG = 1200  # seconds; long enough for a busy machine, so that only a hanging command is stopped
# Read when a host or library is imported, or when Python starts: a change of these needs a fresh interpreter.
READ_AT_IMPORT = (
    "TRANSFORMERS_", "TOKENIZERS_", "MERGEKIT_FINANCE_AUTOLOAD", "OMP_", "MKL_", "PYTHON",
    "MPL", "LMEVAL_", "RAY_", "CUDA_",
)  # fmt: skip


class ForkServer:
    """The client of `fork_server.py` or `warm_python.py`, which is started at the first command."""

    def __init__(self, program: str, python: "str | Path" = sys.executable, **variables: str) -> None:
        self.variables = variables
        # -E: an environment has its own copy of the package, wherever PYTHONPATH points.
        isolated = [] if python == sys.executable else ["-E"]
        self.command = [str(python), *isolated, str(Path(__file__).with_name(program))]
        self.shared: Path | None = None  # a folder of all workers of a test run
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}

    def start(self) -> "subprocess.Popen[bytes]":
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", **self.variables}
        self.process = subprocess.Popen(
            [*self.command, *([str(self.shared)] if self.shared else [])], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self.environment,
            start_new_session=True,
        )  # fmt: skip
        return self.process

    def serves(self, environment: Mapping[str, str]) -> bool:
        """Whether a child can run with this environment: all variables that are read at import must be equal."""
        with_threads = {**environment, "OMP_NUM_THREADS": environment.get("OMP_NUM_THREADS", "1")}
        names = {name for name in {*with_threads, *self.environment} if name.startswith(READ_AT_IMPORT)}
        return all(with_threads.get(name) == self.environment.get(name) for name in names)

    def run(
        self, argv: list[str], cwd: str, environment: Mapping[str, str], site: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end; `site` is a folder of packages that `warm_python.py` adds."""
        with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
            request = {
                "argv": argv, "cwd": cwd, "env": dict(environment), "stdout": out.name, "stderr": err.name,
                "site": site,
            }  # fmt: skip
            status = self.ask(request, out, err)
            return subprocess.CompletedProcess(argv, status, *(f.read().decode() for f in (out, err)))

    def begin(self, argv: list[str], cwd: str, environment: Mapping[str, str], log: Path) -> "ForkedCommand":
        """Start a command in a process group of its own; what it prints is appended to a file."""
        request = {"argv": argv, "cwd": cwd, "env": dict(environment), "stdout": str(log), "stderr": str(log)}
        return ForkedCommand(self, self.ask({**request, "wait": False}))

    def ask(self, request: Mapping[str, object], *outputs: IO[bytes]) -> int | None:
        """Send a request and return the reply; `outputs` are shown if there is none."""
        process = self.process or self.start()
        process.stdin.write(json.dumps(request).encode() + b"\n")
        process.stdin.flush()
        if not select.select([process.stdout], [], [], HANG)[0]:
            self.stop()
            raise subprocess.TimeoutExpired(str(request), HANG, *(f.read() for f in outputs))
        reply = process.stdout.readline()
        assert reply, f"the fork server ended at {request}"
        return json.loads(reply)

    def stop(self) -> None:
        if self.process:
            self.process.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # with a command that hangs
            self.process.wait()
            self.process.stdout.close()
        self.process = None


class ForkedCommand:
    """A running child of a fork server, with what tests use of `subprocess.Popen`."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.server, self.pid = server, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.server.ask({"status_of": self.pid})
        return self.returncode

    def wait(self, timeout: float = HANG) -> int:
        until = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


SERVER = ForkServer("fork_server.py")
WARM = ForkServer("warm_python.py", MERGEKIT_FINANCE_AUTOLOAD="0")  # its children put the hook in place


def run(name, *args, cwd=None, env=None) -> "subprocess.CompletedProcess[str]":
    """Run a console command (`mergekit-yaml`, `lm_eval`, `mergekit-finance`) or `python -c CODE` to its end.

    In a child of the fork server, or, where `env` changes what is read at import, as `run_installed` does.
    """
    environment = {**os.environ, **(env or {})}
    if SERVER.process is None:
        SERVER.start()
    if not SERVER.serves(environment):
        return run_installed(name, *args, cwd=cwd, env=env)
    return SERVER.run([str(BIN / name), *map(str, args)], str(cwd or Path.cwd()), environment)


def begin(name, *args, log: Path) -> ForkedCommand:
    """Start a console command in a child of the fork server, and do not wait for it."""
    log.touch()
    return SERVER.begin([str(BIN / name), *map(str, args)], str(Path.cwd()), os.environ, log)


def run_warm(*args, cwd=None, env=None) -> "subprocess.CompletedProcess[str]":
    """Run `python ARGS` where torch and transformers are imported, but no host and nothing of this package."""
    environment = {**os.environ, **(env or {})}
    return WARM.run([sys.executable, *map(str, args)], str(cwd or Path.cwd()), environment)


def run_installed(name, *args, cwd=None, env=None) -> "subprocess.CompletedProcess[str]":
    """Run an installed console script in a fresh interpreter, for tests of start-up."""
    return subprocess.run(
        [str(BIN / name), *map(str, args)], cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True,
        text=True, timeout=HANG,
    )  # fmt: skip


def error_line(done: "subprocess.CompletedProcess[str]") -> str:
    """The error that ended a command: one line, exit code 1, no traceback."""
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    return line
