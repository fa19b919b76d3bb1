"""Outcomes to reports: one for each policy domain and policy configuration (RFC 9990 3.1), their rows with counts.

A configuration is what the record says, not its spelling: a record that was only rewritten stays in one report.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any

from dmarcmilter.dmarc import record as records
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.record import AlignmentMode, Policy
from dmarcmilter.evidence import DkimWord, SpfScope, SpfWord
from dmarcmilter.reports.aggregate import (
    MAX_DKIM,
    Alignment,
    Disposition,
    DkimAuth,
    PolicyPublished,
    Row,
    SpfAuth,
)
from dmarcmilter.rules import Action, Override, ReasonType

DAY_SECONDS = 86_400
MAX_ROWS = 50_000
"""Of one report. What a sender varies at will (selectors, envelope domains, addresses) must not fill our memory."""
MAX_NOTES = 20
"""Faults and notes told in one report."""
_OF_NO_USE = frozenset({"pct", "rf", "ri"})
"""Tags whose only fault is their age: the owner of the domain needs no daily word about them."""

Outcome = Mapping[str, Any]
"""The outcome object, as the journal holds it."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What one report is about."""

    policy: PolicyPublished
    rua: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Names the configuration in the same way at each run."""
        return hashlib.sha256(json.dumps([astuple(self.policy), self.rua]).encode("ascii")).hexdigest()


@dataclass(frozen=True, slots=True)
class Group:
    configuration: Configuration
    record: str
    """As published, for people."""
    rows: tuple[Row, ...]
    messages: int
    """Also those that no row shows."""
    passed: int
    """Messages for which DMARC passed."""
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Growing:
    record: str
    counts: dict[Row, int] = field(default_factory=dict)
    first: dict[Row, Row] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    left_out: int = 0
    messages: int = 0
    passed: int = 0


class Grouping:
    """Takes outcomes one by one; holds no more than MAX_ROWS rows for each configuration."""

    def __init__(self, max_rows: int = MAX_ROWS) -> None:
        self._max_rows = max_rows
        self._growing: dict[Configuration, _Growing] = {}

    def add(self, outcome: Outcome, count: int = 1) -> None:
        """Count so many messages of this outcome, if it belongs in a report at all."""
        self.add_sources(outcome, {outcome.get("client_ip") or "": count})

    def add_sources(self, outcome: Outcome, sources: Mapping[str, int]) -> None:
        """The same from several clients: address to number of messages."""
        if not is_reportable(outcome) or not any(sources):
            return
        policy = outcome["policy"]
        configuration = Configuration(published(policy), tuple(policy["rua"]))
        growing = self._growing.setdefault(configuration, _Growing(str(policy.get("record") or "")))
        growing.notes |= dict.fromkeys(policy.get("notes") or ())
        row = row_of(outcome)
        bare = _without_words(row)
        for address, count in sources.items():
            growing.messages += count
            growing.passed += count if outcome["dmarc"]["result"] == "pass" else 0
            key = replace(bare, source_ip=address)
            if key in growing.counts or len(growing.counts) < self._max_rows:
                growing.counts[key] = growing.counts.get(key, 0) + count
                growing.first.setdefault(key, replace(row, source_ip=address))
            else:
                growing.left_out += count

    def groups(self) -> tuple[Group, ...]:
        """In an order of their own, with the rows in an order of theirs: the same outcomes, the same reports."""
        ordered = sorted(self._growing.items(), key=lambda item: (item[0].policy.domain, item[0].digest))
        return tuple(_finished(configuration, growing) for configuration, growing in ordered)


def grouped(outcomes: Iterable[Outcome], max_rows: int = MAX_ROWS) -> tuple[Group, ...]:
    grouping = Grouping(max_rows)
    for outcome in outcomes:
        grouping.add(outcome)
    return grouping.groups()


def is_reportable(outcome: Outcome) -> bool:
    """A record was found, it asks for reports (RFC 9989 4.7), and the message was not sent away for another try.

    A message that was told to come again is counted when it does.
    """
    policy = outcome.get("policy")
    if not policy or not policy.get("rua") or policy.get("usable") is False:
        return False
    return bool(outcome.get("author_domain")) and outcome["action"] != Action.TEMPFAIL


def published(policy: Mapping[str, Any]) -> PolicyPublished:
    testing = {"y": True, "n": False}.get(policy.get("t") or "")
    return PolicyPublished(
        domain=policy["domain"],
        discovery=Method(policy["discovery"]),
        p=Policy(policy["p"]),
        sp=Policy(policy["sp"]) if policy.get("sp") else None,
        np=Policy(policy["np"]) if policy.get("np") else None,
        adkim=AlignmentMode(policy["adkim"]),
        aspf=AlignmentMode(policy["aspf"]),
        fo=policy.get("fo") or "0",
        t=testing,
        pct=policy.get("pct"),
    )


def row_of(outcome: Outcome) -> Row:
    """One message as a row (RFC 9990 3.1.1.7); its values are of one of the RFC's types each."""
    dmarc = outcome["dmarc"]
    aligned = dmarc.get("aligned") or ()
    mechanisms = {found["mechanism"] for found in aligned}
    signers = {found["domain"] for found in aligned if found["mechanism"] == "dkim"}
    disposition = _disposition(outcome)
    return Row(
        source_ip=outcome.get("client_ip") or "",
        count=1,
        disposition=disposition,
        dkim=Alignment.PASS if "dkim" in mechanisms else Alignment.FAIL,
        spf=Alignment.PASS if "spf" in mechanisms else Alignment.FAIL,
        reasons=_reasons(outcome, disposition),
        header_from=outcome["author_domain"],
        envelope_from=outcome.get("mail_from_domain") or "",
        dkim_results=_signatures(outcome, signers),
        spf_result=_spf(outcome.get("spf") or {}),
    )


