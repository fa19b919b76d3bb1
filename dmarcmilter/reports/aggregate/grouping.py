"""Group outcomes into reports: one for each policy domain (RFC 9990 3.1), rows with counts. Pure.

A record that changes within the day makes no further report: the final configuration is the one that is told, as
RFC 9990 3.1 allows. Reports for each configuration would let a domain's owner make a report of each message.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, date, datetime
from functools import lru_cache

from dmarcmilter.dmarc import record as records
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.record import AlignmentMode, Policy
from dmarcmilter.outcome import OutcomeRecord, RecordedPolicy
from dmarcmilter.policy.types import Action
from dmarcmilter.reports.aggregate import reported_reasons
from dmarcmilter.reports.aggregate.row import row_of
from dmarcmilter.reports.aggregate.xml_report import AlignmentResult, PolicyPublished, Row

DAY_SECONDS = 86_400
MAX_ROWS = 50_000
"""Rows of one report. The messages of further ones are counted in a note."""
MAX_BYTES = 16_000_000
"""Bytes of identifiers and results in the rows of one report, sources apart. Beyond half of it rows are shortened to
one DKIM result; beyond all of it messages that passed DMARC take the place of others, and a note counts the rest.
"""
MAX_ROW_BYTES = 16_384
"""Bytes of one row. DKIM results beyond it are left out, the least important first."""
MAX_NOTES = 20
"""Faults and notes told in one report."""
KEY_BYTES = 16
_OF_NO_USE = frozenset({"pct", "rf", "ri"})
"""Tags whose only fault is their age: the owner of the domain needs no daily word about them."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """The policy configuration that a report tells, and where the report goes."""

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

    key: bytes
    first: Row
    """With the words of the outcome that came first."""
    size: int
    """Bytes of the row, without its sources."""
    passed: bool
    shortened: bool
    counts: dict[str, int] = field(default_factory=dict)
    """Messages by source address."""


class _Growing:
    """The rows of one policy domain, within limits of number and of bytes."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._alike: dict[bytes, _Alike] = {}
        self._failed: list[bytes] = []
        """Keys of rows that did not pass, in order of arrival: the last ones make room for those that passed."""
        self._bytes = self._rows = 0
        self._final: tuple[str, str] = ("", "")
        self.configuration: Configuration | None = None
        """The final one."""
        self.record = ""
        self.notes: dict[str, None] = {}
        self.left_out = self.shortened = self.messages = self.passed = 0

    def observe(self, configuration: Configuration, time: str, policy: RecordedPolicy) -> None:
        """Keep the configuration if it is the latest one."""
        if self.configuration is None or (time, configuration.digest) > self._final:
            self._final = (time, configuration.digest)
            self.configuration = configuration
            self.record = policy.record
        if len(self.notes) < MAX_NOTES:
            self.notes |= dict.fromkeys(reported_reasons.notes(policy))

    def add(self, row: Row, sources: Mapping[str, int]) -> None:
        total, passed = sum(sources.values()), AlignmentResult.PASS in {row.dkim, row.spf}
        self.messages += total
        self.passed += total if passed else 0
        alike = self._place(row, passed=passed)
        if alike is None:
            self.left_out += total
            return
        for address, count in sources.items():
            if address in alike.counts:
                alike.counts[address] += count
            elif self._has_room(0, 1, passed=passed):
                alike.counts[address] = count
                self._rows += 1
            else:
                self.left_out += count
        if not alike.counts:
            self._remove(alike.key)

    def _place(self, row: Row, *, passed: bool) -> _Alike | None:
        """The rows that this one belongs to; None: there is no room for it."""
        whole = _within(row, MAX_ROW_BYTES)
        for candidate in (whole, _brief(whole)):
            text = repr(_without_words(candidate)).encode("utf-8", "backslashreplace")
            key = hashlib.blake2b(text, digest_size=KEY_BYTES).digest()
            if key in self._alike:
                return self._alike[key]
            size = _size(candidate)
            is_shortened = candidate.dkim_results != row.dkim_results
            if candidate is whole and self._bytes + size > self._max_bytes // 2:
                continue
            if self._has_room(size, 1, passed=passed):
                alike = _Alike(key, candidate, size, passed, is_shortened)
                self._alike[key] = alike
                self._bytes += size
                if not passed:
                    self._failed.append(key)
                return alike
        return None

    def _has_room(self, size: int, rows: int, *, passed: bool) -> bool:
        """Whether so much more fits. Rows that passed replace others: only the owner's own mail can pass."""
        while self._bytes + size > self._max_bytes or self._rows + rows > self._max_rows:
            if not passed or not self._failed:
                return False
            self._remove(self._failed[-1])
        return True

    def _remove(self, key: bytes) -> None:
        """A row that did not pass must be the last of these."""
        alike = self._alike.pop(key)
        self._bytes -= alike.size
        self._rows -= len(alike.counts)
        self.left_out += sum(alike.counts.values())
        if not alike.passed:
            self._failed.pop()

    def finished(self) -> Group:
        assert self.configuration is not None
        # In an order that depends on nothing but the rows themselves.
        alike = sorted(self._alike.values(), key=lambda found: found.key)
        numbered = [
            (address, -count, place) for place, found in enumerate(alike) for address, count in found.counts.items()
        ]
        rows = tuple(replace(alike[place].first, source_ip=ip, count=-less) for ip, less, place in sorted(numbered))
        shortened = sum(sum(found.counts.values()) for found in alike if found.shortened)
        notes = [*_faults(self.record), *self.notes]
        if shortened:
            notes.insert(0, f"{shortened} messages are listed without all of their DKIM results")
        if self.left_out:
            notes.insert(0, f"{self.left_out} messages with further sources or identifiers are not listed")
        return Group(
            configuration=self.configuration,
            record=self.record,
            rows=rows,
            messages=self.messages,
            passed=self.passed,
            notes=tuple(notes[:MAX_NOTES]),
        )


