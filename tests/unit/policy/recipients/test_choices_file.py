"""dmarcmilter.policy.recipients.choices_file: the file of choices, and what becomes of it while the daemon runs."""

import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.policy.recipients import choice, choices_file
from dmarcmilter.policy.recipients.choice import Choice, StoredChoice
from dmarcmilter.policy.recipients.choices_file import ListingFile, UnusableFileError, parse

JOE, ANN = choice.read(b"joe@example.net"), choice.read(b"ann@example.net")


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    """The file is looked at each time."""
    monkeypatch.setattr(choices_file, "CHECK_SECONDS", 0.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "exempt"


def write(path, content, *, age=10.0):
    """Last changed so many seconds ago."""
    path.write_bytes(content)
    write.clock += 1
    changed = time.time() - age - 1000 + write.clock if age > 1 else time.time() - age
    os.utime(path, (changed, changed))


write.clock = 0


def test_it_is_read_again_when_it_changes(path):
    write(path, b"joe@example.net\n")
    found = ListingFile(str(path), Choice.ENFORCE)
    assert (found.find(JOE), found.find(ANN)) == (StoredChoice.EXEMPT, StoredChoice.NOTHING)
    write(path, b"ann@example.net\n")
    assert (found.find(JOE), found.find(ANN)) == (StoredChoice.NOTHING, StoredChoice.EXEMPT)
    other = path.with_name("new")
    write(other, b"joe@example.net enforce\n")
    other.rename(path)
    assert found.find(JOE) is StoredChoice.ENFORCE


def test_what_is_being_written_is_waited_for(path):
    # SETTLE_SECONDS
    write(path, b"joe@example.net\nann@example.net\n")
    found = ListingFile(str(path), Choice.ENFORCE)
    write(path, b"joe@example.net\n", age=0.0)
    assert found.find(ANN) is StoredChoice.EXEMPT
    write(path, b"joe@example.net\n")
    assert found.find(ANN) is StoredChoice.NOTHING


def test_it_is_not_looked_at_for_each_recipient(path, monkeypatch):
    # CHECK_SECONDS
    monkeypatch.setattr(choices_file, "CHECK_SECONDS", 60.0)
    write(path, b"joe@example.net\n")
    found = ListingFile(str(path), Choice.ENFORCE)
    write(path, b"")
    assert found.find(JOE) is StoredChoice.EXEMPT


def too_large(path):
    write(path, b"")
    os.truncate(path, choices_file.MAX_FILE + 1)
    os.utime(path, (1, 1))


BROKEN = {
    "away": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "no list at all": lambda path: write(path, b"<html>\nnot found\n"),
    "too large": too_large,
}


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_changes_nothing(breaks, path, caplog):
    write(path, b"joe@example.net\n")
    found = ListingFile(str(path), Choice.ENFORCE)
    breaks(path)
    if path.is_dir():
        os.utime(path, (1, 1))
    assert [found.find(JOE) for _ in range(3)] == [StoredChoice.EXEMPT] * 3
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert str(path) in record.getMessage()
    assert "example.net" not in caplog.text
    if path.is_dir():
        path.rmdir()
    write(path, b"ann@example.net\n")
    assert (found.find(JOE), found.find(ANN)) == (StoredChoice.NOTHING, StoredChoice.EXEMPT)


@pytest.mark.parametrize("breaks", BROKEN.values(), ids=BROKEN.keys())
def test_there_must_be_a_list_to_begin_with(breaks, path):
    write(path, b"")
    breaks(path)
    with pytest.raises((OSError, UnusableFileError)):
        ListingFile(str(path), Choice.ENFORCE)


def test_lines_that_cannot_be_read_are_told_by_number_alone(path, caplog):
    # MAX_TOLD, MAX_LINE
    bad = b"joe doe@example.net\n" * 20 + b"x" * (choices_file.MAX_LINE + 1) + b"\n\xff@example.net\n"
    write(path, b"ann@example.net\n" + bad)
    found = ListingFile(str(path), Choice.ENFORCE)
    assert found.find(ANN) is StoredChoice.EXEMPT
    assert len(caplog.records) == choices_file.MAX_TOLD + 1
    assert "line 2 " in caplog.text
    assert "12 more lines" in caplog.text
    assert "example.net" not in caplog.text


def test_line_ends_and_byte_order_mark():
    found = parse(b"\xef\xbb\xbfjoe@example.net\r\nann@example.net\r\n\r\n", Choice.ENFORCE)
    assert found.unreadable == ()
    assert set(found.entries) == {"joe@example.net", "ann@example.net"}


def test_an_address_that_is_longer_than_any(path):
    found = parse(b"a" * choice.MAX_ADDRESS + b"@example.net\n", Choice.ENFORCE)
    assert (dict(found.entries), len(found.unreadable)) == ({}, 1)


@pytest.mark.slow
def test_large_lists_are_read_in_linear_time():
    content = b"".join(b"user%d@example.net\n" % number for number in range(100_000))
    began = time.process_time()
    found = parse(content, Choice.ENFORCE)
    assert len(found.entries) == 100_000
    assert time.process_time() - began < 5.0


LINES = st.lists(
    st.binary(max_size=60) | st.sampled_from([b"joe@example.net", b"@example.net enforce", b"# x", b"a b c"]),
    max_size=20,
)


@given(LINES, st.sampled_from(Choice))
@settings(max_examples=300, deadline=None)
def test_any_file(lines, default):
    content = b"\n".join(lines)
    found = parse(content, default)
    count = content.count(b"\n") + 1
    assert len(found.entries) + len(found.unreadable) <= count
    assert all(1 <= number <= count for number, _ in found.unreadable)
    assert set(found.entries.values()) <= {StoredChoice.ENFORCE, StoredChoice.EXEMPT}
    for form in found.entries:
        assert form.count("@") >= 1
    found.find(JOE)


@given(st.lists(st.sampled_from(["a@x.example", "b@x.example", "@x.example", "@example"]), max_size=6), st.data())
@settings(max_examples=200, deadline=None)
def test_the_most_specific_entry_decides(names, data):
    words = [data.draw(st.sampled_from(["exempt", "enforce"])) for _ in names]
    found = parse("\n".join(map(" ".join, zip(names, words, strict=True))).encode(), Choice.ENFORCE)
    chosen = dict(zip(names, words, strict=True))
    expected = next((chosen[form] for form in ("a@x.example", "@x.example", "@example") if form in chosen), "nothing")
    assert found.find(choice.read(b"A+detail@X.example")).value == expected
