"""Files of answers, and the model that uses them: what is asked again, what is not, and what damage costs."""

import gzip
import hashlib
import logging
import math
from types import SimpleNamespace

import pytest

from mergekit_finance.errors import DataError
from mergekit_finance.evaluation import answer_store, answering
from mergekit_finance.evaluation.answer_store import Answer, AnswerStore, count_answers, read_folder
from mergekit_finance.evaluation.answering import AnsweringModel
from mergekit_finance.evaluation.batch_limit import NoRoomError

CHOICE, ROLLING, FREE = "loglikelihood", "loglikelihood_rolling", "generate_until"


def request(kind, *arguments):
    """A request as lm-eval builds it."""
    return SimpleNamespace(request_type=kind, args=arguments)


class Model:
    """Responds like lm-eval's `hf` model: sorted by length, in batches, one answer at a time to the hook.

    A batch of more than `fits` requests does not fit its memory; after `dies_after` answers it is interrupted.
    """

    max_length, max_batch_size = 100, 64
    device = SimpleNamespace(type="cpu")
    model = SimpleNamespace(parameters=lambda: iter(()))

    def __init__(self, batch_size=4, fits=64, dies_after=10**9):
        self.batch_size_per_gpu, self.fits, self.dies_after = batch_size, fits, dies_after
        self.batches, self.cache_hook, self.answered = [], None, 0

    batch_size = property(lambda self: self.batch_size_per_gpu)

    def set_cache_hook(self, hook):
        self.cache_hook = hook

    def tokenizer(self, text):
        return {"input_ids": text.split()}

    def _respond(self, kind, requests, response):
        order = sorted(range(len(requests)), key=lambda i: -len(str(requests[i].args)))
        responses = dict.fromkeys(order)
        step = 8 if self.batch_size == "auto" else self.batch_size
        step = min(step, self.max_batch_size)
        for start in range(0, len(order), step):
            batch = order[start : start + step]
            if len(batch) > self.fits:
                raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            self.batches.append([requests[i].args for i in batch])
            for i in batch:
                if self.answered >= self.dies_after:
                    raise KeyboardInterrupt
                self.answered += 1
                responses[i] = response(requests[i].args)
                self.cache_hook.add_partial(kind, requests[i].args, responses[i])
        return [responses[i] for i in range(len(requests))]

    def loglikelihood(self, requests):
        return self._respond(CHOICE, requests, lambda args: (-float(len(args[0])), len(args[1]) > 2))

    def loglikelihood_rolling(self, requests):
        return self._respond(ROLLING, requests, lambda args: -len(args[0]) or 0)

    def generate_until(self, requests):
        return self._respond(FREE, requests, lambda args: f"{args[0]}!{self.answered}")


@pytest.fixture(autouse=True)
def tokens_of_words(monkeypatch):
    monkeypatch.setattr(answering.PromptLengths, "of_tokenizer", lambda self, tokenizer: {})
    monkeypatch.setattr("mergekit_finance.hosts.lm_eval_models.release_memory", lambda: None)  # takes 0.3 s


@pytest.fixture
def store(tmp_path):
    return AnswerStore(tmp_path / "answers")


KEY = {"model": "a", "dtype": "float32"}


def live(store, model, key=KEY, requested=4):
    return AnsweringModel(lambda: model, store.of("m", key), store.batches(requested))


CHOICES = [request(CHOICE, "x" * n, " ab") for n in range(1, 10)]


def test_stored_answers_are_given_in_the_order_of_the_requests_and_no_model_is_made(store):
    model = Model()
    first = live(store, model).loglikelihood(CHOICES)
    assert first == [(-float(n), True) for n in range(1, 10)] and model.answered == 9
    again = AnsweringModel(lambda: pytest.fail("made"), store.of("m", KEY))
    assert again.loglikelihood(CHOICES[::-1]) == first[::-1] and again.seconds_making == 0
    assert all(type(answer) is tuple for answer in again.loglikelihood(CHOICES))


