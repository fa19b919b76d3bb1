"""Reports as mail: the names and fields that RFC 9990 demands."""

import email
import email.policy
import gzip
import re
from datetime import UTC, datetime

from dmarcmilter.config.schema import ReportFormat, ReportsSection
from dmarcmilter.reports.aggregate.mail_message import Attachment, compose, compressed, compressed_within
from dmarcmilter.reports.aggregate.xml_report import to_xml
from dmarcmilter.reports.sender import Sender
from tests.support.report_outcomes import BEGIN, END, outcome, report

NOW = datetime(2027, 1, 17, 1, 2, 3, tzinfo=UTC)
SENDER = Sender("Example Receiver", "dmarc@receiver.example")
ID = "0123456789abcdef0123456789abcdef"
FOUND = report(outcome())


def attachment(report_format=ReportFormat.RFC9990, content=None, domain="example.com"):
    content = content or compressed(FOUND, report_format)
    return Attachment(ID, domain, BEGIN, END, report_format, "mx.receiver.example", content, 1)


def parsed(message):
    return email.message_from_bytes(message, policy=email.policy.default)


def test_message():
    # AGG-20, AGG-21, AGG-22, AGG-13
    message = parsed(compose(attachment(), SENDER, "rua@example.com", NOW))
    assert message["subject"] == f"Report Domain: example.com Submitter: mx.receiver.example Report-ID: {ID}"
    assert message["from"] == "Example Receiver <dmarc@receiver.example>"
    assert message["to"] == "rua@example.com"
    assert message["auto-submitted"] == "auto-generated"
    assert message["message-id"] == f"<{ID}@receiver.example>"
    text, part = message.iter_parts()
    assert text.get_content_type() == "text/plain"
    assert part.get_content_type() == "application/gzip"
    assert part.get_content_disposition() == "attachment"
    assert part.get_filename() == f"mx.receiver.example!example.com!{BEGIN}!{END}!{ID}.xml.gz"
    assert gzip.decompress(part.get_content()) == to_xml(FOUND, ReportFormat.RFC9990)


def test_older_shape_has_a_report_id_like_a_message_id():
    message = parsed(compose(attachment(ReportFormat.RFC7489), SENDER, "rua@example.com", NOW))
    assert message["subject"].endswith(f"Report-ID: <{ID}@mx.receiver.example>")


def test_lines_are_short_ascii_and_end_in_crlf():
    whole = compose(
        attachment(domain="a" * 60 + "." + "b" * 60 + ".example"),
        Sender("Größe, \r\nBcc: x@example.org", "dmarc@receiver.example"),
        "rua@example.com",
        NOW,
    )
    assert whole.isascii()
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", whole)
    assert max(map(len, whole.split(b"\r\n"))) < 998
    assert parsed(whole)["bcc"] is None


def test_the_name_of_our_organization_stays_one_name():
    for name in ("Größe, Inc.", "Example, Inc.", "A\r\nBcc: x@example.org", 'The "Best"'):
        message = parsed(compose(attachment(), Sender(name, "dmarc@receiver.example"), "rua@example.com", NOW))
        (address,) = message["from"].addresses
        assert (address.display_name, address.addr_spec) == (" ".join(name.split()), "dmarc@receiver.example")
        assert message["bcc"] is None


def test_compression_is_repeatable():
    assert compressed(FOUND, ReportFormat.RFC9990) == compressed(FOUND, ReportFormat.RFC9990)


def test_a_report_is_cut_to_its_limit():
    # AGG-23
    """The sources with most messages stay, and the rest is told."""
    assert ReportsSection().max_message_bytes >= 10_000_000
    many = [outcome(client_ip=f"192.0.{n // 250}.{n % 250}") for n in range(2000)]
    whole = report(*many, *[outcome(client_ip="198.51.100.1")] * 50)
    limit = 15_000
    content = compressed_within(whole, ReportFormat.RFC9990, limit)
    assert len(compose(attachment(content=content), SENDER, "rua@example.com", NOW)) < limit
    xml = gzip.decompress(content).decode()
    assert "<source_ip>198.51.100.1</source_ip>" in xml
    told = int(re.search(r"size limit; (\d+) messages", xml)[1])
    listed = sum(map(int, re.findall(r"<count>(\d+)</count>", xml)))
    assert told + listed == 2050
