"""dmarcmilter.dns.shared_answers: what one worker learns, the others read; nothing damaged or mixed is ever read."""

import itertools
import os

import pytest

from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.dns.shared_answers import PLACE_BYTES, PLACES, SharedAnswers
from dmarcmilter.reasons import Code, Reason
from tests.support.processes import child, ended

KEY = (b"\x01a\x07example\x00", 16)
FOUND = Answer(Status.FOUND, (b"v=DMARC1; p=reject",))


def keys_of_one_place(number):
    """Keys that differ and share one place, with names of one length: a longer answer would leave its end behind."""
    keys = ((b"\x08k%07d\x00" % count, 16) for count in itertools.count())
    return list(itertools.islice((key for key in keys if hash(key) % PLACES == 7), number))


@pytest.mark.parametrize(
    "answer",
    [
        FOUND,
        Answer(Status.FOUND, (b"\xff\x00", b""), is_alias=True),
        Answer(Status.FOUND, ("192.0.2.1", "2001:db8::1")),
        Answer(Status.FOUND, ((10, "mx.example"), (0, ""))),
        Answer(Status.NODATA),
        Answer(Status.NXDOMAIN, is_alias=True),
    ],
    ids=str,
)
def test_another_process_reads_it_as_it_was(answer):
    shared = SharedAnswers()
    assert not ended(child(lambda: shared.put(KEY, answer, 109.0)))
    assert shared.get(KEY, 100.0) == (answer, 9.0)


def test_nothing_is_known_at_first():
    assert SharedAnswers().get(KEY, 0.0) is None


def test_name_and_type_are_compared():
    shared = SharedAnswers()
    shared.put(KEY, FOUND, 9.0)
    assert shared.get((KEY[0], 1), 0.0) is None
    assert shared.get((b"\x01b\x00", 16), 0.0) is None


def test_it_expires():
    shared = SharedAnswers()
    shared.put(KEY, FOUND, 9.0)
    assert shared.get(KEY, 8.0) == (FOUND, 1.0)
    assert shared.get(KEY, 9.0) is None


def test_a_failure_is_not_shared():
    """It may be this worker's own: out of sockets, or out of time."""
    shared = SharedAnswers()
    shared.put(KEY, Answer(Status.FAILED, reason=Reason(Code.DNS_TIMEOUT)), 9.0)
    assert shared.get(KEY, 0.0) is None


@pytest.mark.parametrize("size", [PLACE_BYTES - 100, PLACE_BYTES, 65_535])
def test_what_does_not_fit_is_not_shared_and_spoils_nothing(size):
    shared = SharedAnswers()
    shared.put(KEY, FOUND, 9.0)
    large = Answer(Status.FOUND, (b"x" * size,))
    shared.put(KEY, large, 9.0)
    assert shared.get(KEY, 0.0) == ((large if size < PLACE_BYTES else FOUND), 9.0)


def test_a_later_answer_takes_the_place():
    shared = SharedAnswers()
    first, second = keys_of_one_place(2)
    shared.put(first, FOUND, 9.0)
    shared.put(second, Answer(Status.NODATA), 9.0)
    assert shared.get(first, 0.0) is None
    assert shared.get(second, 0.0) == (Answer(Status.NODATA), 9.0)


def place_of(shared, key):
    start = hash(key) % PLACES * PLACE_BYTES
    return shared._memory[start : start + PLACE_BYTES]


def test_a_damaged_answer_is_not_read():
    shared = SharedAnswers()
    shared.put(KEY, FOUND, 9.0)
    place = place_of(shared, KEY)
    for number in range(PLACE_BYTES):
        place[number] ^= 0x41
        assert shared.get(KEY, 0.0) in (None, (FOUND, 9.0)), number
        place[number] ^= 0x41
    assert shared.get(KEY, 0.0) == (FOUND, 9.0)


def test_a_mixture_of_two_answers_is_not_read():
    """A worker was killed while it wrote: each length of its answer over that of another, and of another name."""
    shared = SharedAnswers()
    key, other_key = keys_of_one_place(2)
    place = place_of(shared, key)
    other = Answer(Status.FOUND, (b"v=DMARC1; p=none  ",))
    images = []
    for name, answer in ((key, FOUND), (key, other), (other_key, other)):
        shared.put(name, answer, 9.0)
        images.append(bytes(place))
    for older, newer in itertools.permutations(images, 2):
        for cut in range(PLACE_BYTES):
            place[:] = newer[:cut] + older[cut:]
            assert shared.get(key, 0.0) in (None, (FOUND, 9.0), (other, 9.0))
            if bytes(place) not in images:
                assert shared.get(key, 0.0) is None


def test_a_seal_of_other_workers_is_not_valid_here():
    shared, others = SharedAnswers(), SharedAnswers()
    others.put(KEY, FOUND, 9.0)
    place_of(shared, KEY)[:] = place_of(others, KEY)
    assert shared.get(KEY, 0.0) is None


def test_processes_that_write_one_place_at_once():
    shared = SharedAnswers()
    keys = keys_of_one_place(4)
    answers = {
        key: Answer(Status.FOUND, (bytes([65 + number]) * (100 + 200 * number),)) for number, key in enumerate(keys)
    }

    def write(key):
        for _ in range(20_000):
            shared.put(key, answers[key], 9.0)

    writers = [child(lambda key=key: write(key)) for key in keys]
    read = 0
    while writers:
        for key in keys:
            known = shared.get(key, 0.0)
            assert known in (None, (answers[key], 9.0))
            read += known is not None
        writers = [writer for writer in writers if not os.waitpid(writer, os.WNOHANG)[0]]
    assert read
