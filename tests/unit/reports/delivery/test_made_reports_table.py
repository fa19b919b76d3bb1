"""The ledger: which reports were made, and their content."""

import pytest

from dmarcmilter.history.store import UnacceptableError
from dmarcmilter.reports.aggregate.withheld_reports import WithheldReports
from dmarcmilter.reports.delivery import made_reports_table as module
from dmarcmilter.reports.delivery.deliveries_table import Deliveries, ReportKind
from dmarcmilter.reports.delivery.made_reports_table import ReportLedger
from tests.support.planned_reports import DAY, NOW, aggregate, failure


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/history.db"


@pytest.fixture
def ledger(store):
    return ReportLedger(store)


def report_number(store):
    return store.query("SELECT max(id) AS id FROM reports")[0].id


def test_an_aggregate_report_is_kept_as_it_was_composed(ledger, store):
    planned = aggregate()
    ledger.add(planned, NOW)
    assert ledger.attachment(report_number(store)) == planned.attachment
    assert ledger.is_known(planned.attachment.report_id)
    assert not ledger.is_known("other")
    assert ledger.attachment(99) is None


def test_reports_are_counted_by_day_domain_and_organization(ledger):
    ledger.add(aggregate(), NOW)
    ledger.add(aggregate(supplement=1), NOW)
    ledger.add(aggregate("b.a.example", organization="a.example"), NOW)
    ledger.add_failure(failure(), NOW)
    assert ledger.count(DAY, "a.example") == 2
    assert ledger.counts_by_organization(DAY) == {"a.example": 3}
    assert ledger.domains(DAY) == {"a.example", "b.a.example"}
    assert ledger.domains(DAY.replace(day=1)) == set()


def test_sources_are_kept_however_many(ledger, store, monkeypatch):
    monkeypatch.setattr(module, "SOURCES_AT_ONCE", 2)
    ledger.add(aggregate(sources={(1, f"192.0.2.{n}"): n for n in range(1, 6)}), NOW)
    kept = store.query("SELECT ip, messages FROM report_sources ORDER BY ip")
    assert [(row.ip, row.messages) for row in kept] == [(f"192.0.2.{n}", n) for n in range(1, 6)]


@pytest.mark.parametrize("has_pass", [True, False])
def test_a_report_with_passing_mail_records_that_the_domain_authenticates(ledger, store, has_pass):
    ledger.add(aggregate(has_pass=has_pass), NOW)
    assert WithheldReports(store).passed_since("a.example", DAY) is has_pass


def test_a_report_is_recorded_whole_or_not_at_all(ledger, store):
    with pytest.raises(UnacceptableError):
        ledger.add(aggregate(sources={(1, "192.0.2.1"): 1, (2, "192.0.2.1"): None}), NOW)
    assert ledger.domains(DAY) == set()
    assert Deliveries(store).counts() == {}


def test_failure_reports_of_one_kind_and_day(ledger, store):
    ledger.add_failure(failure("f1"), NOW)
    ledger.add_failure(failure("f2"), NOW + 1)
    assert ledger.failures_since(NOW, NOW + 1) == [("a.example", "kind")]
    assert [line.id for line in ledger.failure_lines(10)] == ["f2", "f1"]
    assert ledger.failure_message_of("f1") == ledger.failure_message(report_number(store)) == failure().content
    assert ledger.failure_message_of("unknown") is None
    assert Deliveries(store).counts(ReportKind.FAILURE) == {"unverified": 2}
