"""Group outcomes into reports: one for each policy domain (RFC 9990 3.1), with counted rows. Pure.

If the policy record changes within the day, one report gives the final configuration, as RFC 9990 3.1 allows. One
report for each configuration would let a Domain Owner who changes the record often get a report of each message.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import lru_cache

import msgspec

from dmarcmilter.dmarc import record as records
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dmarc.record import AlignmentMode, Disposition
from dmarcmilter.outcome_record import OutcomeRecord, RecordedPolicy
from dmarcmilter.policy.rules import Action
from dmarcmilter.reports.aggregate import publishable_reasons
from dmarcmilter.reports.aggregate.row_of_message import row_of
from dmarcmilter.reports.aggregate.xml_report import AlignmentResult, PolicyPublished, ReportRow
from dmarcmilter.value import Value, replace

DAY_SECONDS = 86_400
MAX_ROWS = 50_000
"""Rows of one report, at most. The messages of further ones are only counted, in a note."""
MAX_BYTES = 16_000_000
"""Bytes of identifiers and results in the rows of one report, without the sources. Beyond half of it, new rows are
shortened to one DKIM result. Beyond all of it, rows that passed DMARC replace others, and a note counts the rest.
"""
MAX_ROW_BYTES = 16_384
"""Bytes of one row, at most. DKIM results beyond it are left out, the least important first."""
MAX_NOTES = 20
"""Faults and notes in one report, at most. Further ones are left out."""
KEY_BYTES = 16
"""Bytes of the digest that tells rows apart."""
_UNREPORTED_TAGS = frozenset({"pct", "rf", "ri"})
"""Tags that are faults only because RFC 9989 dropped them. Domain Owners need no daily reminder of them."""


class Configuration(Value):
    """The policy configuration of a report, and the addresses of the report."""

    policy: PolicyPublished
    rua: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A digest that is the same for the same configuration in each run."""
        return _digest(self)


@lru_cache(maxsize=1024)
def _digest(configuration: Configuration) -> str:
    values = [msgspec.structs.astuple(configuration.policy), configuration.rua]
    return hashlib.sha256(json.dumps(values).encode("ascii")).hexdigest()


class Group(Value):
    """The content of one report."""

    configuration: Configuration
    record: str
    """The policy record as published."""
    rows: tuple[ReportRow, ...]
    messages: int
    """All messages, including those that no row counts."""
    passed: int
    """Messages for which DMARC passed."""
    notes: tuple[str, ...]


@dataclass(slots=True)
class _SharedRow:
    """Rows that differ only in source and count."""

    key: bytes
    first: ReportRow
    """The first of these rows, whose explanations the report shows."""
    size: int
    """Bytes of the row, without its sources."""
    passed: bool
    shortened: bool
    counts: dict[str, int] = field(default_factory=dict)
    """Messages by source address."""


