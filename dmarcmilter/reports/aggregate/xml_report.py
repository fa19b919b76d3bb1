"""One aggregate report as XML: the report_format of RFC 9990 (appendix A), or that of RFC 7489 (appendix C).

Pure: the same report is the same bytes, so that what was composed before a crash equals what is composed after it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from dmarcmilter.auth.results import DkimWord, SpfScope, SpfWord
from dmarcmilter.config.schema import ReportFormat
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.record import AlignmentMode, Policy
from dmarcmilter.policy.types import ReasonType

NAMESPACE = "urn:ietf:params:xml:ns:dmarc-2.0"
VERSION = "1.0"
"""Of the format: 1.0 in both RFCs, in spite of the namespace (RFC 9990 3.1.1.2)."""
MAX_TEXT = 1024
"""Characters of any one value: domain names have 253, our own sentences fewer than this."""
MAX_ERROR = 4096
"""Characters of the error element, which "should not contain an extremely large body" (RFC 9990 3.1.5)."""
MAX_DKIM = 100
"""DKIM results of one record (RFC 9990 3.1.3)."""

MAX_KNOWN_BYTES = 4_000_000
"""Bytes of rows kept in their written form, so that rows which differ in source and count only are written once."""
_BEFORE_SOURCE = b"  <record>\n    <row>\n      <source_ip>"
_AFTER_COUNT = b"</count>"

# What XML 1.0 cannot hold, not even as a character reference, and all else that is no plain text (XML 1.0, 2.2).
_UNPRINTABLE = re.compile("[^\u0020-\u007e\u00a0-\u2027\u202f-\ud7ff\ue000-\ufffd\U00010000-\U0010fffd]")


class ReportedDisposition(StrEnum):
    """ActionDispositionType (RFC 9990 appendix A)."""

    NONE = "none"
    PASS = "pass"
    """Nothing was done, and something would have been if DMARC had not passed."""
    QUARANTINE = "quarantine"
    REJECT = "reject"


class AlignmentResult(StrEnum):
    """DMARCResultType: what a mechanism counts for DMARC."""

    PASS = "pass"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class ReportMetadata:
    org_name: str
    email: str
    extra_contact_info: str
    report_id: str
    begin: int
    """Seconds since the epoch, as is `end`: the first and the last second of the period."""
    end: int
    errors: tuple[str, ...] = ()
    generator: str = ""


@dataclass(frozen=True, slots=True)
class PolicyPublished:
    domain: str
    """The DMARC Policy Domain: where the record was found."""
    discovery: Method
    p: Policy
    sp: Policy | None
    np: Policy | None
    adkim: AlignmentMode
    aspf: AlignmentMode
    fo: str
    t: bool | None
    pct: int | None


@dataclass(frozen=True, slots=True)
class DkimAuth:
    domain: str
    selector: str
    result: DkimWord
    human_result: str = ""


@dataclass(frozen=True, slots=True)
class SpfAuth:
    domain: str
    scope: SpfScope
    result: SpfWord
    human_result: str = ""


@dataclass(frozen=True, slots=True)
class PolicyOverrideReason:
    """Why the disposition is not the published policy's (RFC 9990 3.1.6)."""

    type: ReasonType
    comment: str = ""
    type_rfc7489: str = ""
    """The type in reports of the older format, when it is another word (RFC 7489 appendix C)."""


@dataclass(frozen=True, slots=True)
class Row:
    """A record of the report: all messages that share these values."""

    source_ip: str
    count: int
    disposition: ReportedDisposition
    dkim: AlignmentResult
    spf: AlignmentResult
    reasons: tuple[PolicyOverrideReason, ...]
    header_from: str
    envelope_from: str
    """Empty: the null reverse-path."""
    dkim_results: tuple[DkimAuth, ...]
    """In the order of their importance."""
    spf_result: SpfAuth | None


@dataclass(frozen=True, slots=True)
class Report:
    metadata: ReportMetadata
    policy: PolicyPublished
    rows: tuple[Row, ...]
    """At least one (RFC 9990 3.1.1.2)."""


def to_xml(report: Report, report_format: ReportFormat) -> bytes:
    """The whole document."""
    return b"".join(pieces(report, report_format))


def pieces(report: Report, report_format: ReportFormat) -> Iterator[bytes]:
    """The document in pieces: a report of a hundred thousand rows never stands in memory as one tree."""
    root = f'feedback xmlns="{NAMESPACE}"' if report_format is ReportFormat.RFC9990 else "feedback"
    yield f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>\n'.encode("ascii")
    version = ET.Element("version")
    version.text = VERSION
    yield _written(version)
    yield _written(_metadata(report.metadata, report_format))
    yield _written(_policy(report.policy, report_format))
    yield from _records(report.rows, report_format)
    yield b"</feedback>\n"


