"""Held messages: which a command selects, and what is shown of them."""

from datetime import UTC, datetime, timedelta

import pytest

from dmarcmilter.cli import held_messages
from dmarcmilter.cli.held_messages import MAX_WHY, HeldMessage, Selection
from dmarcmilter.config import load
from dmarcmilter.history.store import Store
from dmarcmilter.postfix.hold_queue import Held, QueueError
from tests.support import journals, outcomes
from tests.support.report_outcomes import outcome

ARRIVED = outcomes.RECEIVED_AT.replace(microsecond=0)


def held(queue_id="4ABC", **changes):
    values = {"arrived": ARRIVED, "size": 1000, "recipients": 1} | changes
    return Held(queue_id, **values)


def message(queue_id="4ABC", arrived=ARRIVED, **changes):
    return HeldMessage(held(queue_id, arrived=arrived), outcome(queue_id=queue_id, **changes))


def selected(*messages, queue_ids=(), domains=(), before=None, everything=False):
    selection = Selection(queue_ids, domains, before, everything=everything)
    return [message.held.queue_id for message in selection.select(messages)]


ONE = message("4AAA", author_domain="one.example")
TWO = message("4BBB", ARRIVED + timedelta(hours=1), author_domain="two.example")
JAPANESE = message("4CCC", author_domain="xn--wgv71a.example")


def test_all_that_is_given_must_hold():
    assert selected(ONE, TWO, queue_ids=("4BBB", "4AAA")) == ["4AAA", "4BBB"]
    assert selected(ONE, TWO, queue_ids=("4AAA",), domains=("two.example",)) == []
    assert selected(ONE, TWO, before=ARRIVED + timedelta(minutes=1)) == ["4AAA"]
    assert selected(ONE, TWO, before=ARRIVED) == []
    assert selected(ONE, TWO, everything=True) == ["4AAA", "4BBB"]


@pytest.mark.parametrize("name", ["One.Example", "one.example."])
def test_a_domain_is_found_however_it_is_written(name):
    assert selected(ONE, TWO, domains=(name,)) == ["4AAA"]
    assert selected(ONE, JAPANESE, domains=("日本.example",)) == ["4CCC"]


def test_a_domain_does_not_select_those_below_or_above_it():
    assert selected(ONE, domains=("example",)) == selected(ONE, domains=("a.one.example",)) == []


def test_what_is_no_domain_selects_nothing():
    assert selected(ONE, TWO, domains=("",)) == selected(ONE, domains=("*",)) == []


def test_only_a_selection_of_nothing_is_empty():
    assert Selection((), (), None, everything=False).is_empty
    assert not Selection((), (), None, everything=True).is_empty
    assert not Selection(("4ABC",), (), None, everything=False).is_empty


def test_why_it_was_held():
    assert message().why == "p=reject, no aligned identifier passed"
    assert message(author_problem="missing").why == "From field: missing"
    passing = message(dmarc={"result": "pass", "reason": "", "tag": "sp", "published": "quarantine"})
    assert passing.why == "sp=quarantine, pass"


def test_a_line_of_hostile_mail_moves_no_cursor_and_has_an_end():
    hostile = message(author_domain="\x1b[2J.example", author_problem="\r\n" + "x" * 1000)
    line = hostile.line()
    assert line.isprintable()
    assert line.endswith("x")
    assert len(line) < len(message().line()) + MAX_WHY + 50


def test_columns_stand_below_their_heading():
    assert held_messages.HEADING.index("WHY") == message().line().index("p=reject")
    null_sender = message(mail_from_domain=None, author_domain=None).line()
    assert "<>" in null_sender


# --- which of the messages on hold are the filter's


class Queue:
    """A hold queue without a Postfix."""

    def __init__(self, *messages, error=""):
        self._messages = messages
        self._error = error

    def held(self):
        if self._error:
            raise QueueError(self._error)
        return list(self._messages)


@pytest.fixture
def config(tmp_path):
    return load.parse(f'[history]\njournal = "{tmp_path}/journal"\ndatabase = "sqlite:///{tmp_path}/h.db"\n')


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


def quarantined(queue_id, **changes):
    return journals.record("quarantine", queue_id=queue_id, **changes)


def test_messages_without_an_outcome_that_held_them_are_others(config, journal):
    journals.append(journal, [quarantined("4OURS"), journals.record("pass", queue_id="4PASS")])
    messages, others = held_messages.read(config, Queue(held("4OURS"), held("4PASS"), held("4ELSE")))
    assert [message.held.queue_id for message in messages] == ["4OURS"]
    assert others == 2


def test_an_outcome_of_another_time_is_another_message_of_that_id(config, journal):
    journals.append(journal, [quarantined("4OURS")])
    later = datetime(2027, 6, 1, tzinfo=UTC)
    assert held_messages.read(config, Queue(held("4OURS", arrived=later))) == ([], 1)


def test_a_database_that_cannot_be_used_costs_only_what_is_in_it(config, journal, tmp_path, capsys):
    (tmp_path / "h.db").write_bytes(b"not a database" * 100)
    journals.append(journal, [quarantined("4OURS")])
    messages, others = held_messages.read(config, Queue(held("4OURS"), held("4OLD")))
    assert ([message.held.queue_id for message in messages], others) == (["4OURS"], 1)
    assert "the database is left out" in capsys.readouterr().err


def test_the_database_is_not_made_by_looking(config, journal, tmp_path):
    journal.mkdir()
    assert held_messages.read(config, Queue(held("4OLD"))) == ([], 1)
    assert not (tmp_path / "h.db").exists()
    assert Store(config.history.database).is_missing


def test_a_queue_that_cannot_be_read_ends_the_command(config, capsys):
    with pytest.raises(SystemExit) as raised:
        held_messages.read(config, Queue(error="postqueue is not there: is Postfix installed?"))
    assert raised.value.code == 2
    assert "is Postfix installed?" in capsys.readouterr().err
