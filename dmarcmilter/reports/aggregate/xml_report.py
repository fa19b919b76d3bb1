"""An aggregate report as XML, in the format of RFC 9990 (appendix A) or of RFC 7489 (appendix C). Pure.

The same report always gives the same bytes, so a report composed again after a crash equals the first one.
"""

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from dmarcmilter.auth.results import DkimWord, SpfScope, SpfWord
from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.record import AlignmentMode, Disposition
from dmarcmilter.policy.rules import ReasonType
from dmarcmilter.value import Value

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
VERSION = "1.0"
"""Version of the format: 1.0 in both RFCs, although the namespace says 2.0 (RFC 9990 3.1.1.2)."""
MAX_TEXT = 1024
"""Characters of one value; the rest is cut off. Domain names have at most 253, our own sentences fewer than this."""
MAX_ERROR = 4096
"""Characters of the error element; the rest is cut off. It "should not contain an extremely large body" (RFC 9990
3.1.5).
"""
MAX_DKIM = 100
"""DKIM results of one record, at most (RFC 9990 3.1.3). Further ones are left out."""

MAX_CACHED_BYTES = 4_000_000
"""Bytes of records kept as XML, so that rows which differ only in source and count are rendered once. A full cache is
emptied.
"""
_BEFORE_SOURCE = b"  <record>\n    <row>\n      <source_ip>"
_AFTER_COUNT = b"</count>"

# Characters that XML 1.0 cannot hold, not even as a character reference (XML 1.0, 2.2), and control characters.
_UNPRINTABLE = re.compile("[^\u0020-\u007e\u00a0-\u2027\u202f-\ud7ff\ue000-\ufffd\U00010000-\U0010fffd]")


class ReportedDisposition(StrEnum):
    """ActionDispositionType (RFC 9990 appendix A)."""

    NONE = "none"
    PASS = "pass"
    """DMARC passed, and the policy would have asked for quarantine or reject otherwise."""
    QUARANTINE = "quarantine"
    REJECT = "reject"


class AlignmentResult(StrEnum):
    """DMARCResultType: whether a mechanism gave an aligned pass."""

    PASS = "pass"
    FAIL = "fail"


class ReportMetadata(Value):
    """The element report_metadata."""

    org_name: str
    email: str
    extra_contact_info: str
    report_id: str
    begin: int
    """First second of the period, since 1970."""
    end: int
    """Last second of the period, since 1970."""
    errors: tuple[str, ...] = ()
    generator: str = ""


class PolicyPublished(Value):
    """The element policy_published."""

    domain: str
    """The DMARC Policy Domain, which has the policy record."""
    discovery: Method
    p: Disposition
    sp: Disposition | None
    np: Disposition | None
    adkim: AlignmentMode
    aspf: AlignmentMode
    fo: str
    t: bool | None
    pct: int | None


class DkimAuth(Value):
    """The result of one DKIM signature in auth_results."""

    domain: str
    selector: str
    result: DkimWord
    human_result: str = ""


class SpfAuth(Value):
    """The SPF result in auth_results."""

    domain: str
    scope: SpfScope
    result: SpfWord
    human_result: str = ""


class PolicyOverrideReason(Value):
    """Why the disposition is not the published policy's (RFC 9990 3.1.6)."""

    type: ReasonType
    comment: str = ""
    type_rfc7489: str = ""
    """The type in reports of the older format, when it is another word (RFC 7489 appendix C)."""


class ReportRow(Value):
    """One record of the report: all messages that have these values in common."""

    source_ip: str
    count: int
    disposition: ReportedDisposition
    dkim: AlignmentResult
    spf: AlignmentResult
    reasons: tuple[PolicyOverrideReason, ...]
    header_from: str
    envelope_from: str
    """Empty for the null reverse-path."""
    dkim_results: tuple[DkimAuth, ...]
    """The most important one first."""
    spf_result: SpfAuth | None


class Report(Value):
    """A whole report."""

    metadata: ReportMetadata
    policy: PolicyPublished
    rows: tuple[ReportRow, ...]
    """At least one row (RFC 9990 3.1.1.2)."""


def to_xml(report: Report, report_format: ReportFormat) -> bytes:
    """The XML document of a report."""
    return b"".join(pieces(report, report_format))


def pieces(report: Report, report_format: ReportFormat) -> Iterator[bytes]:
    """The XML document in pieces, so that a report of a hundred thousand rows is never in memory as one tree."""
    root = f'feedback xmlns="{NAMESPACE}"' if report_format is ReportFormat.RFC9990 else "feedback"
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>\n'.encode("ascii")
    version = ET.Element("version")
    version.text = VERSION
    yield _rendered(version)
    yield _rendered(_metadata(report.metadata, report_format))
    yield _rendered(_policy(report.policy, report_format))
    yield from _records(report.rows, report_format)
    yield b"</feedback>\n"


def _records(rows: Iterable[ReportRow], report_format: ReportFormat) -> Iterator[bytes]:
    """The record elements. Rows that differ only in source and count, as most do, share the rest of their XML."""
    rendered: dict[tuple[object, ...], bytes] = {}
    size = 0
    for row in rows:
        common = (
            row.disposition,
            row.dkim,
            row.spf,
            row.reasons,
            row.header_from,
            row.envelope_from,
            row.dkim_results,
            row.spf_result,
        )
        if common not in rendered:
            whole = _rendered(_record(row, report_format))
            size += len(whole)
            if size > MAX_CACHED_BYTES:
                rendered.clear()
                size = len(whole)
            rendered[common] = whole[whole.index(_AFTER_COUNT) :]
        address = escape(clean(row.source_ip))
        yield _BEFORE_SOURCE + f"{address}</source_ip>\n      <count>{row.count}".encode() + rendered[common]


