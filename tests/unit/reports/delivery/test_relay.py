"""Pauses between tries, and a missing sendmail program. (Relays: wire/reports/delivery/test_relay.py.)"""

from dmarcmilter.reports.delivery.relay import DeliveryResult, Sendmail
from dmarcmilter.reports.delivery.retry_schedule import LONGEST_RETRY, retry_seconds
from tests.support.relays import sent


def test_no_sendmail(tmp_path):
    assert sent(Sendmail(str(tmp_path / "none"))) == (DeliveryResult.UNAVAILABLE, False)


def test_backoff():
    waits = [retry_seconds(n) for n in range(10)]
    assert waits == sorted(waits)
    assert waits[0] < waits[1]
    assert waits[-1] == LONGEST_RETRY == retry_seconds(10_000)
