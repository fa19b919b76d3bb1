"""A report handed to a relay."""

from dmarcmilter.reports.delivery.relay import Mail

MAIL = Mail("bounces+1@receiver.example", "rua@rcpt.example", b"From: a@receiver.example\r\n\r\nx\r\n.dot\r\n")


def sent(transport, mail=MAIL):
    """The result, and whether the message was handed over."""
    commits = []
    attempt = transport.send(mail, lambda: commits.append(1))
    transport.close()
    return attempt.result, bool(commits)
