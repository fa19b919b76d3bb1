"""dmarcmilter.policy.recipients.database_cache: bounded waiting, memory, and a database that does not answer."""

import threading
import time

import pytest

from dmarcmilter.policy.recipients import database_cache as module
from dmarcmilter.policy.recipients.choice import StoredChoice
from dmarcmilter.policy.recipients.database_cache import Answers, DatabaseError, MeaninglessError

JOE = ("joe+x@example.net", "joe@example.net", "@example.net")
ANN = ("ann@example.net", "@example.net")


class Source:
    """A database of the test's own making: slow, down or in order."""

    def __init__(self, **known):
        self.known = {"@example.net": StoredChoice.NOTHING} | known
        self.asked = []
        self.delay = 0.0
        self.down = False
        self.stuck = threading.Event()
        self.stuck.set()

    def ask(self, form):
        self.asked.append(form)
        self.stuck.wait()
        time.sleep(self.delay)
        if self.down:
            raise DatabaseError("connection refused")
        return self.known.get(form, StoredChoice.NOTHING)


@pytest.fixture
def source():
    found = Source(**{"joe@example.net": StoredChoice.EXEMPT, "ann@example.net": StoredChoice.ENFORCE})
    yield found
    found.stuck.set()


def make(source, timeout=20.0, keep_seconds=60.0):
    return Answers(source.ask, timeout=timeout, keep_seconds=keep_seconds)


def later(seconds, now=time.monotonic):
    """The clock of somebody who has waited so long."""
    return lambda: now() + seconds


def test_the_most_specific_form_with_an_answer_decides(source):
    found = make(source)
    assert found.find([JOE, ANN]) == [StoredChoice.EXEMPT, StoredChoice.ENFORCE]
    assert found.find([("nobody@example.net", "@example.net")]) == [StoredChoice.NOTHING]
    assert "@example.net" not in source.asked[:3]


def test_answers_are_remembered_for_a_while(source, monkeypatch):
    found = make(source, keep_seconds=60.0)
    assert [found.find([JOE]) for _ in range(5)] == [[StoredChoice.EXEMPT]] * 5
    assert len(source.asked) == 2
    source.known["joe@example.net"] = StoredChoice.ENFORCE
    monkeypatch.setattr(module.time, "monotonic", later(61.0))
    assert found.find([JOE]) == [StoredChoice.ENFORCE]


def test_memory_is_bounded(source, monkeypatch):
    # MAX_REMEMBERED
    monkeypatch.setattr(module, "MAX_REMEMBERED", 10)
    found = make(source)
    many = [(f"user{number}@example.net", "@example.net") for number in range(50)]
    assert found.find([*many, JOE]) == [StoredChoice.NOTHING] * 50 + [StoredChoice.EXEMPT]
    assert len(found._kept) == 10


@pytest.mark.slow
def test_several_are_asked_for_at_once(source):
    # THREADS
    source.delay = 0.5
    began = time.monotonic()
    many = [(f"user{number}@example.net",) for number in range(16)]
    assert make(source, timeout=20.0).find(many) == [StoredChoice.NOTHING] * 16
    assert time.monotonic() - began < 6, "one after the other they take 8 seconds"


def test_a_database_that_hangs_is_waited_for_once(source, monkeypatch, caplog):
    # HOLD_SECONDS
    monkeypatch.setattr(module, "HOLD_SECONDS", 8.0)
    found = make(source, timeout=0.3)
    source.stuck.clear()
    began = time.monotonic()
    assert found.find([JOE, ANN]) == [StoredChoice.UNKNOWN] * 2
    waited = time.monotonic() - began
    assert 0.25 < waited < 5
    began = time.monotonic()
    assert [found.find([JOE]) for _ in range(20)] == [[StoredChoice.UNKNOWN]] * 20
    assert time.monotonic() - began < 5, "if each waits, they take 6 seconds"
    [record] = caplog.records
    assert "no answer within 0.3 s" in record.getMessage()
    assert "example" not in caplog.text
    source.stuck.set()
    found._timeout = 20.0
    monkeypatch.setattr(module.time, "monotonic", later(8.0))
    assert found.find([JOE, ANN]) == [StoredChoice.EXEMPT, StoredChoice.ENFORCE]


def test_old_knowledge_is_better_than_none(source):
    found = make(source, keep_seconds=0.0)
    assert found.find([JOE]) == [StoredChoice.EXEMPT]
    source.down = True
    assert found.find([JOE, ANN]) == [StoredChoice.EXEMPT, StoredChoice.UNKNOWN]


def test_a_database_that_is_down_is_told_once_and_tried_again(source, monkeypatch, caplog):
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.05)
    caplog.set_level("INFO")
    found = make(source)
    source.down = True
    for _ in range(3):
        assert found.find([ANN]) == [StoredChoice.UNKNOWN]
        time.sleep(0.1)
    source.down = False
    assert found.find([ANN]) == [StoredChoice.ENFORCE]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_bug_is_no_end(source, monkeypatch):
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.0)
    found = Answers(lambda form: 1 // 0, timeout=20.0, keep_seconds=60.0)
    assert [found.find([JOE]) for _ in range(10)] == [[StoredChoice.UNKNOWN]] * 10
    found._ask = source.ask
    assert found.find([JOE]) == [StoredChoice.EXEMPT]


@pytest.mark.slow
def test_a_long_list_keeps_no_other_message_waiting(source):
    source.delay = 0.005
    found = make(source, timeout=1.0)
    many = [(f"user{number}@example.net",) for number in range(2000)]
    long = threading.Thread(target=found.find, args=(many,))
    long.start()
    while len(source.asked) < 8:
        time.sleep(0.001)
    assert found.find([ANN]) == [StoredChoice.ENFORCE]
    assert len(source.asked) < 1000, "it came behind all of the long list"
    long.join()
    # It was cut off in time, which is no fault of the database's.
    assert len(source.asked) < 1500
    found._timeout = 20.0
    assert found.find([JOE]) == [StoredChoice.EXEMPT]


def test_a_database_that_never_answers_fills_no_memory(source, monkeypatch):
    """Each message gives up, but its places in the line stay until a thread comes back."""
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.0)
    monkeypatch.setattr(module, "MAX_WAITING", 20)
    source.stuck.clear()
    found = make(source, timeout=0.001)
    many = [(f"user{number}@example.net",) for number in range(8)]
    assert [found.find(many) for _ in range(30)] == [[StoredChoice.UNKNOWN] * 8] * 30
    assert found._batches.qsize() <= 20 + module.THREADS
    source.stuck.set()
    deadline = time.monotonic() + 30
    while found._batches.qsize() and time.monotonic() < deadline:
        time.sleep(0.01)
    found._timeout = 20.0
    assert found.find([ANN]) == [StoredChoice.ENFORCE]


def test_one_bad_row_silences_nobody_else(source, caplog):
    ask = source.ask

    def odd(form):
        if form.startswith("odd"):
            raise MeaninglessError("neither exempt nor enforce")
        return ask(form)

    found = Answers(odd, timeout=5.0, keep_seconds=60.0)
    for _ in range(3):
        assert found.find([("odd@example.net", "@example.net"), ANN]) == [StoredChoice.UNKNOWN, StoredChoice.ENFORCE]
    assert found.find([JOE]) == [StoredChoice.EXEMPT]
    assert len(caplog.records) == 1
