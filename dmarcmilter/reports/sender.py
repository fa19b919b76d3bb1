"""The sender of reports: its organization, its address, and the Mail Receiver's domain name."""

from dmarcmilter.config.schema import ReportsSection
from dmarcmilter.value import Value


class Sender(Value):
    """The author of a report message."""

    org_name: str
    email: str


def sender_of(settings: ReportsSection) -> Sender:
    """The sender of all report messages under this configuration."""
    return Sender(settings.org_name or submitter_of(settings), settings.email)


def submitter_of(settings: ReportsSection) -> str:
    """The domain name of the Mail Receiver, for Subject and file name of a report (RFC 9990 3.5.2)."""
    return settings.submitter or settings.email.rpartition("@")[2]
