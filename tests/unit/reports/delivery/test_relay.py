"""Pauses between tries, and a missing sendmail program. (Relays: wire/reports/test_relay.py.)"""

from dmarcmilter.reports.delivery.relay import DeliveryResult, Mail, Sendmail
from dmarcmilter.reports.delivery.retry_schedule import LONGEST_RETRY, retry_seconds

MAIL = Mail("bounces+1@receiver.example", "rua@rcpt.example", b"From: a@receiver.example\r\n\r\nx\r\n.dot\r\n")


def sent(transport, mail=MAIL):
    """The result, and whether the message was handed over."""
    commits = []
    attempt = transport.send(mail, lambda: commits.append(1))
    transport.close()
    return attempt.result, bool(commits)


def test_no_sendmail(tmp_path):
    assert sent(Sendmail(str(tmp_path / "none"))) == (DeliveryResult.UNAVAILABLE, False)


def test_backoff():
    waits = [retry_seconds(n) for n in range(10)]
    assert waits == sorted(waits)
    assert waits[0] < waits[1]
    assert waits[-1] == LONGEST_RETRY == retry_seconds(10_000)