def test_only_new_requests_reach_the_model(store):
    live(store, Model()).loglikelihood(CHOICES[:4])
    model = Model()
    assert live(store, model).loglikelihood(CHOICES) == [(-float(n), True) for n in range(1, 10)]
    assert sorted(args for batch in model.batches for args in batch) == sorted(r.args for r in CHOICES[4:])


def test_equal_requests_are_asked_once(store):
    model = Model()
    answers_ = live(store, model).loglikelihood([CHOICES[0], CHOICES[1], CHOICES[0]])
    assert answers_ == [(-1.0, True), (-2.0, True), (-1.0, True)] and model.answered == 2


@pytest.mark.parametrize(
    "change",
    [("y", " ab"), ("x", " ac"), ("x", {"until": ["."]}), ("x", {"until": ["."], "max_gen_toks": 3})],
)
def test_prompt_option_and_generation_settings_are_in_the_key_of_a_request(change):
    keys = {
        answer_store.request_key(kind, args) for kind in (CHOICE, FREE) for args in (("x", " ab"), change)
    }
    assert len(keys) == 4


def test_the_order_of_settings_is_not_in_the_key_of_a_request():
    one, other = ({"until": ["."], "max_gen_toks": 3}, {"max_gen_toks": 3, "until": ["."]})
    assert answer_store.request_key(FREE, ("x", one)) == answer_store.request_key(FREE, ("x", other))


@pytest.mark.parametrize(
    ("settings", "different"),
    [
        ({"do_sample": True}, True),
        ({"temperature": 0.7}, True),
        ({"do_sample": False, "temperature": 0.7}, False),
        ({"temperature": 0.0}, False),
        ({}, False),
    ],
)
def test_repeats_are_answers_of_their_own_only_where_answers_are_sampled(store, settings, different):
    requests, model = [request(FREE, "x", settings)] * 3, Model()
    texts = live(store, model).generate_until(requests)
    assert (len(set(texts)), model.answered) == ((3, 3) if different else (1, 1))
    assert live(store, None).generate_until(requests) == texts
    more, model = live(store, other := Model()), other
    assert more.generate_until(requests + requests[:1])[:3] == texts
    assert model.answered == (1 if different else 0)


def test_kinds_of_requests_keep_their_types(store):
    requests = {CHOICE: [CHOICES[0]], ROLLING: [request(ROLLING, ""), request(ROLLING, "ab")], FREE: [request(FREE, "\u2028é💥\n", {})]}  # fmt: skip
    fresh = {kind: getattr(live(store, Model()), kind)(batch) for kind, batch in requests.items()}
    stored = {kind: getattr(live(store, None), kind)(batch) for kind, batch in requests.items()}
    assert fresh == stored == {CHOICE: [(-1.0, True)], ROLLING: [0.0, -2.0], FREE: ["\u2028é💥\n!1"]}
    assert [type(one) for one in stored[ROLLING]] == [float, float]


def test_a_model_that_reports_no_single_answers_is_stored_at_the_end(store):
    model = Model()
    model.set_cache_hook = lambda hook: None
    model.cache_hook = SimpleNamespace(add_partial=lambda *_: None)
    live(store, model).loglikelihood(CHOICES)
    assert live(store, None).loglikelihood(CHOICES[:2]) == [(-1.0, True), (-2.0, True)]


def test_infinite_log_likelihoods_are_stored(tmp_path):
    values = {"a": Answer((-math.inf, False), 1, 2), "b": Answer((math.nan, False), 1, 2)}
    answer_store.write_part(tmp_path, values)
    assert str(read_folder(tmp_path)) == str(values)


# ---- interruptions


def test_an_interrupted_model_continues_with_the_batches_that_it_had_not_answered(store, monkeypatch):
    """Answers are written between batches, so that the rest is batched as in an undisturbed run."""
    monkeypatch.setattr(answer_store, "FLUSH_SECONDS", -1.0)
    whole = Model()
    live(AnswerStore(store.folder / "other"), whole).loglikelihood(CHOICES)
    with pytest.raises(KeyboardInterrupt):
        live(store, Model(dies_after=4)).loglikelihood(CHOICES)
    assert count_answers(store.of("m", KEY).folder) == 4
    rest = Model()
    live(store, rest).loglikelihood(CHOICES)
    assert rest.batches == whole.batches[1:]