def _records(rows: Iterable[Row], report_format: ReportFormat) -> Iterator[bytes]:
    """Most rows of a report differ from another in source and count only: the rest is written once for all of them."""
    known: dict[tuple[object, ...], bytes] = {}
    size = 0
    for row in rows:
        same = (
            row.disposition, row.dkim, row.spf, row.reasons, row.header_from, row.envelope_from, row.dkim_results,
            row.spf_result,
        )  # fmt: skip
        if same not in known:
            whole = _written(_record(row, report_format))
            size += len(whole)
            if size > MAX_KNOWN_BYTES:
                known.clear()
                size = len(whole)
            known[same] = whole[whole.index(_AFTER_COUNT) :]
        address = escape(clean(row.source_ip))
        yield _BEFORE_SOURCE + f"{address}</source_ip>\n      <count>{row.count}".encode() + known[same]


def _written(element: ET.Element) -> bytes:
    element.tail = "\n"
    ET.indent(element, space="  ", level=1)
    # encoding="unicode" keeps what is beyond ASCII; all of it was made encodable by clean().
    return b"  " + ET.tostring(element, encoding="unicode").encode("utf-8")


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Text that an XML 1.0 document may hold, on one line; what it may not hold becomes a question mark."""
    whole = _UNPRINTABLE.sub("?", text[: limit + 1])
    return whole if len(whole) <= limit else whole[: limit - 3] + "..."


def _add(parent: ET.Element, name: str, text: object, limit: int = MAX_TEXT) -> None:
    ET.SubElement(parent, name).text = clean(str(text), limit)


def _add_if(parent: ET.Element, name: str, text: object) -> None:
    """Only what was given: None and the empty string are absent."""
    if text not in (None, ""):
        _add(parent, name, text)


def _metadata(metadata: ReportMetadata, report_format: ReportFormat) -> ET.Element:
    """RFC 9990 3.1.1.3: one error element at most; RFC 7489: any number, and no generator."""
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
    """RFC 9990 3.1.1.5: discovered or default values; RFC 7489: sp, pct and fo are required."""
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


def _record(row: Row, report_format: ReportFormat) -> ET.Element:
    """RFC 9990 3.1.1.7 to 3.1.1.13."""
    record = ET.Element("record")
    element = ET.SubElement(record, "row")
    _add(element, "source_ip", row.source_ip)
    _add(element, "count", row.count)
    _evaluated(ET.SubElement(element, "policy_evaluated"), row, report_format)
    identifiers = ET.SubElement(record, "identifiers")
    _add(identifiers, "envelope_from", row.envelope_from)
    _add(identifiers, "header_from", row.header_from)
    results = ET.SubElement(record, "auth_results")
    for found in row.dkim_results[:MAX_DKIM]:
        _dkim(ET.SubElement(results, "dkim"), found, report_format)
    if row.spf_result is not None:
        _spf(ET.SubElement(results, "spf"), row.spf_result, report_format)
    elif report_format is ReportFormat.RFC7489:
        # RFC 7489 appendix C: "There will always be at least one SPF result."
        _spf(ET.SubElement(results, "spf"), SpfAuth(row.envelope_from, SpfScope.MFROM, SpfWord.NONE), report_format)
    return record


def _evaluated(element: ET.Element, row: Row, report_format: ReportFormat) -> None:
    legacy = report_format is ReportFormat.RFC7489
    as_none = legacy and row.disposition is ReportedDisposition.PASS
    _add(element, "disposition", ReportedDisposition.NONE if as_none else row.disposition)
    _add(element, "dkim", row.dkim)
    _add(element, "spf", row.spf)
    for override in row.reasons:
        reason = ET.SubElement(element, "reason")
        _add(reason, "type", (override.type_rfc7489 or override.type) if legacy else override.type)
        _add_if(reason, "comment", override.comment)


def _dkim(element: ET.Element, found: DkimAuth, report_format: ReportFormat) -> None:
    """The selector is required in RFC 9990 only."""
    _add(element, "domain", found.domain)
    if found.selector or report_format is ReportFormat.RFC9990:
        _add(element, "selector", found.selector)
    _add(element, "result", found.result)
    _add_if(element, "human_result", found.human_result)


def _spf(element: ET.Element, found: SpfAuth, report_format: ReportFormat) -> None:
    """RFC 9990 3.1.1.13: the only scope is mfrom, also for the null reverse-path and its domain of HELO."""
    _add(element, "domain", found.domain)
    _add(element, "scope", found.scope if report_format is ReportFormat.RFC7489 else SpfScope.MFROM)
    _add(element, "result", found.result)
    if report_format is ReportFormat.RFC9990:
        _add_if(element, "human_result", found.human_result)
