"""The adoption survey: what the Author Domains of a period publish, counted by domain and by message.

DMARC record valid, faulty or absent, crossed with SPF record present or absent, gives the types A to F.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from dmarcmilter.dmarc import record as records
from dmarcmilter.history.store import Connection, rows, stream

HARMLESS = frozenset({"pct", "ri", "rf"})
"""Tags that RFC 9989 dropped: to have them is no fault of the record."""
KNOWN = frozenset({"v", "p", "sp", "np", "adkim", "aspf", "fo", "psd", "rua", "ruf", "t"})
UNKNOWN_TAG = "unknown tag"
"""To be ignored by all who read it (RFC 9989 4.8); counted, yet no reason to call the record faulty."""
WHOLE_RECORD = "syntax"

TYPES = {
    ("valid", True): "A",
    ("faulty", True): "B",
    ("valid", False): "C",
    ("faulty", False): "D",
    ("absent", True): "E",
    ("absent", False): "F",
}
TYPE_TEXTS = {
    "A": "DMARC valid, SPF present",
    "B": "DMARC faulty, SPF present",
    "C": "DMARC valid, SPF absent",
    "D": "DMARC faulty, SPF absent",
    "E": "DMARC absent, SPF present",
    "F": "DMARC absent, SPF absent",
}
SIGNERS = ("unsigned", "failed", "third party", "self")
"""By the best signature: none; none passes; one passes, of another domain; one of the author's own."""


@dataclass(frozen=True, slots=True)
class Share:
    name: str
    domains: int
    messages: int


@dataclass(frozen=True, slots=True)
class Survey:
    """Each message's Author Domain is asked for; mail whose policy DNS did not tell is left out."""

    domains: int
    messages: int
    types: tuple[Share, ...]
    policies: tuple[Share, ...]
    """Of the domains with a record that counts: what it asks for."""
    addresses: tuple[Share, ...]
    """Of the same: rua and ruf."""
    signers: tuple[Share, ...]
    faults: tuple[Share, ...]
    """By tag."""


@dataclass(frozen=True, slots=True)
class _Policy:
    state: str
    addresses: str
    faulty_tags: frozenset[str]


SURVEY_SQL = """
    SELECT v.author_domain, coalesce(v.policy_id, 0) AS policy_id, max(v.published) AS published,
        sum(t.messages) AS messages,
        sum(CASE WHEN v.spf_result IN ('none', 'temperror') THEN 0 ELSE t.messages END) AS with_spf,
        coalesce(s.signer, 0) AS signer,
        max(CASE WHEN v.policy_id IS NULL AND v.detail LIKE :faulty_records THEN 1 ELSE 0 END) AS faulty
    FROM (SELECT verdict_id, sum(messages) AS messages FROM period GROUP BY verdict_id) t
        JOIN verdicts v ON v.id = t.verdict_id
        LEFT JOIN (
            SELECT n.verdict_id, max(CASE WHEN n.result <> 'pass' THEN 1
                WHEN w.dkim_aligned OR w.author_domain = n.domain
                    OR w.author_domain LIKE '%.' || n.domain OR n.domain LIKE '%.' || w.author_domain THEN 3
                ELSE 2 END) AS signer
            FROM signatures n JOIN verdicts w ON w.id = n.verdict_id
            WHERE n.verdict_id IN (SELECT verdict_id FROM period) GROUP BY n.verdict_id
        ) s ON s.verdict_id = v.id
    WHERE v.author_domain IS NOT NULL AND (v.policy_id IS NOT NULL OR v.dmarc_result = 'none')
    GROUP BY v.author_domain, coalesce(v.policy_id, 0), coalesce(s.signer, 0)
    ORDER BY v.author_domain, coalesce(v.policy_id, 0)"""
"""Without a record nobody has looked for the Organizational Domain: then parents and children count as the author's."""
FAULTY_RECORDS = '%"faulty_records":["%'
"""In verdicts.detail: a key with something in its list. Text of the sender's cannot imitate it: JSON escapes quotes."""
NO_RECORD = "no record that counts"
"""Several at one name, or one that is no DMARC record by its first letters."""