def test_answers_are_written_before_a_killed_process_can_say_so(store, monkeypatch):
    """SIGKILL runs no `finally`: after 30 s all earlier answers are on disk."""
    now = [0.0]
    monkeypatch.setattr(answer_store.time, "monotonic", lambda: now[0])
    stored = store.of("m", KEY)
    for n, at in enumerate((0.0, 29.0, 31.0, 40.0)):
        now[0] = at
        stored.add(answer_store.request_key(CHOICE, (str(n), "")), Answer((-1.0, True), 1, 2))
    assert count_answers(stored.folder) == 2


def test_a_file_has_at_most_so_many_answers(store, monkeypatch):
    monkeypatch.setattr(answer_store, "FLUSH_ANSWERS", 4)
    live(store, Model(batch_size=9)).loglikelihood(CHOICES)
    parts = [path.name.split("-")[0] for path in store.of("m", KEY).folder.glob("*.gz")]
    assert sorted(parts) == ["1", "4", "4"]


# ---- memory


@pytest.mark.parametrize("requested", [8, "auto"])
def test_a_batch_that_does_not_fit_is_halved_said_and_remembered(store, caplog, requested):
    model = Model(batch_size=requested, fits=2)
    assert len(live(store, model, requested=requested).loglikelihood(CHOICES)) == 9
    assert {len(batch) for batch in model.batches} <= {1, 2} and model.answered == 9
    start = 8 if requested == 8 else 64
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == f"cpu: a batch of {start} does not fit its memory; continuing with {start // 2}"
    assert lines[-1].endswith("continuing with 2")
    caplog.clear()
    other = Model(batch_size=requested, fits=2)
    live(store, other, {"model": "b"}, requested).loglikelihood(CHOICES)
    assert not caplog.records and {len(batch) for batch in other.batches} <= {1, 2}


def test_answers_before_a_batch_that_does_not_fit_are_kept(store):
    model = Model(batch_size=4, fits=4)
    live(store, model).loglikelihood(CHOICES[:4])
    model.fits = 2
    live(store, model).loglikelihood(CHOICES)
    assert model.answered == 9


def test_one_request_that_does_not_fit_is_one_line(store):
    with pytest.raises(
        NoRoomError, match="cpu: out of memory with one request at a time; finished work is kept"
    ) as caught:
        live(store, Model(fits=0)).loglikelihood(CHOICES)
    assert "\n" not in str(caught.value)


def test_other_errors_of_a_model_are_raised_as_they_are(store):
    model = Model()
    model.loglikelihood = lambda requests: (_ for _ in ()).throw(RuntimeError("device-side assert"))
    with pytest.raises(RuntimeError, match="device-side assert"):
        live(store, model).loglikelihood(CHOICES)


@pytest.mark.parametrize("text", ["", "[", "[1]", '{"cpu, 4 requested": "x"}', '{"cpu, 4 requested": -1}'])
def test_a_damaged_file_of_batch_sizes_is_ignored(store, text):
    store.folder.mkdir()
    (store.folder / "batch_size.json").write_text(text)
    model = Model(fits=2)
    live(store, model).loglikelihood(CHOICES)
    assert model.answered == 9


# ---- files


def test_a_folder_is_named_by_its_key_and_a_file_by_its_content(store):
    live(store, Model()).loglikelihood(CHOICES)
    stored = store.of("m", KEY)
    (part,) = stored.folder.glob("*.gz")
    data = part.read_bytes()
    assert part.name == f"9-{hashlib.sha256(data).hexdigest()[:16]}.jsonl.gz"
    assert len(gzip.decompress(data).splitlines()) == 9 == count_answers(stored.folder)
    assert store.of("m", {**KEY, "dtype": "bfloat16"}).folder != stored.folder
    assert {path.name for path in stored.folder.iterdir()} == {part.name, "key.json"}