class Grouping:
    """Takes outcomes one by one; holds at most `max_rows` rows of `max_bytes` for each policy domain."""

    def __init__(self, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        self._limits = max_rows, max_bytes
        self._growing: dict[str, _Growing] = {}

    def add(self, record: OutcomeRecord, count: int = 1) -> None:
        """Count this many messages of this outcome, if it belongs in a report at all."""
        self.add_sources(record, {record.client_ip or "": count})

    def add_sources(self, record: OutcomeRecord, sources: Mapping[str, int]) -> None:
        """The same from several clients: address to number of messages."""
        policy, author_domain = record.policy, record.author_domain
        if policy is None or not author_domain or not is_reportable(record) or not any(sources):
            return
        growing = self._growing.get(policy.domain) or _Growing(*self._limits)
        self._growing[policy.domain] = growing
        growing.observe(Configuration(published(policy), policy.rua), record.time, policy)
        row = replace(row_of(record, author_domain), source_ip="", count=0)
        growing.add(row, sources)

    def groups(self) -> tuple[Group, ...]:
        """In the order of policy domains, with the rows in an order of theirs: the same outcomes, the same reports."""
        return tuple(growing.finished() for _, growing in sorted(self._growing.items()))


def grouped(records: Iterable[OutcomeRecord], max_rows: int = MAX_ROWS) -> tuple[Group, ...]:
    """The reports about these outcomes."""
    grouping = Grouping(max_rows)
    for record in records:
        grouping.add(record)
    return grouping.groups()


def is_reportable(record: OutcomeRecord) -> bool:
    """Whether a policy record asks for reports (RFC 9989 4.7), and the message was not deferred.

    A message that was deferred is counted when it comes again.
    """
    policy = record.policy
    if policy is None or not policy.rua or not policy.usable:
        return False
    return bool(record.author_domain) and record.action != Action.TEMPFAIL


def published(policy: RecordedPolicy) -> PolicyPublished:
    """The policy as a report tells it."""
    return PolicyPublished(
        domain=policy.domain,
        discovery=Method(policy.discovery),
        p=Policy(policy.p),
        sp=Policy(policy.sp) if policy.sp else None,
        np=Policy(policy.np) if policy.np else None,
        adkim=AlignmentMode(policy.adkim),
        aspf=AlignmentMode(policy.aspf),
        fo=policy.fo or "0",
        t={"y": True, "n": False}.get(policy.t or ""),
        pct=policy.pct,
    )


def _without_words(row: Row) -> Row:
    """What makes a row of its own: results and identifiers, not the words about them."""
    spf = replace(row.spf_result, human_result="") if row.spf_result else None
    return replace(row, dkim_results=tuple(replace(f, human_result="") for f in row.dkim_results), spf_result=spf)


def _size(row: object) -> int:
    """Bytes, near enough."""
    return len(repr(row))


def _within(row: Row, size: int) -> Row:
    """Without the least important DKIM results, so that it has so many bytes at most."""
    left = size - _size(replace(row, dkim_results=()))
    for place, result in enumerate(row.dkim_results):
        left -= _size(result) + len(", ")
        if left < 0:
            return replace(row, dkim_results=row.dkim_results[:place])
    return row


def _brief(row: Row) -> Row:
    """With the most important DKIM result alone."""
    return _without_words(replace(row, dkim_results=row.dkim_results[:1]))


def _faults(record: str) -> list[str]:
    """What is wrong with the record, for its owner (RFC 9990 3.1.5)."""
    parsed = records.parse(record.encode("ascii", "replace")) if len(record) < records.MAX_TEXT else None
    faults = parsed.faults if parsed else ()
    return [f"{fault.tag or 'record'}: {fault.problem}" for fault in faults if fault.tag not in _OF_NO_USE]


def period(day: date) -> tuple[int, int]:
    """First and last second of a UTC day (RFC 9990 3.1.1.4)."""
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return begin, begin + DAY_SECONDS - 1


def report_id(submitter: str, domain: str, begin: int, supplement: int) -> str:
    """RFC 9990 3.5.1. Letters and digits only, so that the same text is the file name's unique-id (3.1.4).

    Made from what the report is about: composed again after a crash, it has the same id. A supplement holds outcomes
    that arrived late, and is a report of its own.
    """
    about = f"{submitter} {begin} {supplement} {domain}"
    return hashlib.sha256(about.encode("utf-8", "backslashreplace")).hexdigest()[:32]