@dataclass
class _Tally:
    domains: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, messages: int) -> None:
        self.domains[name] += 1
        self.messages[name] += messages

    def shares(self, names: Iterable[str]) -> tuple[Share, ...]:
        return tuple(Share(name, self.domains[name], self.messages[name]) for name in names)

    def largest(self) -> tuple[Share, ...]:
        return self.shares(sorted(self.domains, key=lambda name: (-self.domains[name], name)))


@dataclass
class _Tallies:
    all: _Tally = field(default_factory=_Tally)
    types: _Tally = field(default_factory=_Tally)
    policies: _Tally = field(default_factory=_Tally)
    addresses: _Tally = field(default_factory=_Tally)
    signers: _Tally = field(default_factory=_Tally)
    faults: _Tally = field(default_factory=_Tally)


def survey(connection: Connection) -> Survey:
    """Of the temporary table `period`."""
    policies = dict(_policies(connection))
    tallies = _Tallies()
    for _, group in groupby(
        stream(connection, SURVEY_SQL, faulty_records=FAULTY_RECORDS), key=lambda row: row.author_domain
    ):
        _count(tallies, list(group), policies)
    return Survey(
        domains=tallies.all.domains["all"],
        messages=tallies.all.messages["all"],
        types=tallies.types.shares(TYPE_TEXTS),
        policies=tallies.policies.shares(("none", "quarantine", "reject")),
        addresses=tallies.addresses.shares(("rua and ruf", "rua only", "ruf only", "neither")),
        signers=tallies.signers.shares(SIGNERS),
        faults=tallies.faults.largest(),
    )


def _policies(connection: Connection) -> Iterator[tuple[int, _Policy]]:
    sql = """SELECT id, record, usable, rua, ruf FROM policies WHERE id IN (
        SELECT v.policy_id FROM period t JOIN verdicts v ON v.id = t.verdict_id)"""
    for row in rows(connection, sql):
        parsed = records.parse(row.record.encode("utf-8"))
        tags = frozenset(_tag(fault.tag) for fault in parsed.faults) if parsed else frozenset({WHOLE_RECORD})
        faulty = not row.usable or bool(tags - HARMLESS - {UNKNOWN_TAG})
        yield row.id, _Policy("faulty" if faulty else "valid", _addresses(row), tags - HARMLESS)


def _tag(tag: str) -> str:
    if tag == "":
        return WHOLE_RECORD
    return tag if tag in KNOWN or tag in HARMLESS else UNKNOWN_TAG


def _addresses(row: Any) -> str:
    # Lists in JSON: the empty one is "[]".
    has_rua, has_ruf = row.rua != "[]", row.ruf != "[]"
    if has_rua:
        return "rua and ruf" if has_ruf else "rua only"
    return "ruf only" if has_ruf else "neither"


def _main(group: list[Any]) -> Any:
    met: Counter[int] = Counter()
    for row in group:
        met[row.policy_id] += int(row.messages)
    return max(group, key=lambda row: (met[row.policy_id], row.policy_id))


def _count(tallies: _Tallies, group: list[Any], policies: dict[int, _Policy]) -> None:
    """One Author Domain. Of several records in the period the one that most messages met counts."""
    main = _main(group)
    messages = sum(int(row.messages) for row in group)
    policy = policies.get(main.policy_id)
    has_spf = any(row.with_spf for row in group)
    meant = any(row.faulty for row in group if row.policy_id == main.policy_id)
    state = policy.state if policy else "faulty" if meant else "absent"
    tallies.all.add("all", messages)
    tallies.types.add(TYPES[state, has_spf], messages)
    tallies.signers.domains[SIGNERS[max(row.signer for row in group)]] += 1
    for row in group:
        tallies.signers.messages[SIGNERS[row.signer]] += int(row.messages)
    if policy is None:
        if meant:
            tallies.faults.add(NO_RECORD, messages)
        return
    tallies.addresses.add(policy.addresses, messages)
    if main.published:
        tallies.policies.add(main.published, messages)
    for tag in policy.faulty_tags:
        tallies.faults.add(tag, messages)
