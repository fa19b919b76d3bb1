"""Deliveries: their states, when they are due, and which bounces count."""

import pytest

from dmarcmilter.reports.delivery.deliveries_table import (
    BOUNCE_WITHIN_SECONDS,
    DAY_SECONDS,
    HORIZON_SECONDS,
    Deliveries,
    DeliveryState,
    ReportKind,
)
from dmarcmilter.reports.delivery.made_reports_table import ReportLedger
from tests.support.planned_reports import NOW, aggregate

AGGREGATE = ReportKind.AGGREGATE


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/history.db"


@pytest.fixture
def deliveries(store):
    """The deliveries of one report with two destinations."""
    ReportLedger(store).add(aggregate(uris=("mailto:one@a.example", "mailto:two@a.example")), NOW)
    return Deliveries(store)


def due(deliveries, now=NOW, places=10):
    return [delivery.id for delivery in deliveries.due(AGGREGATE, now, places)]


def verified(deliveries, address="one@a.example"):
    """The first delivery, after its destination was verified."""
    first = deliveries.get(due(deliveries)[0])
    (identifier,) = deliveries.replace_by_addresses(first, [address], NOW)
    return deliveries.get(identifier)


def test_new_deliveries_are_unverified_and_due(deliveries):
    first, second = deliveries.due(AGGREGATE, NOW, 10)
    assert first.state is second.state is DeliveryState.UNVERIFIED
    assert deliveries.due(ReportKind.FAILURE, NOW, 10) == []
    assert due(deliveries, places=1) == [first.id]


def test_a_verified_uri_becomes_one_delivery_for_each_new_address(deliveries):
    first, second = map(deliveries.get, due(deliveries))
    assert len(deliveries.replace_by_addresses(first, ["x@a.example", "y@a.example"], NOW)) == 2
    assert deliveries.replace_by_addresses(second, ["x@a.example"], NOW) == []
    assert deliveries.get(first.id) is None
    assert deliveries.counts(AGGREGATE) == {"pending": 2}


def test_a_postponed_delivery_waits_and_ranks_lower(deliveries):
    delivery = verified(deliveries)
    deliveries.postpone(delivery, DeliveryState.PENDING, NOW + 600, NOW, "busy")
    assert delivery.id not in due(deliveries)
    ranks = {waiting.id: waiting.rank for waiting in deliveries.due(AGGREGATE, NOW + 600, 10)}
    assert ranks[delivery.id] == 2 + min(ranks.values())
    assert deliveries.failed_attempts_since(AGGREGATE, NOW - 1, NOW) == {"a.example": 1}


def test_waiting_counts_no_attempt_and_ends_by_address(deliveries):
    delivery = verified(deliveries)
    deliveries.wait(delivery, NOW + 600, NOW, "suppressed")
    assert delivery.id not in due(deliveries)
    assert deliveries.end_waiting("one@a.example", NOW) == 1
    assert delivery.id in due(deliveries)
    assert deliveries.get(delivery.id).attempts == 0


def test_a_due_time_of_a_wrong_clock_holds_nothing_up(deliveries):
    delivery = verified(deliveries)
    deliveries.wait(delivery, NOW + HORIZON_SECONDS + 1, NOW, "")
    assert delivery.id in due(deliveries)


def test_policy_domains_reported_about_for_a_day_come_before_new_ones(deliveries, store):
    ReportLedger(store).add(aggregate("new.example", uris=("mailto:x@new.example",)), NOW + DAY_SECONDS)
    ranks = {waiting.organization: waiting.rank for waiting in deliveries.due(AGGREGATE, NOW + DAY_SECONDS + 1, 10)}
    assert ranks == {"a.example": 0, "new.example": 1}


def test_an_interrupted_delivery_is_uncertain_and_sent_again_only_on_request(deliveries):
    delivery = verified(deliveries)
    deliveries.set_state(delivery, DeliveryState.SENDING, NOW)
    assert deliveries.is_sending(delivery)
    assert deliveries.mark_interrupted(NOW) == 1
    assert delivery.id not in due(deliveries)
    assert deliveries.resend_uncertain(NOW) == 1
    assert delivery.id in due(deliveries)


def test_deliveries_of_old_reports_are_given_up(deliveries):
    assert deliveries.give_up(NOW, NOW) == 0
    assert deliveries.give_up(NOW + 1, NOW) == 2
    assert deliveries.counts(AGGREGATE) == {"failed": 2}
    assert {problem.target for problem in deliveries.problems()} == {"mailto:one@a.example", "mailto:two@a.example"}


def test_what_was_sent_is_counted_by_organization_and_host(deliveries):
    delivery = verified(deliveries, "x@vendor.example")
    deliveries.set_state(delivery, DeliveryState.SENT, NOW)
    assert deliveries.sent_since(AGGREGATE, NOW - 1, NOW) == [("a.example", "vendor.example", 1)]
    assert deliveries.sent_since(AGGREGATE, NOW, NOW + 1) == []


@pytest.mark.parametrize(
    ("state", "age", "counts"),
    [
        (DeliveryState.SENT, 60, True),
        (DeliveryState.UNCERTAIN, 60, True),
        (DeliveryState.PENDING, 60, False),
        (DeliveryState.SENT, BOUNCE_WITHIN_SECONDS + 1, False),
    ],
)
def test_which_bounces_count(deliveries, state, age, counts):
    delivery = verified(deliveries)
    deliveries.set_state(delivery, state, NOW)
    bounced, is_counted = deliveries.mark_bounced(delivery.token, NOW + age)
    assert (bounced.id, is_counted) == (delivery.id, counts)
    assert deliveries.mark_bounced(delivery.token, NOW + age)[1] is False, "a second bounce"


def test_a_bounce_with_an_unknown_token(deliveries):
    assert deliveries.mark_bounced("unknown", NOW) == (None, False)
