"""Claims: which process works on what, for all processes that share a study folder.

    OUT/.locks/<name>.claim/<owner>-<number>.<deaths>    a claim: a folder that holds one empty file
               <owner>.owner                             who the owner is, and a counter that it increases

A claim is made by renaming a prepared folder to `<name>.claim`, which fails while another claim is there. It
is taken over by renaming the file in it, whose name is unique: of several observers exactly one succeeds.
It is released by deleting the file, then the folder.

An owner is dead if its process has ended on the same machine since the same boot, which is seen at once, or
if its counter has not changed for the lease time by the monotonic clock of the OBSERVER. No two clocks are
compared. One thread per process increases the counter of its owner as long as it holds a claim.

A process that was suspended for longer than the lease loses its claims. Two processes may then do the same
work, and what they publish must be published by an atomic rename: the first one wins, nothing is damaged.
"""

import errno
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

BEAT = 5.0  # seconds between two beats of an owner's counter
LEASE = 60.0  # seconds without a beat after which an owner counts as dead
POLL = 0.2  # seconds between two looks at a claim that is waited for
GAP = LEASE / 6  # the most that one look adds to a silence: an observer may have been suspended, too
ATTEMPTS = 20  # at creating a file in a folder that others may remove
CLAIM, OWNER = ".claim", ".owner"
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)  # what a rename to an existing claim raises


# ---- processes


@dataclass(frozen=True)
class Process:
    """What identifies a process.

    Attributes:
        host: the name of its machine, for messages.
        machine: boot id and process namespace of the machine; empty if the system does not report them.
        pid: its process id.
        started: its start time as the system counts it; empty if the system does not report it.
    """

    host: str
    machine: str
    pid: int
    started: str


def this_process() -> Process:
    """Return what identifies this process."""
    pid = os.getpid()
    return Process(socket.gethostname(), _machine(), pid, _state(pid)[1])


def has_ended(process: Process) -> bool:
    """Return whether a process of this machine has certainly ended; False for processes of others."""
    if not process.machine or process.machine != _machine():
        return False
    try:
        os.kill(process.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's process
        return False
    state, started = _state(process.pid)
    return state in ("Z", "X") or bool(started and started != process.started)


def _machine() -> str:
    """Return the boot id and process namespace of this machine; containers have a namespace of their own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _state(pid: int) -> tuple[str, str]:
    """Return the state of a process and its start time, as /proc/PID/stat has them; empty if unknown."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        fields = line.rpartition(")")[2].split()  # after the name, which may contain spaces
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", ""


