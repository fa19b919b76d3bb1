"""Header fields that aggregate and failure reports share, and how the `email` package writes them."""

from datetime import datetime
from email.message import Message
from email.policy import compat32
from email.utils import format_datetime, formataddr

from dmarcmilter.reports.sender import Sender

POLICY = compat32.clone(linesep="\r\n")
"""Writes header values as they are, folded at spaces. The newer policies parse every value and write it again: with
Python 3.11 a non-ASCII display name loses its quoting that way, and a message takes nine times as long.
"""


def add_header(message: Message, sender: Sender, subject: str, report_id: str) -> None:
    """Add the fields that are the same for all addresses of a report."""
    name = " ".join(sender.org_name.split())
    message["From"] = formataddr((name, sender.email))
    message["Subject"] = subject
    # The same for each attempt, so that receivers recognize a second copy (RFC 9990 3.5.2).
    message["Message-ID"] = f"<{report_id}@{sender.email.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"


def add_address_and_date(message: Message, address: str, date: datetime) -> None:
    message["To"] = address
    message["Date"] = format_datetime(date)
