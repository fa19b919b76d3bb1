"""Outcomes to reports: one for each policy domain and policy configuration (RFC 9990 3.1), their rows with counts.

A configuration is what the record says, not its spelling: a record that was only rewritten stays in one report.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from dmarcmilter.dmarc import record as records
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.record import AlignmentMode, Policy
from dmarcmilter.reports.aggregate import PolicyPublished, Row
from dmarcmilter.reports.row import Outcome, row_of
from dmarcmilter.rules import Action

DAY_SECONDS = 86_400
MAX_ROWS = 50_000
"""Of one report. What a sender varies at will (selectors, envelope domains, addresses) must not fill our memory."""
MAX_NOTES = 20
"""Faults and notes told in one report."""
_OF_NO_USE = frozenset({"pct", "rf", "ri"})
"""Tags whose only fault is their age: the owner of the domain needs no daily word about them."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What one report is about."""

    policy: PolicyPublished
    rua: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Names the configuration in the same way at each run."""
        return _digest(self)


@lru_cache(maxsize=1024)
def _digest(configuration: Configuration) -> str:
    told = [astuple(configuration.policy), configuration.rua]
    return hashlib.sha256(json.dumps(told).encode("ascii")).hexdigest()


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
class _Alike:
    """Rows that differ in source and count only."""

    first: Row
    """With the words of the outcome that came first."""
    counts: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Growing:
    record: str
    alike: dict[Row, _Alike] = field(default_factory=dict)
    """By the row without words, source and count."""
    rows: int = 0
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
        row = replace(row_of(outcome), source_ip="", count=0)
        alike = growing.alike.setdefault(_without_words(row), _Alike(row))
        growing.messages += sum(sources.values())
        growing.passed += sum(sources.values()) if outcome["dmarc"]["result"] == "pass" else 0
        for address, count in sources.items():
            if address in alike.counts:
                alike.counts[address] += count
            elif growing.rows < self._max_rows:
                alike.counts[address] = count
                growing.rows += 1
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


def _without_words(row: Row) -> Row:
    """What makes a row of its own: results and identifiers, not the words about them."""
    spf = replace(row.spf_result, human_result="") if row.spf_result else None
    return replace(row, dkim_results=tuple(replace(f, human_result="") for f in row.dkim_results), spf_result=spf)


def _finished(configuration: Configuration, growing: _Growing) -> Group:
    # In an order that depends on nothing but the rows themselves.
    alike = sorted(growing.alike.values(), key=lambda found: repr(found.first))
    numbered = [
        (address, -count, place) for place, found in enumerate(alike) for address, count in found.counts.items()
    ]
    rows = [replace(alike[place].first, source_ip=ip, count=-less) for ip, less, place in sorted(numbered)]
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
