"""Fixtures of the tests of studies."""

import threading

import pytest


@pytest.fixture(autouse=True)
def _threads_of_earlier_tests_do_not_count(monkeypatch):
    """Workers are forked only if no other thread lives; pools that earlier tests of this process used have some."""
    earlier = set(threading.enumerate()) - {threading.current_thread()}
    every = threading.enumerate
    monkeypatch.setattr(threading, "enumerate", lambda: [one for one in every() if one not in earlier])