def _disposition(outcome: Outcome) -> Disposition:
    """RFC 9990 appendix A: `pass` is for a policy that would have asked for something."""
    dmarc = outcome["dmarc"]
    if dmarc["result"] == "pass" and (dmarc.get("published") or "none") != "none":
        return Disposition.PASS
    return Disposition(outcome["disposition"])


def _reasons(outcome: Outcome, disposition: Disposition) -> tuple[Override, ...]:
    """RFC 9990 3.1.1.9: required where alignment failed and what was done is not what was published."""
    reasons = tuple(
        Override(ReasonType(found["type"]), found.get("comment") or "", found.get("rfc7489") or "")
        for found in outcome.get("overrides") or ()
    )
    dmarc = outcome["dmarc"]
    wanted = dmarc.get("published") or "none"
    if reasons or dmarc["result"] == "pass" or disposition == wanted:
        return reasons
    if dmarc["result"] == "temperror":
        return (Override(ReasonType.OTHER, "a DNS error left open whether the message passes"),)
    return (Override(ReasonType.LOCAL_POLICY, ""),)


def _signatures(outcome: Outcome, signers: set[str]) -> tuple[DkimAuth, ...]:
    """RFC 9990 3.1.3: passing and strictly aligned first, then relaxed, then other passes, then the rest.

    A field that names no domain was never validated, and is not told.
    """
    author = outcome["author_domain"]

    def importance(found: DkimAuth) -> int:
        if found.result is not DkimWord.PASS:
            return 3
        return 0 if found.domain == author else 1 if found.domain in signers else 2

    results = [
        DkimAuth(found["domain"], found.get("selector") or "", DkimWord(found["result"]), _told(found))
        for found in outcome.get("dkim") or ()
        if found.get("domain")
    ]
    return tuple(sorted(results, key=importance)[:MAX_DKIM])


def _spf(spf: Mapping[str, Any]) -> SpfAuth | None:
    if not spf.get("domain"):
        return None
    scope = SpfScope(spf.get("scope") or SpfScope.MFROM)
    return SpfAuth(spf["domain"], scope, SpfWord(spf["result"]), _told(spf))


def _told(found: Mapping[str, Any]) -> str:
    """Why, for people; a pass needs no words."""
    return "" if found["result"] == "pass" else found.get("reason") or ""


def _without_words(row: Row) -> Row:
    """What makes a row of its own: results and identifiers, not the words about them."""
    spf = replace(row.spf_result, human_result="") if row.spf_result else None
    return replace(row, dkim_results=tuple(replace(f, human_result="") for f in row.dkim_results), spf_result=spf)


def _finished(configuration: Configuration, growing: _Growing) -> Group:
    rows = [replace(growing.first[key], count=count) for key, count in growing.counts.items()]
    rows.sort(key=lambda row: (row.source_ip, -row.count, repr(row)))
    notes = [*_faults(growing.record), *growing.notes]
    if growing.left_out:
        notes.insert(0, f"{growing.left_out} messages with further sources or identifiers are not listed")
    return Group(
        configuration=configuration,
        record=growing.record,
        rows=tuple(rows),
        messages=growing.messages,
        passed=growing.passed,
        notes=tuple(notes[:MAX_NOTES]),
    )


def _faults(record: str) -> list[str]:
    """What is wrong with the record, for its owner (RFC 9990 3.1.5)."""
    parsed = records.parse(record.encode("ascii", "replace")) if len(record) < records.MAX_TEXT else None
    faults = parsed.faults if parsed else ()
    return [f"{fault.tag or 'record'}: {fault.problem}" for fault in faults if fault.tag not in _OF_NO_USE]


def period(day: date) -> tuple[int, int]:
    """First and last second of a UTC day (RFC 9990 3.1.1.4)."""
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return begin, begin + DAY_SECONDS - 1


def report_id(submitter: str, configuration: Configuration, begin: int, supplement: int) -> str:
    """RFC 9990 3.5.1. Letters and digits only, so that the same text is the file name's unique-id (3.1.4).

    Made from what the report is about: composed again after a crash, it has the same id. A supplement holds outcomes
    that arrived late, and is a report of its own.
    """
    about = f"{submitter} {begin} {supplement} {configuration.policy.domain} {configuration.digest}"
    return hashlib.sha256(about.encode("utf-8", "backslashreplace")).hexdigest()[:32]
