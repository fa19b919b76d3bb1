"""The send queue: the order of deliveries, and the limits of reports."""

from types import SimpleNamespace

import pytest

from dmarcmilter.config.schema import FailureReportsSection, ReportsSection
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.reports.delivery.deliveries_table import DAY_SECONDS, Deliveries, DeliveryState, ReportKind
from dmarcmilter.reports.delivery.made_reports_table import ReportLedger
from dmarcmilter.reports.delivery.send_queue import HOUR_SECONDS, Limits, SendQueue, limits_of
from dmarcmilter.value import replace
from tests.support.planned_reports import NOW, aggregate

SETTINGS = ReportsSection(
    enabled=True,
    email="dmarc@receiver.example",
    max_per_hour=3,
    max_per_domain=2,
    failure=FailureReportsSection(max_per_hour=30, max_per_domain=20),
)
SUFFIXES = Suffixes.of_text("com\nexample\n")


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/history.db"


@pytest.fixture
def deliveries(store):
    """Three reports about a.example and one about b.example, their destinations not yet verified."""
    ledger = ReportLedger(store)
    for number in range(3):
        ledger.add(aggregate(f"n{number}.a.example", organization="a.example"), NOW)
    ledger.add(aggregate("b.example", uris=("mailto:dmarc@b.example",)), NOW)
    return Deliveries(store)


def queue(deliveries, **settings):
    return SendQueue(ReportKind.AGGREGATE, deliveries, replace(SETTINGS, **settings), SUFFIXES, NOW)


def verify_all(deliveries):
    for waiting in deliveries.due(ReportKind.AGGREGATE, NOW, 10):
        delivery = deliveries.get(waiting.id)
        deliveries.replace_by_addresses(delivery, [delivery.uri.removeprefix("mailto:")], NOW)


def drained(waiting):
    return [waiting.next_ready() for _ in range(waiting.ready)]


def verifier(*turns, is_over=False):
    return SimpleNamespace(turns=list(turns), waiting=len(turns), is_over=is_over)


def test_the_limits_of_each_kind():
    assert limits_of(SETTINGS, ReportKind.AGGREGATE) == Limits(3, 2, DAY_SECONDS)
    assert limits_of(SETTINGS, ReportKind.FAILURE) == Limits(30, 20, HOUR_SECONDS)


def test_organizations_take_turns(deliveries):
    verify_all(deliveries)
    waiting = queue(deliveries)
    organizations = [deliveries.get(identifier).organization for _, _, identifier in drained(waiting)]
    assert sorted(organizations[:2]) == ["a.example", "b.example"]
    assert organizations[2:] == ["a.example", "a.example"]
    assert waiting.is_empty


def test_an_organization_that_got_a_report_has_a_later_turn(deliveries):
    verify_all(deliveries)
    first = deliveries.get(queue(deliveries).next_ready()[2])
    deliveries.set_state(first, DeliveryState.SENT, NOW)
    waiting = queue(deliveries)
    assert waiting.left == 2
    following = deliveries.get(waiting.next_ready()[2])
    assert following.organization != first.organization


def test_unverified_deliveries_are_not_ready(deliveries):
    waiting = queue(deliveries)
    assert (waiting.unverified, waiting.ready) == (4, 0)
    turn = waiting.next_unverified()
    waiting.add_ready(turn)
    assert (waiting.unverified, waiting.ready) == (3, 1)


def test_no_delivery_is_sent_before_those_of_an_earlier_turn_are_verified(deliveries):
    verify_all(deliveries)
    waiting = queue(deliveries)
    assert waiting.may_send(verifier())
    assert waiting.may_send(verifier((5, 0, 1)))
    waiting.next_ready()
    waiting.next_ready()
    assert not waiting.may_send(verifier((0, 0, 1)))
    assert waiting.may_send(verifier((0, 0, 1), is_over=True))


def test_the_limit_of_an_organization_counts_its_hosts_together(deliveries):
    waiting = queue(deliveries)
    organization = waiting.organization_of_host("mx.a.example")
    assert organization == "a.example"
    waiting.count(organization)
    assert not waiting.is_full(organization)
    waiting.count(organization)
    assert waiting.is_full(organization)
    assert waiting.left == 1


def test_why_something_is_left(deliveries):
    waiting = queue(deliveries)
    assert waiting.left_over(verifier()) == "4 destinations were not verified in time and wait for the next run"
    waiting.left = 0
    assert waiting.left_over(verifier()) == "3 aggregate reports were sent within the hour, the rest waits"
    verify_all(deliveries)
    assert queue(deliveries).left_over(verifier()) == "the time of a run is over, the rest waits"
    empty = queue(deliveries)
    drained(empty)
    assert empty.left_over(verifier()) == ""
