"""Reports to be recorded, for tests of the tables of reports."""

from datetime import date

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.reports.aggregate.grouping import period
from dmarcmilter.reports.aggregate.mail_message import Attachment
from dmarcmilter.reports.delivery.made_reports_table import PlannedFailureReport, PlannedReport

DAY = date(2027, 1, 16)
NOW = 1_800_154_800
"""2027-01-17 03:00 UTC."""


def aggregate(domain="a.example", *, uris=("mailto:dmarc@a.example",), supplement=0, organization="", **changes):
    """An aggregate report about one message of a policy domain."""
    begin, end = period(DAY)
    attachment = Attachment(
        report_id=f"{domain.replace('.', '')}{supplement}",
        domain=domain,
        begin=begin,
        end=end,
        report_format=ReportFormat.RFC9990,
        submitter="receiver.example",
        content=b"compressed",
        messages=1,
    )
    values = {
        "attachment": attachment,
        "organization": organization or domain,
        "day": DAY,
        "digest": domain,
        "supplement": supplement,
        "record": "v=DMARC1; p=none",
        "sources": {(1, "192.0.2.1"): 1},
        "uris": uris,
        "has_pass": True,
    }
    return PlannedReport(**values | changes)


def failure(report_id="f1", domain="a.example", *, kind="kind", uris=("mailto:ruf@a.example",)):
    """A failure report about two incidents."""
    return PlannedFailureReport(
        report_id=report_id,
        domain=domain,
        organization=domain,
        day=DAY,
        digest=kind,
        report_format=ReportFormat.RFC9990,
        submitter="receiver.example",
        incidents=2,
        record="v=DMARC1; p=reject",
        content=b"Subject: failure\r\n\r\n",
        uris=uris,
    )
