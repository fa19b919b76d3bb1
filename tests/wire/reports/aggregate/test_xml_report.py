"""Aggregate reports are read by parsedmarc, which many Domain Owners use."""

import importlib.util
import json
import subprocess
import sys

import pytest

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.reports.aggregate.xml_report import to_xml
from tests.support.report_outcomes import outcome, passed, report

READ_BY_PARSEDMARC = """
import json, sys
from parsedmarc import parse_aggregate_report_xml
found = parse_aggregate_report_xml(sys.stdin.buffer.read(), offline=True, always_use_local_files=True)
print(json.dumps(found, default=str))
"""
LIST_TRACES = "List-Id present, not authenticated"
"""Comment of the override for the fields of a mailing list, as the filter records it."""


def read_by_parsedmarc(found, report_format):
    if importlib.util.find_spec("parsedmarc") is None:
        pytest.skip("parsedmarc is not installed: it did not read our reports")
    command = [sys.executable, "-c", READ_BY_PARSEDMARC]
    done = subprocess.run(command, check=False, input=to_xml(found, report_format), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("report_format", ReportFormat)
def test_parsedmarc_reads_it(report_format):
    softened = [{"type": "mailing_list", "comment": LIST_TRACES, "rfc7489": "mailing_list"}]
    found = report(
        passed(),
        passed(),
        outcome(disposition="quarantine", overrides=softened, client_ip="2001:db8::1"),
        outcome(mail_from_domain=None, spf={"domain": "", "result": "none"}),
    )
    read = read_by_parsedmarc(found, report_format)
    assert read["report_metadata"]["report_id"] == found.metadata.report_id
    assert read["report_metadata"]["org_name"] == "Example Receiver"
    assert read["policy_published"]["domain"] == "example.com"
    assert read["policy_published"]["p"] == "reject"
    by_ip = {record["source"]["ip_address"]: record for record in read["records"]}
    assert sum(record["count"] for record in read["records"]) == 4
    evaluated = by_ip["2001:db8::1"]["policy_evaluated"]
    assert evaluated["disposition"] == "quarantine"
    assert evaluated["policy_override_reasons"] == [{"type": "mailing_list", "comment": LIST_TRACES}]
    signed = next(record for record in read["records"] if record["count"] == 2)
    assert signed["auth_results"]["dkim"][0]["selector"] == "s1"
    assert signed["policy_evaluated"]["disposition"] == ("pass" if report_format is ReportFormat.RFC9990 else "none")
