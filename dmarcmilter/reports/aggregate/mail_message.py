"""An aggregate report as a mail message (RFC 9990 3.5.2)."""

import gzip
import io
from datetime import datetime
from email.message import Message
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.reports.aggregate.xml_report import Report, pieces
from dmarcmilter.reports.mail_header import POLICY, add_address_and_date, add_header
from dmarcmilter.reports.sender import Sender
from dmarcmilter.value import Value, replace

GZIP_LEVEL = 6
MIN_ROWS = 1
"""Rows that stay in a report even if it is larger than its limit."""
ENCODED_SHARE = 0.73
"""Bytes of an attachment for each byte of its base64 form with line ends (RFC 2045 6.8)."""
AROUND_BYTES = 4096
"""Bytes of a message beside the attachment, at most: header, signature, text."""


class Attachment(Value):
    """A composed report, the same for all its addresses."""

    report_id: str
    domain: str
    """The policy domain."""
    begin: int
    """First second of the period, since 1970."""
    end: int
    """Last second of the period, since 1970."""
    report_format: ReportFormat
    submitter: str
    """The domain name of the Mail Receiver, in Subject and file name. Stored, so that each attempt has the same."""
    content: bytes
    """The XML, compressed."""
    messages: int
    """Messages that the report counts."""

    @property
    def file_name(self) -> str:
        """Name of the attachment (RFC 9990 3.5.2)."""
        return f"{self.submitter}!{self.domain}!{self.begin}!{self.end}!{self.report_id}.xml.gz"


def report_id_text(report_id: str, submitter: str, report_format: ReportFormat) -> str:
    """The id in Subject and XML. RFC 7489 7.2.1.1 requires the form of a Message-ID, RFC 9990 3.5.1 does not."""
    return report_id if report_format is ReportFormat.RFC9990 else f"{report_id}@{submitter}"


def compressed(report: Report, report_format: ReportFormat) -> bytes:
    """The XML, compressed. It holds no time of compression, so the same report gives the same bytes."""
    compressed_xml = io.BytesIO()
    with gzip.GzipFile(fileobj=compressed_xml, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as stream:
        for piece in pieces(report, report_format):
            stream.write(piece)
    return compressed_xml.getvalue()


def compressed_within(report: Report, report_format: ReportFormat, max_message: int) -> bytes:
    """The XML, compressed, for a message of at most `max_message` bytes. If it would be larger, only the rows with most
    messages are kept, and a note counts the messages of the others.
    """
    content = compressed(report, report_format)
    total = sum(row.count for row in report.rows)
    notes, rows = report.metadata.errors, report.rows
    while len(content) > (max_message - AROUND_BYTES) * ENCODED_SHARE and len(rows) > MIN_ROWS:
        kept = set(sorted(rows, key=lambda row: -row.count)[: max(MIN_ROWS, len(rows) // 2)])
        rows = tuple(row for row in rows if row in kept)
        note = f"the report was cut to its size limit; {total - sum(row.count for row in rows)} messages are not listed"
        shorter = replace(report, rows=rows, metadata=replace(report.metadata, errors=(note, *notes)))
        content = compressed(shorter, report_format)
    return content


def compose(attachment: Attachment, sender: Sender, address: str, date: datetime) -> bytes:
    """The message to one address, with CRLF line ends, ASCII only, not yet signed."""
    report_id = report_id_text(attachment.report_id, attachment.submitter, attachment.report_format)
    if attachment.report_format is ReportFormat.RFC7489:
        report_id = f"<{report_id}>"
    message = MIMEMultipart("mixed", f"=_{attachment.report_id}", policy=POLICY)
    subject = f"Report Domain: {attachment.domain} Submitter: {attachment.submitter} Report-ID: {report_id}"
    add_header(message, sender, subject, attachment.report_id)
    add_address_and_date(message, address, date)
    message.attach(MIMEText(_text(attachment), "plain", "us-ascii", policy=POLICY))
    message.attach(_part(attachment))
    return message.as_bytes()


def _part(attachment: Attachment) -> Message:
    name = attachment.file_name
    part = MIMEApplication(attachment.content, "gzip", name=name, policy=POLICY)
    part.add_header("Content-Disposition", "attachment", filename=name)
    return part


def _text(attachment: Attachment) -> str:
    """The text for a person who opens the message."""
    return (
        f"This is a DMARC aggregate report for {attachment.domain}\n"
        f"by {attachment.submitter}, about {attachment.messages} messages\n"
        f"of the day that began at {attachment.begin} seconds since 1970 (UTC).\n"
        f"\n"
        f"It was sent because the DMARC record of {attachment.domain} asks for it with its rua tag.\n"
    )
