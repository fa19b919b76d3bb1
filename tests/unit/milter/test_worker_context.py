"""What a worker does with an outcome: recorded first, and nothing after that changes the reply."""

import pytest

from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.metric_definitions import place
from dmarcmilter.metrics.worker_metrics import WorkerTally
from dmarcmilter.milter.worker_context import WorkerContext
from dmarcmilter.outcome import ApplyError
from dmarcmilter.policy.rules import Action
from dmarcmilter.value import replace
from tests.support import outcomes


class Journal:
    def __init__(self):
        self.records = []

    def append(self, record):
        self.records.append(record)
        return True


class Deferrals:
    def __init__(self, error=None):
        self.recorded = []
        self.error = error

    def record(self, message):
        if self.error:
            raise self.error
        self.recorded.append(message)


class Capture:
    def __init__(self):
        self.offered = []

    def offer(self, record, fields, mail_from):
        self.offered.append((record, fields, mail_from))


def context(deferrals=None, capture=None):
    receiver = outcomes.receiver(outcomes.settings(deferrals=deferrals))
    return WorkerContext(receiver, resolver=None, journal=Journal(), capture=capture, tally=WorkerTally())


def deferred(**changes):
    outcome = outcomes.outcome(outcomes.evidence(failed=["_dmarc.example.com"]))
    return replace(outcome, decision=replace(outcome.decision, action=Action.TEMPFAIL), **changes)


def test_an_outcome_is_recorded_and_offered_to_reports():
    capture = Capture()
    worker = context(capture=capture)
    outcome = outcomes.outcome()
    worker.record(outcome)
    [record] = worker.journal.records
    assert record == outcome.record()
    assert capture.offered == [(record, outcome.message.headers, outcome.message.envelope.mail_from)]


@pytest.mark.parametrize(("error", "is_recorded"), [(None, True), (ApplyError.REPLY, True), (ApplyError.HEADER, False)])
def test_a_deferral_counts_where_the_mta_defers_as_decided(error, is_recorded):
    deferrals = Deferrals()
    context(deferrals).record(deferred(apply_error=error))
    assert bool(deferrals.recorded) is is_recorded


def test_no_other_outcome_is_a_deferral():
    deferrals = Deferrals()
    context(deferrals).record(outcomes.outcome())
    assert deferrals.recorded == []


def test_an_error_after_the_record_is_logged_and_goes_no_further(caplog):
    """The reply has to be the recorded one."""
    worker = context(Deferrals(error=RuntimeError("disk")))
    worker.record(deferred())
    assert len(worker.journal.records) == 1
    assert "4ABC: internal error after the outcome was recorded" in caplog.text


def test_an_error_before_the_record_is_the_callers(monkeypatch):
    worker = context()
    monkeypatch.setattr(worker.journal, "append", lambda _record: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        worker.record(outcomes.outcome())


def test_messages_in_progress_are_counted_once_each():
    worker = context()
    one, other = object(), object()

    def in_progress():
        return worker.tally.row.words[place(f.IN_PROGRESS)]

    for session in (one, other, one):
        worker.began(session)
    assert in_progress() == 2
    for session in (one, one):
        worker.ended(session)
    assert in_progress() == 1