def _rendered(element: ET.Element) -> bytes:
    element.tail = "\n"
    ET.indent(element, space="  ", level=1)
    # encoding="unicode" keeps characters beyond ASCII as they are; clean() has removed those that UTF-8 cannot encode.
    return b"  " + ET.tostring(element, encoding="unicode").encode("utf-8")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Text for an XML 1.0 document, on one line: characters that XML cannot hold become question marks."""
    whole = _UNPRINTABLE.sub("?", text[: limit + 1])
    return whole if len(whole) <= limit else whole[: limit - 3] + "..."


def _add(parent: ET.Element, name: str, text: object, limit: int = MAX_TEXT) -> None:
    ET.SubElement(parent, name).text = clean(str(text), limit)


def _add_if(parent: ET.Element, name: str, text: object) -> None:
    """Add an element unless its text is None or empty."""
    if text not in (None, ""):
        _add(parent, name, text)


def _metadata(metadata: ReportMetadata, report_format: ReportFormat) -> ET.Element:
    """The element report_metadata. RFC 9990 3.1.1.3 allows one error element; RFC 7489 any number, but no generator."""
    element = ET.Element("report_metadata")
    _add(element, "org_name", metadata.org_name)
    _add(element, "email", metadata.email)
    _add_if(element, "extra_contact_info", metadata.extra_contact_info)
    _add(element, "report_id", metadata.report_id)
    period = ET.SubElement(element, "date_range")
    _add(period, "begin", metadata.begin)
    _add(period, "end", metadata.end)
    if report_format is ReportFormat.RFC7489:
        for error in metadata.errors:
            _add(element, "error", error, MAX_ERROR)
        return element
    if metadata.errors:
        _add(element, "error", "; ".join(metadata.errors), MAX_ERROR)
    _add_if(element, "generator", metadata.generator)
    return element


def _policy(policy: PolicyPublished, report_format: ReportFormat) -> ET.Element:
    """The element policy_published. RFC 9990 3.1.1.5 has optional elements; RFC 7489 requires sp, pct and fo."""
    element = ET.Element("policy_published")
    _add(element, "domain", policy.domain)
    if report_format is ReportFormat.RFC7489:
        _add(element, "adkim", policy.adkim)
        _add(element, "aspf", policy.aspf)
        _add(element, "p", policy.p)
        _add(element, "sp", policy.p if policy.sp is None else policy.sp)
        _add(element, "pct", 100 if policy.pct is None else policy.pct)
        _add(element, "fo", policy.fo)
        return element
    _add(element, "discovery_method", policy.discovery)
    _add(element, "p", policy.p)
    _add_if(element, "sp", policy.sp)
    _add_if(element, "np", policy.np)
    _add(element, "adkim", policy.adkim)
    _add(element, "aspf", policy.aspf)
    _add(element, "fo", policy.fo)
    _add(element, "testing", "y" if policy.t else "n")
    return element


def _record(row: ReportRow, report_format: ReportFormat) -> ET.Element:
    """The element record (RFC 9990 3.1.1.7 to 3.1.1.13)."""
    record = ET.Element("record")
    element = ET.SubElement(record, "row")
    _add(element, "source_ip", row.source_ip)
    _add(element, "count", row.count)
    _evaluated(ET.SubElement(element, "policy_evaluated"), row, report_format)
    identifiers = ET.SubElement(record, "identifiers")
    _add(identifiers, "envelope_from", row.envelope_from)
    _add(identifiers, "header_from", row.header_from)
    results = ET.SubElement(record, "auth_results")
    for dkim_result in row.dkim_results[:MAX_DKIM]:
        _dkim(ET.SubElement(results, "dkim"), dkim_result, report_format)
    if row.spf_result is not None:
        _spf(ET.SubElement(results, "spf"), row.spf_result, report_format)
    elif report_format is ReportFormat.RFC7489:
        # RFC 7489 appendix C: "There will always be at least one SPF result."
        _spf(ET.SubElement(results, "spf"), SpfAuth(row.envelope_from, SpfScope.MFROM, SpfWord.NONE), report_format)
    return record


def _evaluated(element: ET.Element, row: ReportRow, report_format: ReportFormat) -> None:
    legacy = report_format is ReportFormat.RFC7489
    as_none = legacy and row.disposition is ReportedDisposition.PASS
    _add(element, "disposition", ReportedDisposition.NONE if as_none else row.disposition)
    _add(element, "dkim", row.dkim)
    _add(element, "spf", row.spf)
    for override in row.reasons:
        reason = ET.SubElement(element, "reason")
        _add(reason, "type", (override.type_rfc7489 or override.type) if legacy else override.type)
        _add_if(reason, "comment", override.comment)


def _dkim(element: ET.Element, dkim_result: DkimAuth, report_format: ReportFormat) -> None:
    """Fill the element dkim. Only RFC 9990 requires the selector."""
    _add(element, "domain", dkim_result.domain)
    if dkim_result.selector or report_format is ReportFormat.RFC9990:
        _add(element, "selector", dkim_result.selector)
    _add(element, "result", dkim_result.result)
    _add_if(element, "human_result", dkim_result.human_result)


def _spf(element: ET.Element, spf_result: SpfAuth, report_format: ReportFormat) -> None:
    """Fill the element spf. RFC 9990 3.1.1.13 has only the scope mfrom, even for a null reverse-path."""
    _add(element, "domain", spf_result.domain)
    _add(element, "scope", spf_result.scope if report_format is ReportFormat.RFC7489 else SpfScope.MFROM)
    _add(element, "result", spf_result.result)
    if report_format is ReportFormat.RFC9990:
        _add_if(element, "human_result", spf_result.human_result)
