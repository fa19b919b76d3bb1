"""The XML of aggregate reports: held against the RFCs' own schemas, and read by a parser that many owners use."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.reports.aggregate.grouping import is_reportable
from dmarcmilter.reports.aggregate.xml_report import MAX_DKIM, MAX_TEXT, NAMESPACE, clean, pieces, to_xml
from tests.support.cases import case_table
from tests.support.paths import SHARED
from tests.support.report_outcomes import BEGIN, END, outcome, passed, report

CASES = case_table("aggregate")
RFC = SHARED / "rfc"
FILES = {ReportFormat.RFC9990: "rfc9990-dmarc-2.0.xsd", ReportFormat.RFC7489: "rfc7489-appendixC-nons.xsd"}


def parsed(found, report_format):
    """Its elements without their namespace, which is that of the report_format for each of them."""
    root = ET.fromstring(to_xml(found, report_format))
    prefix = f"{{{NAMESPACE}}}" if report_format is ReportFormat.RFC9990 else ""
    for element in root.iter():
        assert element.tag.startswith(prefix)
        element.tag = element.tag.removeprefix(prefix)
    return root


def schema_of(report_format):
    """The RFC's schema by lxml; without it, or without the text of the RFC, the test is skipped."""
    etree = pytest.importorskip("lxml.etree", reason="lxml is not installed: reports were not validated")
    path = RFC / FILES[report_format]
    if not path.is_file():
        pytest.skip(f"../shared/rfc/{path.name} is missing: reports were not validated against it")
    text = path.read_text(encoding="utf-8")
    if report_format is ReportFormat.RFC7489:
        # As printed, the line breaks are part of its pattern for addresses, and no address matches.
        text, found = re.subn(r'<xs:pattern\s+value="\(\(1[^"]*"/>', '<xs:pattern value="[0-9A-Fa-f.:]+"/>', text)
        assert found == 1
    return etree, etree.XMLSchema(etree.fromstring(text.encode("ascii")))


def valid(found, report_format):
    etree, schema = schema_of(report_format)
    schema.assertValid(etree.fromstring(to_xml(found, report_format)))


def by_name(table):
    return pytest.mark.parametrize("case", CASES[table], ids=[case["name"] for case in CASES[table]])


@pytest.mark.parametrize("report_format", ReportFormat)
@by_name("report")
def test_an_outcome_in_a_report(case, report_format):
    # AGG-39
    root = parsed(report(outcome(**case.get("outcome", {}))), report_format)
    for path, expected in case.get(report_format, {}).items():
        assert [element.text or "" if not len(element) else "..." for element in root.findall(path)] == expected, path


@pytest.mark.parametrize("report_format", ReportFormat)
@by_name("report")
def test_each_report_is_valid(case, report_format):
    # AGG-30
    valid(report(outcome(**case.get("outcome", {}))), report_format)


@by_name("silent")
def test_what_is_not_reported(case):
    assert not is_reportable(outcome(**case["outcome"]))


@by_name("heard")
def test_what_is_reported(case):
    assert is_reportable(outcome(**case["outcome"]))


@pytest.mark.parametrize("report_format", ReportFormat)
def test_head_of_a_report(report_format):
    root = parsed(report(outcome(), passed()), report_format)
    order = ["version", "report_metadata", "policy_published", "record", "record"]
    assert [child.tag for child in root] == order
    assert root.findtext("version") == "1.0"
    assert root.findtext("report_metadata/org_name") == "Example Receiver"
    assert root.findtext("report_metadata/date_range/begin") == str(BEGIN)
    assert root.findtext("report_metadata/date_range/end") == str(END)
    assert root.findtext("report_metadata/generator") == (
        "dmarcmilter 1" if report_format is ReportFormat.RFC9990 else None
    )
    valid(report(outcome(), passed()), report_format)


@pytest.mark.parametrize("report_format", ReportFormat)
def test_where_a_message_was_put_is_not_told(report_format):
    # AGG-40
    quarantined = {"disposition": "quarantine", "action": "accept"}
    placed = [to_xml(report(outcome(**quarantined, set_apart=way)), report_format) for way in ("hold", "header", None)]
    assert len(set(placed)) == 1
    assert b"extension" not in placed[0]


@pytest.mark.parametrize("report_format", ReportFormat)
def test_same_report_same_bytes(report_format):
    found = report(outcome(), passed())
    assert to_xml(found, report_format) == to_xml(found, report_format) == b"".join(pieces(found, report_format))


def test_dkim_results_are_limited():
    """RFC 9990 3.1.3; the passing ones stay."""
    failing = [{"result": "fail", "domain": "example.com", "selector": f"s{n}"} for n in range(200)]
    good = {"result": "pass", "domain": "example.com", "selector": "good"}
    root = parsed(report(passed(dkim=[*failing, good])), ReportFormat.RFC9990)
    selectors = [element.text for element in root.findall("record/auth_results/dkim/selector")]
    assert len(selectors) == MAX_DKIM
    assert selectors[0] == "good"


def test_rows_that_are_alike_are_written_alike():
    """What is kept of one row for the next never shows in it."""
    kinds = [outcome(), passed(), outcome(spf={"domain": "a&b.example"}), passed(mail_from_domain=None)]
    many = [replace(found, client_ip=f"192.0.2.{n}") for n in range(5) for found in kinds for _ in range(n + 1)]
    for report_format in ReportFormat:
        root = parsed(report(*many), report_format)
        alone = [parsed(report(found), report_format).find("record") for found in many]
        told = {ET.tostring(record).strip() for record in root.iter("record")}
        for record in alone:
            address = record.findtext("row/source_ip")
            record.find("row/count").text = str(int(address.rpartition(".")[2]) + 1)
        assert told == {ET.tostring(record).strip() for record in alone}


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_any_text_is_made_safe(text):
    made = clean(text)
    assert len(made) <= MAX_TEXT
    element = ET.Element("a")
    element.text = made
    assert ET.fromstring(ET.tostring(element)).text == (made or None)


@given(st.text(max_size=50), st.text(max_size=50), st.text(max_size=50))
@settings(max_examples=50, deadline=None)
def test_hostile_text_never_makes_an_invalid_report(selector, reason, domain):
    found = report(
        outcome(
            dkim=[{"result": "fail", "domain": domain, "selector": selector, "reason": reason}],
            mail_from_domain=domain,
            policy={"record": f"v=DMARC1; p=reject; {reason}={selector}", "notes": [reason]},
            overrides=[{"type": "other", "comment": reason, "rfc7489": "other"}],
        ),
        org_name=selector,
    )
    for report_format in ReportFormat:
        valid(found, report_format)
