"""`dmarcmilter quarantine` acts on what was selected, and on nothing else. (Real queue: mta/test_quarantine.py.)"""

import pytest

from dmarcmilter.cli import quarantine as module
from dmarcmilter.postfix.hold_queue import Held, QueueError
from tests.support import journals, outcomes
from tests.support.commands import run
from tests.support.explain_command import write_conf


class Queue:
    """A hold queue without a Postfix. `stuck`: ids that stay on hold."""

    def __init__(self, ids, stuck=(), error=""):
        self.ids, self.stuck, self.error = list(ids), set(stuck), error
        self.calls = []

    def held(self):
        arrived = outcomes.RECEIVED_AT.replace(microsecond=0)
        return [Held(queue_id, arrived, 1000, 1) for queue_id in self.ids]

    def header(self, queue_id):
        return b"Subject: \x1b[2Jx\r\n\tfolded\r\n"

    def release(self, queue_ids):
        return self._act("release", queue_ids)

    def delete(self, queue_ids):
        return self._act("delete", queue_ids)

    def _act(self, verb, queue_ids):
        if self.error:
            raise QueueError(self.error)
        self.calls.append((verb, sorted(queue_ids)))
        return set(queue_ids) - self.stuck


@pytest.fixture
def quarantine(tmp_path, monkeypatch):
    journals.append(tmp_path / "journal", [journals.record("quarantine", queue_id=name) for name in ("4AAAA", "4BBBB")])
    conf = write_conf(tmp_path)

    def invoke(queue, command, *arguments, answer=None):
        monkeypatch.setattr(module, "PostfixQueue", lambda _directory: queue)
        return run("quarantine", command, "--config", conf, *arguments, stdin=answer)

    return invoke


@pytest.fixture
def queue():
    return Queue(["4AAAA", "4BBBB", "4ELSE"])


VERBS = [("release", "released"), ("delete", "deleted")]


@pytest.mark.parametrize(("verb", "done"), VERBS)
def test_only_what_the_filter_held_is_touched(verb, done, quarantine, queue):
    result = quarantine(queue, verb, "--all", "--yes")
    assert (result.exit_code, result.stdout) == (0, f"2 {done}\n")
    assert queue.calls == [(verb, ["4AAAA", "4BBBB"])]


@pytest.mark.parametrize(("verb", "_done"), VERBS)
def test_without_a_selection_nothing_happens(verb, _done, quarantine, queue):
    result = quarantine(queue, verb, "--yes")
    assert result.exit_code == 2
    assert "say which" in result.stderr
    assert queue.calls == []


@pytest.mark.parametrize(
    ("answer", "status", "calls"), [("y\n", 0, [("delete", ["4AAAA"])]), ("n\n", 1, []), ("", 1, [])]
)
def test_it_asks_before_it_acts(answer, status, calls, quarantine, queue):
    result = quarantine(queue, "delete", "4AAAA", answer=answer)
    assert "Delete 1 message?" in result.stdout
    assert (result.exit_code, queue.calls) == (status, calls)


def test_a_message_of_others_cannot_be_named(quarantine, queue):
    result = quarantine(queue, "delete", "4ELSE", "4AAAA", "--yes")
    assert (result.exit_code, queue.calls) == (1, [("delete", ["4AAAA"])])
    assert "the filter holds no message 4ELSE" in result.stderr


def test_an_id_with_control_characters_is_shown_harmless(quarantine, queue):
    result = quarantine(queue, "release", "\x1b[2J", "--yes")
    assert (result.exit_code, queue.calls) == (1, [])
    assert "\x1b" not in result.stderr


def test_a_selection_without_messages_is_no_failure(quarantine, queue):
    result = quarantine(queue, "release", "--domain", "other.example", "--yes")
    assert (result.exit_code, result.stdout) == (0, "nothing to do\n")


def test_what_stays_on_hold_is_named(quarantine):
    result = quarantine(Queue(["4AAAA", "4BBBB"], stuck=["4BBBB"]), "release", "--all", "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (1, "1 released\n", "4BBBB is still on hold\n")


def test_a_queue_that_fails_is_an_error(quarantine):
    result = quarantine(Queue(["4AAAA"], error="postsuper: exit status 1"), "release", "--all", "--yes")
    assert result.exit_code == 2
    assert "postsuper: exit status 1" in result.stderr


def test_show_explains_and_shows_the_header_harmless(quarantine, queue):
    result = quarantine(queue, "show", "4AAAA")
    assert result.exit_code == 0
    assert "dmarcmilter quarantine release 4AAAA" in result.stdout
    assert "Subject: \\x1b[2Jx" in result.stdout
    assert "\x1b" not in result.stdout
    assert quarantine(queue, "show", "4ELSE").exit_code == 1


def test_list_counts_others_on_hold(quarantine, queue):
    text = quarantine(queue, "list").stdout
    assert "4AAAA" in text
    assert "4ELSE" not in text
    assert "1 more on hold" in text
    assert "no message on hold" in quarantine(Queue([]), "list").stdout