def named(data):
    return f"9-{hashlib.sha256(data).hexdigest()[:16]}.jsonl.gz"


def packed(text):
    return gzip.compress(text.encode())


LINE = '["' + "0" * 32 + '",[-1.0,true],1,2]'
DAMAGE = {
    "truncated": lambda data: data[:-9],
    "one byte": lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:],
    "empty": lambda data: b"",
}
CRAFTED = {
    "no gzip": b"abc",
    "half a gzip": packed(LINE * 99)[:-5],
    "no JSON": packed("[" * 9),
    "deep": packed("[" * 5000),
    "another count": packed(LINE + "\n"),
    "an object": packed("{}\n"),
    "another response": packed('["a",{"x":1},1,2]\n'),
    "a response of one": packed('["a",[-1.0],1,2]\n'),
    "text for tokens": packed('["a","b","1",2]\n'),
    "no UTF-8": gzip.compress(b"\xff\n"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_removed_with_one_line_and_its_answers_are_asked_again(store, caplog, damage):
    live(store, Model()).loglikelihood(CHOICES[:5])
    live(store, Model()).loglikelihood(CHOICES)
    (part,) = store.of("m", KEY).folder.glob("4-*.gz")
    part.write_bytes(DAMAGE[damage](part.read_bytes()))
    model = Model()
    assert live(store, model).loglikelihood(CHOICES) == [(-float(n), True) for n in range(1, 10)]
    assert model.answered == 4
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert f"{part.name} is damaged (" in record.getMessage() and "\n" not in record.getMessage()
    assert record.getMessage().endswith("its answers are asked for again")


@pytest.mark.parametrize("content", CRAFTED)
def test_a_file_that_another_wrote_is_checked_before_it_is_used(tmp_path, content, caplog):
    """Its name has the right hash, so only its content tells."""
    path = tmp_path / named(CRAFTED[content])
    path.write_bytes(CRAFTED[content])
    assert read_folder(tmp_path) == {} and not path.exists() and len(caplog.records) == 1


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(answer_store, "MAX_PART", 1000)
    data = packed(" " * 5000)
    (tmp_path / named(data)).write_bytes(data)
    assert read_folder(tmp_path) == {}


def test_an_answer_of_another_kind_is_no_answer(store):
    """A crafted file may hold a text where a log-likelihood belongs."""
    stored = store.of("m", KEY)
    answer_store.write_part(
        stored.folder, {answer_store.request_key(CHOICE, CHOICES[0].args): Answer("text", 1, 2)}
    )
    assert live(store, Model()).loglikelihood(CHOICES[:1]) == [(-1.0, True)]


def test_links_and_folders_in_place_of_files_are_removed_not_followed(tmp_path, caplog):
    outside = tmp_path / "outside"
    outside.write_text("x")
    folder = tmp_path / "m"
    (folder / f"1-{'0' * 16}.jsonl.gz").mkdir(parents=True)
    (folder / f"2-{'0' * 16}.jsonl.gz").symlink_to(outside)
    assert read_folder(folder) == {} and not list(folder.iterdir()) and outside.read_text() == "x"
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert read_folder(link) == {} and not link.is_symlink() and len(caplog.records) == 3


def test_a_file_that_may_not_be_read_is_one_line_and_stays(tmp_path, monkeypatch):
    """As root every file can be read, so the error is raised here."""
    path = tmp_path / named(b"x")
    path.write_bytes(b"x")

    def denied(path, max_bytes):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(answer_store, "read_bytes", denied)
    with pytest.raises(DataError, match="cannot be read .Permission denied.. Make it readable."):
        read_folder(tmp_path)
    assert path.exists()


def test_a_file_that_another_process_removes_is_no_error(tmp_path, monkeypatch, caplog):
    path = tmp_path / named(b"x")
    path.write_bytes(b"x")
    read = answer_store.read_bytes

    def removed(path, max_bytes):
        path.unlink()
        return read(path, max_bytes)

    monkeypatch.setattr(answer_store, "read_bytes", removed)
    assert read_folder(tmp_path) == {} and not caplog.records