class _ReportBuilder:
    """Collects the rows of one policy domain, within limits of number and bytes."""

    def __init__(self, max_rows: int, max_bytes: int) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._shared: dict[bytes, _SharedRow] = {}
        self._failed: list[bytes] = []
        """Keys of rows that did not pass, oldest first. The newest ones make room for rows that passed."""
        self._bytes = self._rows = 0
        self._final: tuple[str, str] = ("", "")
        self.configuration: Configuration | None = None
        """The latest configuration."""
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
            self.notes |= dict.fromkeys(publishable_reasons.notes(policy))

    def add(self, row: ReportRow, sources: Mapping[str, int]) -> None:
        """Count messages of this row, given by source address."""
        total, passed = sum(sources.values()), AlignmentResult.PASS in {row.dkim, row.spf}
        self.messages += total
        self.passed += total if passed else 0
        shared = self._place(row, passed=passed)
        if shared is None:
            self.left_out += total
            return
        for address, count in sources.items():
            if address in shared.counts:
                shared.counts[address] += count
            elif self._has_room(0, passed=passed):
                shared.counts[address] = count
                self._rows += 1
            else:
                self.left_out += count
        if not shared.counts:
            self._remove(shared.key)

    def _place(self, row: ReportRow, *, passed: bool) -> _SharedRow | None:
        """The shared row that this row belongs to; None if there is no room for a new one."""
        whole = _within(row, MAX_ROW_BYTES)
        for candidate in (whole, _shortened(whole)):
            text = repr(_without_explanations(candidate)).encode("utf-8", "backslashreplace")
            key = hashlib.blake2b(text, digest_size=KEY_BYTES).digest()
            if key in self._shared:
                return self._shared[key]
            size = _size(candidate)
            is_shortened = candidate.dkim_results != row.dkim_results
            if candidate is whole and self._bytes + size > self._max_bytes // 2:
                continue
            if self._has_room(size, passed=passed):
                shared = _SharedRow(key, candidate, size, passed, is_shortened)
                self._shared[key] = shared
                self._bytes += size
                if not passed:
                    self._failed.append(key)
                return shared
        return None

    def _has_room(self, size: int, *, passed: bool) -> bool:
        """Whether this many more bytes, and one more row, fit.

        Rows that passed replace others: only mail of the Domain Owner can pass.
        """
        while self._bytes + size > self._max_bytes or self._rows + 1 > self._max_rows:
            if not passed or not self._failed:
                return False
            self._remove(self._failed[-1])
        return True

    def _remove(self, key: bytes) -> None:
        """Remove a shared row. One that did not pass must be the newest of those."""
        shared = self._shared.pop(key)
        self._bytes -= shared.size
        self._rows -= len(shared.counts)
        self.left_out += sum(shared.counts.values())
        if not shared.passed:
            self._failed.pop()

    def finished(self) -> Group:
        """The collected report."""
        assert self.configuration is not None
        # In an order that depends only on the rows themselves, so that a report composed again is the same.
        shared_rows = sorted(self._shared.values(), key=lambda shared: shared.key)
        numbered = [
            (address, -count, place)
            for place, shared in enumerate(shared_rows)
            for address, count in shared.counts.items()
        ]
        rows = tuple(
            replace(shared_rows[place].first, source_ip=address, count=-negative)
            for address, negative, place in sorted(numbered)
        )
        shortened = sum(sum(shared.counts.values()) for shared in shared_rows if shared.shortened)
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
    """Groups outcomes, added one by one. Holds at most `max_rows` rows and `max_bytes` for each policy domain."""

    def __init__(self, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        self._limits = max_rows, max_bytes
        self._builders: dict[str, _ReportBuilder] = {}

    def add(self, record: OutcomeRecord, count: int = 1) -> None:
        """Count `count` messages with this outcome, if it belongs in a report."""
        self.add_sources(record, {record.client_ip or "": count})

    def add_sources(self, record: OutcomeRecord, sources: Mapping[str, int]) -> None:
        """Count messages with this outcome from several clients, given by address.

        ValueError if the record has words that this version does not know; then nothing is counted.
        """
        policy, author_domain = record.policy, record.author_domain
        if policy is None or not author_domain or not is_reportable(record) or not any(sources):
            return
        configuration = Configuration(published(policy), policy.rua)
        row = replace(row_of(record, author_domain), source_ip="", count=0)
        builder = self._builders.get(policy.domain) or _ReportBuilder(*self._limits)
        self._builders[policy.domain] = builder
        builder.observe(configuration, record.time, policy)
        builder.add(row, sources)

    def groups(self) -> tuple[Group, ...]:
        """The reports, ordered by policy domain. The same outcomes give the same reports."""
        return tuple(builder.finished() for _, builder in sorted(self._builders.items()))


def is_reportable(record: OutcomeRecord) -> bool:
    """Whether a policy record asks for reports (RFC 9989 4.7) and the message was not deferred.

    A deferred message is counted when it is sent again.
    """
    policy = record.policy
    if policy is None or not policy.rua or not policy.usable:
        return False
    return bool(record.author_domain) and record.action != Action.TEMPFAIL


def published(policy: RecordedPolicy) -> PolicyPublished:
    """The policy as a report shows it."""
    return PolicyPublished(
        domain=policy.domain,
        discovery=Method(policy.discovery),
        p=Disposition(policy.p),
        sp=Disposition(policy.sp) if policy.sp else None,
        np=Disposition(policy.np) if policy.np else None,
        adkim=AlignmentMode(policy.adkim),
        aspf=AlignmentMode(policy.aspf),
        fo=policy.fo or "0",
        t={"y": True, "n": False}.get(policy.t or ""),
        pct=policy.pct,
    )


def _without_explanations(row: ReportRow) -> ReportRow:
    """The row without human_result, which does not tell rows apart."""
    spf_result = replace(row.spf_result, human_result="") if row.spf_result else None
    dkim_results = tuple(replace(dkim_result, human_result="") for dkim_result in row.dkim_results)
    return replace(row, dkim_results=dkim_results, spf_result=spf_result)


def _size(row: object) -> int:
    """Approximate size in bytes."""
    return len(repr(row))


def _within(row: ReportRow, size: int) -> ReportRow:
    """The row without its least important DKIM results, of at most `size` bytes."""
    left = size - _size(replace(row, dkim_results=()))
    for place, result in enumerate(row.dkim_results):
        left -= _size(result) + len(", ")
        if left < 0:
            return replace(row, dkim_results=row.dkim_results[:place])
    return row


def _shortened(row: ReportRow) -> ReportRow:
    """The row with only its most important DKIM result."""
    return _without_explanations(replace(row, dkim_results=row.dkim_results[:1]))


def _faults(record: str) -> list[str]:
    """Faults of the policy record, for its owner (RFC 9990 3.1.5)."""
    parsed = records.parse(record.encode("ascii", "replace")) if len(record) < records.MAX_TEXT else None
    faults = parsed.faults if parsed else ()
    return [f"{fault.tag or 'record'}: {fault.problem}" for fault in faults if fault.tag not in _UNREPORTED_TAGS]


def period(day: date) -> tuple[int, int]:
    """First and last second of a UTC day (RFC 9990 3.1.1.4)."""
    begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return begin, begin + DAY_SECONDS - 1


def report_id(submitter: str, domain: str, begin: int, supplement: int) -> str:
    """The id of a report (RFC 9990 3.5.1). Letters and digits only, as it is the file name's unique-id too (3.1.4).

    It is a hash of the report's subject, so a report composed again after a crash has the same id. A supplement holds
    outcomes that arrived late, and is a report of its own.
    """
    about = f"{submitter} {begin} {supplement} {domain}"
    return hashlib.sha256(about.encode("utf-8", "backslashreplace")).hexdigest()[:32]
