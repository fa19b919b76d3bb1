"""Header fields of report messages: names of any kind, one Message-ID for each attempt."""

import email
import email.policy
from datetime import UTC, datetime
from email.message import Message

import pytest

from dmarcmilter.reports import mail_header
from dmarcmilter.reports.sender import Sender


def message(org_name="Example Receiver", subject="Report Domain: a.example", report_id="id1"):
    made = Message(policy=mail_header.POLICY)
    mail_header.add_header(made, Sender(org_name, "dmarc@mx.example"), subject, report_id)
    mail_header.add_address_and_date(made, "rua@a.example", datetime(2027, 1, 17, 3, 0, tzinfo=UTC))
    return made.as_bytes()


def test_all_fields():
    read = email.message_from_bytes(message(), policy=email.policy.default)
    assert (read["From"], read["To"]) == ("Example Receiver <dmarc@mx.example>", "rua@a.example")
    assert (read["Message-ID"], read["Auto-Submitted"]) == ("<id1@mx.example>", "auto-generated")
    assert read["Date"].datetime == datetime(2027, 1, 17, 3, 0, tzinfo=UTC)


def test_each_attempt_has_the_same_message_id_and_each_report_its_own():
    first, again, other = (email.message_from_bytes(message(report_id=name))["Message-ID"] for name in ("a", "a", "b"))
    assert first == again != other


@pytest.mark.parametrize(
    "name", ['Example, "Inc."', "M\u00fcller & S\u00f6hne, GmbH", "\u53d7\u4fe1\u8005", "a <b@c.example>", "x" * 300]
)
def test_a_name_of_any_kind_is_one_author(name):
    [address] = email.message_from_bytes(message(name), policy=email.policy.default)["From"].addresses
    assert (address.display_name, address.addr_spec) == (name, "dmarc@mx.example")


def test_line_ends_in_a_name_begin_no_field():
    read = email.message_from_bytes(message("Example\r\nBcc: x@y.example\n"), policy=email.policy.default)
    assert read["Bcc"] is None
    assert read["From"].addresses[0].display_name == "Example Bcc: x@y.example"


def test_lines_end_with_crlf_and_are_not_too_long():
    lines = message("x " * 300, "Report Domain: " + "a" * 250).split(b"\r\n")
    assert not any(b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998
