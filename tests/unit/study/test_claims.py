"""Claims of several processes in one folder: owners that end, that are slow, observers, clocks, damaged files.

Two `Claims` in one process stand for two processes, each with a clock of its own.
"""

import json
import os
import subprocess
import threading
import time

import pytest

from mergekit_finance.errors import DataError
from mergekit_finance.study import claims as claims_module
from mergekit_finance.study.claims import LEASE, Claims, Process, claims_in, has_ended, this_process
from mergekit_finance.study.store import Store

DEAD = Process("h", "m", 1, "0")
OFTEN = 10.0  # seconds between two looks; one look counts for no more


class Clock:
    def __init__(self, start=0.0):
        self.now = start

    def __call__(self):
        return self.now


@pytest.fixture
def folder(tmp_path):
    return tmp_path / ".locks"


def owner(folder, start=0.0, ended=lambda process: False):
    return Claims(folder, clock=Clock(start), ended=ended)


def watch(observer, name, seconds, beat=lambda: None):
    """Try to claim a name every ten seconds; returns the claim, or None after so many seconds."""
    for _ in range(round(seconds / OFTEN)):
        if claim := observer.acquire(name):
            return claim
        beat()
        observer.clock.now += OFTEN
    return observer.acquire(name)


def test_a_name_is_claimed_by_one_and_free_again_after_its_release(folder):
    first, second = owner(folder), owner(folder)
    claim = first.acquire("x")
    assert claim.deaths == 0 and first.acquire("x") is None and second.acquire("x") is None
    assert second.acquire("y") and first.taken() == {"x": 0, "y": 0}
    first.release(claim)
    assert second.acquire("x")
    second.release_all()
    assert not folder.exists()


def test_a_killed_owner_of_this_machine_is_replaced_at_once(folder):
    code = (
        "import sys, os; from pathlib import Path; from mergekit_finance.study.claims import Claims;"
        "Claims(Path(sys.argv[1])).acquire('x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([os.sys.executable, "-c", code, folder])
    assert Claims(folder).taken() == {"x": 0}
    claim = Claims(folder).acquire("x")
    assert claim.deaths == 1
    assert len(list(folder.glob("*.owner"))) == 1  # the dead owner's file is gone


def test_a_silent_owner_of_another_machine_is_replaced_after_the_lease(folder):
    first, observer = owner(folder), owner(folder)
    first.acquire("x")
    assert watch(observer, "x", LEASE - OFTEN) is None
    assert watch(observer, "x", 2 * OFTEN).deaths == 1


def test_a_slow_owner_that_beats_keeps_its_claim(folder):
    first, observer = owner(folder), owner(folder)
    claim = first.acquire("x")
    assert watch(observer, "x", 5 * LEASE, first.beat) is None and not claim.lost()


def test_an_owner_that_wakes_up_late_sees_that_it_lost_its_claim_and_releases_nothing(folder):
    first, observer = owner(folder), owner(folder)
    lost = first.acquire("x")
    taken = watch(observer, "x", 2 * LEASE)
    assert lost.lost() and not taken.lost()
    first.release(lost)
    assert not taken.lost() and first.acquire("x") is None


@pytest.mark.parametrize("skew", [-1e9, -3600.0, 0.0, 3600.0, 1e9])
def test_differing_clocks_change_nothing(folder, skew):
    first, observer = owner(folder, 1e6), owner(folder, 1e6 + skew)
    first.acquire("x")
    assert watch(observer, "x", LEASE - OFTEN, first.beat) is None
    assert watch(observer, "x", LEASE - OFTEN) is None
    assert watch(observer, "x", 2 * OFTEN)


def test_an_observer_that_was_suspended_itself_takes_nothing_over_at_once(folder):
    first, observer = owner(folder), owner(folder)
    first.acquire("x")
    assert observer.acquire("x") is None
    observer.clock.now += 100 * LEASE
    assert observer.acquire("x") is None


def test_of_many_observers_exactly_one_takes_a_dead_owners_claim_over(folder):
    observers = [Claims(folder, ended=lambda process: process == DEAD) for _ in range(8)]
    for name in map(str, range(20)):
        Claims(folder, DEAD).acquire(name)
        barrier, claims = threading.Barrier(len(observers)), []

        def take(observer, name=name, barrier=barrier, claims=claims):
            barrier.wait()
            if claim := observer.acquire(name):
                claims.append(claim)

        run_together(take, observers)
        assert [claim.deaths for claim in claims] == [1] and not claims[0].lost()


def test_of_many_processes_one_at_a_time_holds_a_name(folder):
    """Claimed and released over and over, with a folder that is created and removed meanwhile."""
    holding, most = [], []

    def repeat(claims):
        for _ in range(40):
            claim = claims.wait_for("x")
            holding.append(claim)
            most.append(len(holding))
            holding.remove(claim)
            claims.release(claim)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims_module, "POLL", 0.0005)
        run_together(repeat, [owner(folder) for _ in range(4)])
    assert max(most) == 1 and len(most) == 160 and not folder.exists()


