"""A report as a mail message (RFC 9990 3.5.2)."""

import base64
import gzip
import io
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime, formataddr

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.reports.aggregate.xml_report import Report, pieces
from dmarcmilter.reports.sender import Sender

CRLF = "\r\n"
BASE64_LINE = 76
GZIP_LEVEL = 6
MIN_ROWS = 1
ENCODED_SHARE = 0.73
"""Of an attachment's octets in base64 with its line ends, those before (RFC 2045 6.8)."""
AROUND = 4096
"""Octets of a message beside the attachment: header, signature, the words for people."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A composed report, ready for any number of addresses."""

    report_id: str
    domain: str
    """The policy domain."""
    begin: int
    end: int
    shape: ReportFormat
    submitter: str
    """The domain name of the Mail Receiver, in Subject and file name; kept, so that each try has the same name."""
    content: bytes
    """The XML, compressed."""
    messages: int
    """How many it counts."""

    @property
    def file_name(self) -> str:
        """RFC 9990 3.5.2."""
        return f"{self.submitter}!{self.domain}!{self.begin}!{self.end}!{self.report_id}.xml.gz"


def report_id_text(report_id: str, submitter: str, shape: ReportFormat) -> str:
    """As Subject and XML have it. RFC 7489 7.2.1.1 wants the form of a Message-ID, RFC 9990 3.5.1 does not."""
    return report_id if shape is ReportFormat.RFC9990 else f"{report_id}@{submitter}"


def compressed(report: Report, shape: ReportFormat) -> bytes:
    """The same octets for the same report: no time of compression in it."""
    whole = io.BytesIO()
    with gzip.GzipFile(fileobj=whole, mode="wb", compresslevel=GZIP_LEVEL, mtime=0) as stream:
        for piece in pieces(report, shape):
            stream.write(piece)
    return whole.getvalue()


def compressed_within(report: Report, shape: ReportFormat, max_message: int) -> bytes:
    """So that the message has at most so many octets: the rows with most messages stay, the rest is told in a note."""
    content = compressed(report, shape)
    total = sum(row.count for row in report.rows)
    notes, rows = report.metadata.errors, report.rows
    while len(content) > (max_message - AROUND) * ENCODED_SHARE and len(rows) > MIN_ROWS:
        kept = set(sorted(rows, key=lambda row: -row.count)[: max(MIN_ROWS, len(rows) // 2)])
        rows = tuple(row for row in rows if row in kept)
        note = f"the report was cut to its size limit; {total - sum(row.count for row in rows)} messages are not listed"
        shorter = replace(report, rows=rows, metadata=replace(report.metadata, errors=(note, *notes)))
        content = compressed(shorter, shape)
    return content


def compose(attachment: Attachment, sender: Sender, address: str, now: datetime) -> bytes:
    """The whole message with CRLF line ends, ASCII only, not yet signed."""
    boundary = f"=_{attachment.report_id}"
    rid = report_id_text(attachment.report_id, attachment.submitter, attachment.shape)
    rid = rid if attachment.shape is ReportFormat.RFC9990 else f"<{rid}>"
    header = [
        f"From: {formataddr((sender.org_name, sender.email))}",
        f"To: {address}",
        # Folded where the grammar of dmarc-subject has FWS.
        f"Subject: Report Domain: {attachment.domain}",
        f" Submitter: {attachment.submitter}",
        f" Report-ID: {rid}",
        f"Date: {format_datetime(now)}",
        # The same for each try, so that a second copy is known as one (RFC 9990 3.5.2).
        f"Message-ID: <{attachment.report_id}@{sender.email.rpartition('@')[2]}>",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/mixed; boundary="{boundary}"',
    ]
    name = attachment.file_name
    body = [
        "",
        f"--{boundary}",
        "Content-Type: text/plain; charset=us-ascii",
        "Content-Transfer-Encoding: 7bit",
        "",
        *_words(attachment),
        "",
        f"--{boundary}",
        f'Content-Type: application/gzip;{CRLF} name="{name}"',
        "Content-Transfer-Encoding: base64",
        f'Content-Disposition: attachment;{CRLF} filename="{name}"',
        "",
        *_base64(attachment.content),
        f"--{boundary}--",
        "",
    ]
    return CRLF.join(header + body).encode("ascii")


def _words(attachment: Attachment) -> list[str]:
    """For a person who opens it."""
    return [
        f"This is a DMARC aggregate report for {attachment.domain}",
        f"by {attachment.submitter}, about {attachment.messages} messages",
        f"of the day that began at {attachment.begin} seconds since 1970 (UTC).",
        "",
        f"It was sent because the DMARC record of {attachment.domain} asks for it with its rua tag.",
    ]


def _base64(content: bytes) -> list[str]:
    text = base64.b64encode(content).decode("ascii")
    return [text[start : start + BASE64_LINE] for start in range(0, len(text), BASE64_LINE)]