def _process(content: bytes) -> Process | None:
    """Return the process that an owner's file describes; None if the file is missing or damaged."""
    try:
        parts = json.loads(content)
        process = Process(parts["host"], parts["machine"], parts["pid"], parts["started"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    texts = (process.host, process.machine, process.started)
    valid = all(isinstance(text, str) for text in texts) and type(process.pid) is int and process.pid > 0
    return process if valid and process.pid < 1 << 31 else None


# ---- claims


class TooManyDeathsError(Exception):
    """Owners of a claim died one after the other; `deaths` says how many."""

    def __init__(self, deaths: int) -> None:
        super().__init__(f"{deaths} owners died")
        self.deaths = deaths


@dataclass
class _Silence:
    """How long an owner's counter has not changed, as one observer saw it."""

    content: bytes
    seen: float
    seconds: float = 0.0


@dataclass(frozen=True)
class Claim:
    """A name that this process has claimed.

    Attributes:
        name: what is claimed.
        deaths: how many owners died while they held it, one after the other.
        file: the file that says so.
    """

    name: str
    deaths: int
    file: Path

    def lost(self) -> bool:
        """Return whether another process has taken the claim over."""
        return not self.file.exists()


@dataclass(eq=False)
class Claims:
    """The claims of one process in one folder.

    Attributes:
        folder: where the claims of all processes are.
        process: this process.
        lease: seconds without a beat after which an owner counts as dead.
        clock: this process's monotonic clock.
        ended: returns whether a process has certainly ended.
        owner: the unique name of this owner.
        held: the claims of this process, by name.
    """

    folder: Path
    process: Process = field(default_factory=this_process)
    lease: float = LEASE
    clock: Callable[[], float] = time.monotonic
    ended: Callable[[Process], bool] = has_ended
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    held: dict[str, Claim] = field(default_factory=dict)
    _silences: dict[str, _Silence] = field(default_factory=dict, repr=False)
    _beats: int = field(default=0, repr=False)
    _numbers: int = field(default=0, repr=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, repr=False)

    # ---- for the owner

    def acquire(self, name: str, max_deaths: int | None = None) -> Claim | None:
        """Claim a name, or return None if another owner has it, who is not known to be dead.

        Args:
            name: what is claimed; a file name.
            max_deaths: if as many owners died with the claim, one after the other, it is left as it is.

        Raises:
            TooManyDeathsError: so many died.
            OSError: the folder cannot be written.
        """
        with self._lock:
            if name in self.held:
                return None
            if not self.held:
                self._appear()
            try:
                claim = self._attempt(name, max_deaths)
                if claim:
                    self.held[name] = claim
                return claim
            finally:
                if not self.held:
                    self._disappear()

    def wait_for(self, name: str) -> Claim:
        """Claim a name as soon as its owner releases it or is dead."""
        while (claim := self.acquire(name)) is None:
            time.sleep(POLL)
        return claim

    def release(self, claim: Claim) -> None:
        """Give a claim back, unless another owner has taken it over."""
        with self._lock:
            self.held.pop(claim.name, None)
            claim.file.unlink(missing_ok=True)
            _remove_empty(claim.file.parent)
            if not self.held:
                self._disappear()

    def release_all(self) -> None:
        """Give all claims back, before this process ends in an unusual way."""
        with self._lock:
            for claim in list(self.held.values()):
                self.release(claim)

    def beat(self) -> None:
        """Increase this owner's counter if it holds a claim. If that fails, its claims are lost in time."""
        with self._lock:
            if self.held:
                with suppress(OSError):
                    self._write_counter()

    # ---- for observers

    def taken(self) -> dict[str, int]:
        """Return the claimed names, and how many owners of each have died. An owner may be dead by now."""
        names = {}
        for entry in _entries(self.folder):
            if entry.endswith(CLAIM):
                files = _entries(self.folder / entry)
                names[entry.removesuffix(CLAIM)] = max(map(_deaths, files), default=0)
        return names

    def clean(self) -> None:
        """Remove what dead owners have left: claims, files about themselves, and locks of older versions."""
        for entry in _entries(self.folder):  # before the claims, with which the owners' files are removed
            if entry.startswith(".") and self._is_dead(_owner(entry[1:])):
                shutil.rmtree(self.folder / entry, ignore_errors=True)
        for name in self.taken():
            if claim := self.acquire(name):
                self.release(claim)
        using = {_owner(file) for name in self.taken() for file in _entries(self.folder / f"{name}{CLAIM}")}
        for entry in _entries(self.folder):
            owner = entry.removesuffix(OWNER)
            unused = entry.endswith(OWNER) and owner not in using and self._is_dead(owner)
            if unused or entry.endswith(".lock"):
                (self.folder / entry).unlink(missing_ok=True)
        _remove_empty(self.folder)

    # ---- steps

    def _attempt(self, name: str, max_deaths: int | None) -> Claim | None:
        place = self.folder / f"{name}{CLAIM}"
        if place.is_file() or place.is_symlink():
            place.unlink(missing_ok=True)  # not of this program, and in the way
        files = _entries(place)
        if not files:
            return self._create(name, place)
        if not all([self._is_dead(_owner(file)) for file in files]):  # a list: every owner is looked at
            return None
        deaths = max(map(_deaths, files)) + 1
        if max_deaths is not None and deaths >= max_deaths:
            raise TooManyDeathsError(deaths)
        return self._take_over(name, place, files, deaths)

    def _create(self, name: str, place: Path) -> Claim | None:
        """Rename a prepared folder to the claim's. A folder that is being released is empty and gives way."""
        claim = Claim(name, 0, place / self._next_file(0))
        prepared = self.folder / f".{claim.file.name}"
        prepared.mkdir()
        try:
            (prepared / claim.file.name).touch()
            os.rename(prepared, place)
        except OSError as error:
            shutil.rmtree(prepared, ignore_errors=True)
            if error.errno not in TAKEN and not claim.file.exists():
                raise
        # Not decided by the rename's result: over NFS it may report a failure and have succeeded.
        return claim if claim.file.exists() else None

    def _take_over(self, name: str, place: Path, files: list[str], deaths: int) -> Claim | None:
        """Rename the dead owner's file. If it has another name by now, another observer was first."""
        claim = Claim(name, deaths, place / self._next_file(deaths))
        with suppress(FileNotFoundError):
            os.rename(place / files[0], claim.file)
        if not claim.file.exists():
            return None
        for file in files[1:]:
            (place / file).unlink(missing_ok=True)
        _unlink_unused(self.folder, _owner(files[0]))
        return claim

    def _next_file(self, deaths: int) -> str:
        self._numbers += 1
        return f"{self.owner}-{self._numbers}.{deaths}"

    def _write_counter(self) -> None:
        self._beats += 1
        content = json.dumps({**asdict(self.process), "beats": self._beats})
        (self.folder / f"{self.owner}{OWNER}").write_text(content, encoding="utf-8")

    def _appear(self) -> None:
        """Write this owner's file. Other processes may remove the empty folder in between."""
        for attempt in range(ATTEMPTS):
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                self._write_counter()
                break
            except (FileNotFoundError, FileExistsError):
                if attempt == ATTEMPTS - 1:
                    raise
        _heart.add(self)

    def _disappear(self) -> None:
        _heart.remove(self)
        (self.folder / f"{self.owner}{OWNER}").unlink(missing_ok=True)
        _remove_empty(self.folder)

    def _is_dead(self, owner: str) -> bool:
        """Return whether an owner's process has ended, or has been silent for the lease time."""
        if owner == self.owner:
            return False
        content = _read(self.folder / f"{owner}{OWNER}")
        now = self.clock()
        silence = self._silences.get(owner)
        if silence is None or silence.content != content:
            silence = self._silences[owner] = _Silence(content, now)
        silence.seconds += min(now - silence.seen, self.lease / LEASE * GAP)
        silence.seen = now
        process = _process(content)
        return (process is not None and self.ended(process)) or silence.seconds >= self.lease


# ---- the counters of this process


class _Heart:
    """One thread that increases the counters of all owners of this process, as long as there are any."""

    def __init__(self) -> None:
        self._owners: set[Claims] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, claims: Claims) -> None:
        with self._lock:
            self._owners.add(claims)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="claims", daemon=True)
                self._thread.start()

    def remove(self, claims: Claims) -> None:
        with self._lock:
            self._owners.discard(claims)

    def _run(self) -> None:
        while True:
            time.sleep(BEAT)
            with self._lock:
                owners = list(self._owners)
                if not owners:
                    self._thread = None
                    return
            for claims in owners:
                claims.beat()