def run_together(function, arguments):
    failures = []

    def guarded(argument):
        try:
            function(argument)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(argument,)) for argument in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\x00", b"{}", b"[1]", b'{"host": 1, "machine": 2, "pid": "x", "started": []}', b"[" * 4000],
)
def test_an_owners_damaged_file_counts_as_silence(folder, content):
    first, observer = owner(folder), owner(folder)
    first.acquire("x")
    next(folder.glob("*.owner")).write_bytes(content)
    assert watch(observer, "x", LEASE - OFTEN) is None
    assert watch(observer, "x", 2 * OFTEN)


def test_an_unknown_file_in_a_claim_is_replaced_after_the_lease(folder):
    (folder / "x.claim").mkdir(parents=True)
    for name in ("nonsense", "-1.99999999999"):
        (folder / "x.claim" / name).touch()
    observer = owner(folder)
    assert watch(observer, "x", LEASE - OFTEN) is None
    observer.release(watch(observer, "x", 2 * OFTEN))
    assert not folder.exists()


def test_a_file_or_an_empty_folder_in_a_claims_place_is_no_claim(folder):
    folder.mkdir()
    (folder / "x.claim").touch()
    (folder / "y.claim").mkdir()
    observer = owner(folder)
    assert observer.acquire("x") and observer.acquire("y")


def test_cleaning_removes_what_dead_owners_left_and_nothing_of_the_living(folder):
    dead, living = Claims(folder, DEAD), owner(folder)
    dead.acquire("x"), dead.acquire("y")
    claim = living.acquire("z")
    prepared = folder / f".{dead.owner}-9.0"
    prepared.mkdir()
    (folder / "a.lock").touch()  # of an older version
    observer = Claims(folder, ended=lambda process: process == DEAD)
    observer.clean()
    assert observer.taken() == {"z": 0} and not claim.lost()
    assert {path.suffix for path in folder.iterdir()} == {".claim", ".owner"}
    assert len(list(folder.iterdir())) == 2


def test_a_full_or_read_only_disk_is_refused_in_one_line(tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(claims_module.Path, "mkdir", fail)
    with pytest.raises(DataError, match="Read-only file system.*Make it writable"), Store(tmp_path).hold("x"):
        pass


def test_the_counter_is_increased_while_a_claim_is_held_and_its_file_removed_afterwards(folder, monkeypatch):
    monkeypatch.setattr(claims_module, "BEAT", 0.01)
    monkeypatch.setattr(claims_module, "_heart", claims_module._Heart())
    one = owner(folder)
    claim = one.acquire("x")
    file = next(folder.glob("*.owner"))
    until = time.monotonic() + 20
    while json.loads(file.read_text() or "{}").get("beats", 0) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert json.loads(file.read_text())["beats"] >= 3
    one.release(claim)
    time.sleep(0.05)
    assert not folder.exists()


def test_a_forked_child_has_claims_of_its_own(folder):
    mine = claims_in(folder)
    assert claims_in(folder) is mine
    pid = os.fork()
    if pid == 0:
        os._exit(0 if claims_in(folder).owner != mine.owner else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_process_has_ended_only_if_this_machine_knows_it():
    me = this_process()
    other_boot = Process(me.host, "another boot", 1 << 22, "1")
    assert not has_ended(me) and not has_ended(other_boot)
    assert has_ended(Process(me.host, me.machine, me.pid, "an earlier one of this id"))
    child = subprocess.Popen(["true"])
    zombie = Process(me.host, me.machine, child.pid, claims_module._state(child.pid)[1])
    until = time.monotonic() + 20
    while not has_ended(zombie) and time.monotonic() < until:  # it has exited, and nobody has waited for it
        time.sleep(0.01)
    assert has_ended(zombie)
    child.wait()
    assert has_ended(zombie)
