"""Work that reads all files of several models at a time."""

import threading

import pytest

from mergekit_finance.models import fingerprint
from mergekit_finance.models.fingerprint import folder_fingerprint
from mergekit_finance.models.reading import for_each_model


def test_models_are_read_at_the_same_time():
    both = threading.Barrier(2, timeout=60)
    read = for_each_model(["a", "b", "a"], lambda name, stopped: (name, both.wait() >= 0))
    assert read == {"a": ("a", True), "b": ("b", True)}


def test_no_model_is_nothing_to_read():
    assert for_each_model([], lambda name, stopped: name) == {}


@pytest.mark.parametrize("error", [ValueError("b is broken"), KeyboardInterrupt()])
def test_an_error_stops_the_other_models(error):
    reading = threading.Event()

    def work(name, stopped):
        if name == "a":
            reading.wait(60)
            raise error
        reading.set()
        assert stopped.wait(60)

    with pytest.raises(type(error)):
        for_each_model(["a", "b"], work)


def test_the_error_of_the_first_model_is_raised():
    def work(name, stopped):
        raise ValueError(name)

    for _ in range(20):
        with pytest.raises(ValueError, match="first"):
            for_each_model(["first", "second", "third"], work)


def test_a_stopped_hash_reads_one_block(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprint, "BLOCK", 4)
    (tmp_path / "model.safetensors").write_bytes(b"0123456789")
    counted = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def update(self, count):
            counted.append(count)
            stopped.set()

    stopped = threading.Event()
    monkeypatch.setattr(fingerprint, "byte_bar", lambda *arguments: Bar())
    folder_fingerprint(tmp_path, True, stopped)
    assert counted == [4]