_heart = _Heart()
_by_folder: dict[Path, Claims] = {}


def claims_in(folder: Path) -> Claims:
    """Return the claims of this process in a folder, always the same object."""
    place = Path(os.path.realpath(folder))
    if place not in _by_folder:
        _by_folder[place] = Claims(place)
    return _by_folder[place]


def release_all() -> None:
    """Give back every claim of this process, before it ends in an unusual way."""
    for claims in list(_by_folder.values()):
        claims.release_all()


def _start_again() -> None:
    """Forget the claims of the parent process, which a forked child does not hold."""
    global _heart
    _heart = _Heart()
    _by_folder.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_again)


# ---- files


def _owner(file: str) -> str:
    """Return the owner in the name of a claim's file."""
    return file.partition("-")[0]


def _deaths(file: str) -> int:
    """Return the number of dead owners in the name of a claim's file."""
    digits = file.rpartition(".")[2]
    return int(digits) if digits.isdecimal() and len(digits) < 6 else 0


def _entries(folder: Path) -> list[str]:
    """Return the names in a folder, sorted; none if it does not exist."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # another process has something in it, or has removed it
        folder.rmdir()


def _unlink_unused(folder: Path, owner: str) -> None:
    """Remove the file of a dead owner that has no claim left."""
    claims = (folder / entry for entry in _entries(folder) if entry.endswith(CLAIM))
    if not any(_owner(file) == owner for claim in claims for file in _entries(claim)):
        (folder / f"{owner}{OWNER}").unlink(missing_ok=True)
