"""Adoption: which records the Author Domains of a period publish, counted by domain and by message.

Types A to F combine a DMARC record that is valid, faulty or absent with an SPF record that is present or absent. Also
counted are the organizations that receive the reports, those that sign, faults of records, and domains for which the
two discovery methods differ.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from itertools import groupby
from typing import Any, TypedDict
from urllib.parse import unquote

from dmarcmilter.dmarc import record as records
from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dmarc.record_fault_kinds import FAULT_TEXTS, FaultKind
from dmarcmilter.history.store import DatabaseConnection, execute, execute_many, rows, stream
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import Domain, is_within
from dmarcmilter.value import Value

DROPPED_TAGS = frozenset({"pct", "ri", "rf"})
"""Tags that RFC 9989 dropped. They are not counted as faults of a record."""
KNOWN_TAGS = frozenset({"v", "p", "sp", "np", "adkim", "aspf", "fo", "psd", "rua", "ruf", "t"})
UNKNOWN_TAG = "unknown tag"
"""Receivers ignore unknown tags (RFC 9989 4.8): counted, but the record is not faulty because of one."""
WHOLE_RECORD = "syntax"
"""Name for faults of the record as a whole."""

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
POLICIES = ("none", "quarantine", "reject")
SIGNERS = ("unsigned", "failed", "third party", "self")
"""The best signature of a domain: there is none; none passes; one of another organization passes; an own one passes."""
DISCOVERIES = ("same", "differ", "unknown")
"""Whether both discovery methods give the same result. "unknown" includes outcomes of versions that did not compare."""
OWN_ORGANIZATION = "(own organization)"
"""Name for reports that go to the organization of the policy domain itself."""
NOT_MAIL = "(not mailto:)"
NO_DOMAIN = "(no domain)"

DISCOVERY_TEXTS = {
    "same": "both methods give the same",
    "differ": "the methods differ",
    "unknown": "not known without more DNS queries",
}

MAX_NAMES = 50_000
"""Names of one list kept in memory while counting. At twice this number, those with the fewest domains are dropped."""
MAX_SIGNERS = 1000
"""Third-party organizations counted for one Author Domain. Further ones are not counted."""
POLICIES_AT_ONCE = 1000
"""Policy records read and classified by one query."""
MAX_CACHED_DOMAINS = 100_000
"""Domains whose organization is kept in memory. Beyond it, the least recently used are looked up again."""


class Share(Value):
    """The number of domains and of messages with one property."""

    name: str
    domains: int
    messages: int


class Step(Value):
    """Adoption in one day, week or month. A domain counts once in each step in which it sent mail."""

    start: datetime
    domains: int
    messages: int
    types: tuple[Share, ...]
    policies: tuple[Share, ...]


class DifferingDomain(Value):
    """An Author Domain for which the two discovery methods differ, with the values of its most recent verdict."""

    domain: str
    messages: int
    differs: str
    """Which of policy_domain, organizational_domain and result differ."""
    method: str
    """The discovery method in use: treewalk or psl."""
    policy_domain: str
    organizational_domain: str
    result: str
    other_policy_domain: str
    other_organizational_domain: str
    other_result: str

    @property
    def change(self) -> str:
        """The difference as one line: values by the method in use / by the other method."""
        values = (
            ("policy", self.policy_domain, self.other_policy_domain),
            ("organization", self.organizational_domain, self.other_organizational_domain),
            ("result", self.result, self.other_result),
        )
        return "; ".join(f"{name} {ours or '-'} / {other or '-'}" for name, ours, other in values if ours != other)


class Survey(Value):
    """Adoption among the Author Domains of a period. Mail whose policy lookup failed is left out."""

    domains: int
    messages: int
    types: tuple[Share, ...]
    policies: tuple[Share, ...]
    """Policies that the records ask for, of the domains with a record that applies."""
    addresses: tuple[Share, ...]
    """Use of rua and ruf, of the same domains."""
    signers: tuple[Share, ...]
    faults: tuple[Share, ...]
    """Faults of records, by tag."""
    fault_kinds: tuple[Share, ...] = ()
    """Faults of records, by dmarc.record_fault_kinds.FaultKind."""
    reporting: tuple[Share, ...] = ()
    """Domains that publish rua, and ruf: the totals for rua_vendors and ruf_vendors."""
    rua_vendors: tuple[Share, ...] = ()
    """Receivers of aggregate reports, by the Organizational Domain of the address."""
    ruf_vendors: tuple[Share, ...] = ()
    third_parties: tuple[Share, ...] = ()
    """Organizations of passing signatures that are not the author's."""
    discoveries: tuple[Share, ...] = ()
    differing: tuple[DifferingDomain, ...] = ()
    steps: tuple[Step, ...] = ()


FAULTY_RECORDS = '%"faulty_records":["%'
"""Matches verdicts.detail with a non-empty list of this key. A sender's text cannot match: JSON escapes quotes."""
COMPARED = '%"other_discovery":{"differs":[%'
DIFFERS = '%"other_discovery":{"differs":["%'
NO_RECORD = "no record that counts"
"""Name for faults by which no record applies: several records at one name, or one that does not begin with v=DMARC1."""

STEPS_TABLE_SQL = "CREATE TEMPORARY TABLE period_steps (moment BIGINT PRIMARY KEY, step INTEGER NOT NULL)"
STEP_SQL = "INSERT INTO period_steps (moment, step) VALUES (:moment, :step)"
POLICIES_TABLE_SQL = """
    CREATE TEMPORARY TABLE period_policies (policy_id BIGINT PRIMARY KEY, state TEXT, addresses TEXT, tags TEXT,
        kinds TEXT)"""
POLICIES_SQL = """
    INSERT INTO period_policies (policy_id) SELECT DISTINCT v.policy_id FROM period_verdicts t JOIN verdicts v
        ON v.id = t.verdict_id WHERE v.policy_id IS NOT NULL"""
UNREAD_SQL = """
    SELECT p.id, p.domain, p.record, p.usable, p.rua, p.ruf FROM period_policies x JOIN policies p
        ON p.id = x.policy_id WHERE x.policy_id > :last ORDER BY x.policy_id LIMIT :most"""
CLASSIFIED_SQL = """
    UPDATE period_policies SET state = :state, addresses = :addresses, tags = :tags, kinds = :kinds
    WHERE policy_id = :policy_id"""
VENDORS_TABLE_SQL = """
    CREATE TEMPORARY TABLE period_vendors (policy_id BIGINT NOT NULL, tag TEXT NOT NULL, vendor TEXT NOT NULL,
        PRIMARY KEY (policy_id, tag, vendor))"""
VENDOR_SQL = "INSERT INTO period_vendors (policy_id, tag, vendor) VALUES (:policy_id, :tag, :vendor)"
TABLES = ("period_verdicts", "period_steps", "period_policies", "period_vendors")

VERDICTS_TABLE_SQL = """
    CREATE TEMPORARY TABLE period_verdicts (verdict_id BIGINT PRIMARY KEY, messages BIGINT NOT NULL)"""
VERDICTS_SQL = """
    INSERT INTO period_verdicts (verdict_id, messages) SELECT verdict_id, sum(messages) FROM period
        GROUP BY verdict_id"""
SURVEY_SQL = """
    SELECT a.author_domain, a.policy_id, a.step, a.published, a.messages, a.with_spf, a.faulty_detail,
        x.state, x.addresses, x.tags, x.kinds
    FROM (
        SELECT v.author_domain, coalesce(v.policy_id, 0) AS policy_id, s.step, max(v.published) AS published,
            sum(t.messages) AS messages,
            sum(CASE WHEN v.spf_result IN ('none', 'temperror') THEN 0 ELSE t.messages END) AS with_spf,
            max(CASE WHEN v.policy_id IS NULL AND v.detail LIKE :faulty_records THEN v.detail END) AS faulty_detail
        FROM period t JOIN period_steps s ON s.moment = t.moment JOIN verdicts v ON v.id = t.verdict_id
        WHERE v.author_domain IS NOT NULL AND (v.policy_id IS NOT NULL OR v.dmarc_result = 'none')
        GROUP BY v.author_domain, coalesce(v.policy_id, 0), s.step
    ) a LEFT JOIN period_policies x ON x.policy_id = a.policy_id LEFT JOIN policies p ON p.id = a.policy_id
    ORDER BY a.author_domain, a.policy_id <> 0, p.digest, a.policy_id, a.step"""
"""One row for each Author Domain, policy record and step. Ordered by the records' digests: ids follow from the order in
which outcomes were written."""
SIGNATURES_SQL = """
    SELECT v.author_domain, v.id, v.organizational_domain AS organization, v.dkim_aligned, t.messages,
        n.result, n.domain
    FROM period_verdicts t JOIN verdicts v ON v.id = t.verdict_id LEFT JOIN signatures n ON n.verdict_id = v.id
    WHERE v.author_domain IS NOT NULL AND (v.policy_id IS NOT NULL OR v.dmarc_result = 'none')
        ORDER BY v.author_domain, v.id"""
VENDORS_SQL = """
    SELECT x.vendor AS name, count(DISTINCT v.author_domain) AS domains, sum(t.messages) AS messages
    FROM period_vendors x JOIN verdicts v ON v.policy_id = x.policy_id JOIN period_verdicts t ON t.verdict_id = v.id
    WHERE x.tag = :tag AND v.author_domain IS NOT NULL GROUP BY x.vendor
    ORDER BY count(DISTINCT v.author_domain) DESC, x.vendor LIMIT :top"""
"""Counts all records of the period, not only the main record of each domain."""
REPORTING_SQL = """
    SELECT count(DISTINCT v.author_domain) AS domains, coalesce(sum(t.messages), 0) AS messages
    FROM (SELECT DISTINCT policy_id FROM period_vendors WHERE tag = :tag) x JOIN verdicts v
        ON v.policy_id = x.policy_id JOIN period_verdicts t ON t.verdict_id = v.id
    WHERE v.author_domain IS NOT NULL"""
DISCOVERIES_SQL = """
    SELECT known, count(*) AS domains, sum(messages) AS messages
    FROM (
        SELECT v.author_domain, sum(t.messages) AS messages,
            max(CASE WHEN v.detail LIKE :differs THEN 2 WHEN v.detail LIKE :compared THEN 1 ELSE 0 END) AS known
        FROM period_verdicts t JOIN verdicts v ON v.id = t.verdict_id
        WHERE v.author_domain IS NOT NULL GROUP BY v.author_domain
    ) a GROUP BY known"""
DIFFERING_SQL = """
    SELECT v.author_domain AS domain, sum(t.messages) AS messages, max(v.id) AS verdict_id
    FROM period_verdicts t JOIN verdicts v ON v.id = t.verdict_id
    WHERE v.author_domain IS NOT NULL AND v.detail LIKE :differs
    GROUP BY v.author_domain ORDER BY sum(t.messages) DESC, v.author_domain LIMIT :top"""
DIFFERENCE_SQL = """
    SELECT v.detail, v.organizational_domain, v.dmarc_result, p.domain AS policy_domain
    FROM verdicts v LEFT JOIN policies p ON p.id = v.policy_id WHERE v.id = :verdict_id"""


@dataclass
class _Tally:
    """Counts domains and messages by name."""

    domains: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, messages: int) -> None:
        self.domains[name] += 1
        self.messages[name] += messages
        if len(self.domains) > 2 * MAX_NAMES:
            self._drop_smallest()

    def _drop_smallest(self) -> None:
        kept = [share.name for share in self.largest()[:MAX_NAMES]]
        self.domains = Counter({name: self.domains[name] for name in kept})
        self.messages = Counter({name: self.messages[name] for name in kept})

    def shares(self, names: Iterable[str]) -> tuple[Share, ...]:
        return tuple(Share(name, self.domains[name], self.messages[name]) for name in names)

    def largest(self) -> tuple[Share, ...]:
        return self.shares(sorted(self.domains, key=lambda name: (-self.domains[name], name)))


@dataclass
class _StepTally:
    """The counts of one step of time."""

    domains: int = 0
    messages: int = 0
    types: _Tally = field(default_factory=_Tally)
    policies: _Tally = field(default_factory=_Tally)


@dataclass
class _Tallies:
    """The counts of the whole period."""

    all: _Tally = field(default_factory=_Tally)
    types: _Tally = field(default_factory=_Tally)
    policies: _Tally = field(default_factory=_Tally)
    addresses: _Tally = field(default_factory=_Tally)
    faults: _Tally = field(default_factory=_Tally)
    fault_kinds: _Tally = field(default_factory=_Tally)
    signers: _Tally = field(default_factory=_Tally)
    third_parties: _Tally = field(default_factory=_Tally)


class _Organizations:
    """Organizational Domains by the public suffix list."""

    def __init__(self, suffixes: Suffixes) -> None:
        self.of = lru_cache(maxsize=MAX_CACHED_DOMAINS)(lambda domain: suffixes.organizational_domain(domain) or domain)


UNKNOWN_KIND = "unknown"
"""Kind of a fault in outcomes of versions that did not record it."""
PART_TEXTS: Mapping[str, Mapping[str, str]] = {
    "types": {name: f"{name}: {text}" for name, text in TYPE_TEXTS.items()},
    "fault_kinds": {**FAULT_TEXTS, UNKNOWN_KIND: "no record that counts, kind not recorded"},
    "discoveries": DISCOVERY_TEXTS,
}
"""Labels of the names of shares, by field of Survey."""
SHARE_PARTS = (
    *("types", "policies", "addresses", "reporting", "rua_vendors", "ruf_vendors"),
    *("signers", "third_parties", "faults", "fault_kinds", "discoveries"),
)
"""Fields of Survey that hold shares."""


def survey(connection: DatabaseConnection, steps: Mapping[int, datetime], suffixes: Suffixes, *, top: int) -> Survey:
    """Count the messages in the temporary table `period`. `steps` maps each of its moments to the start of its step."""
    organizations = _Organizations(suffixes)
    tables = (VERDICTS_TABLE_SQL, STEPS_TABLE_SQL, POLICIES_TABLE_SQL, VENDORS_TABLE_SQL)
    for statement in (*tables, VERDICTS_SQL, POLICIES_SQL):
        execute(connection, statement)
    starts = sorted(set(steps.values()))
    numbers = {start: number for number, start in enumerate(starts)}
    execute_many(connection, STEP_SQL, [{"moment": moment, "step": numbers[start]} for moment, start in steps.items()])
    _classify_policies(connection, organizations)
    tallies, by_step = _Tallies(), [_StepTally() for _ in starts]
    records_used = stream(connection, SURVEY_SQL, faulty_records=FAULTY_RECORDS)
    for _, group in groupby(records_used, key=lambda row: row.author_domain):
        _count_records(tallies, by_step, group)
    for author, group in groupby(stream(connection, SIGNATURES_SQL), key=lambda row: row.author_domain):
        _count_signers(tallies, Domain(author), group, organizations)
    result = Survey(
        domains=tallies.all.domains["all"],
        messages=tallies.all.messages["all"],
        types=tallies.types.shares(TYPE_TEXTS),
        policies=tallies.policies.shares(POLICIES),
        addresses=tallies.addresses.shares(("rua and ruf", "rua only", "ruf only", "neither")),
        signers=tallies.signers.shares(SIGNERS),
        faults=tallies.faults.largest(),
        fault_kinds=tallies.fault_kinds.largest(),
        reporting=tuple(_reporting(connection, tag) for tag in ("rua", "ruf")),
        rua_vendors=_vendors(connection, "rua", top),
        ruf_vendors=_vendors(connection, "ruf", top),
        third_parties=tallies.third_parties.largest()[:top],
        discoveries=_discoveries(connection),
        differing=tuple(_differing(connection, top)),
        steps=tuple(map(_step, starts, by_step)),
    )
    for table in TABLES:
        execute(connection, f"DROP TABLE {table}")
    return result


def _step(start: datetime, tally: _StepTally) -> Step:
    types, policies = tally.types.shares(TYPE_TEXTS), tally.policies.shares(POLICIES)
    return Step(start, tally.domains, tally.messages, types, policies)


def _classify_policies(connection: DatabaseConnection, organizations: _Organizations) -> None:
    """Classify the policy records of the period, and keep the results in temporary tables."""
    last = 0
    while unread := rows(connection, UNREAD_SQL, last=last, most=POLICIES_AT_ONCE):
        execute_many(connection, CLASSIFIED_SQL, [_classified(row) for row in unread])
        vendors = [
            {"policy_id": row.id, "tag": tag, "vendor": vendor}
            for row in unread
            for tag in ("rua", "ruf")
            for vendor in _vendors_of(getattr(row, tag), Domain(row.domain), organizations)
        ]
        execute_many(connection, VENDOR_SQL, vendors)
        last = unread[-1].id


class _ClassifiedPolicy(TypedDict):
    """The values that CLASSIFIED_SQL sets."""

    policy_id: int
    state: str
    addresses: str
    tags: str
    kinds: str


def _classified(row: Any) -> _ClassifiedPolicy:
    parsed = records.parse_shown(row.record)
    if parsed is None:
        tags, kinds = {WHOLE_RECORD}, {FaultKind.WRONG_VERSION}
    else:
        faults = [fault for fault in parsed.faults if fault.tag not in DROPPED_TAGS]
        tags, kinds = {_tag(fault.tag) for fault in faults}, {fault.kind for fault in faults}
    faulty = not row.usable or bool(tags - {UNKNOWN_TAG})
    return {
        "policy_id": row.id,
        "state": "faulty" if faulty else "valid",
        "addresses": _addresses(row),
        "tags": ",".join(sorted(tags)),
        "kinds": ",".join(sorted(kinds)),
    }


def _tag(tag: str) -> str:
    if tag == "":
        return WHOLE_RECORD
    return tag if tag in KNOWN_TAGS else UNKNOWN_TAG


def _addresses(row: Any) -> str:
    # Lists in JSON: the empty one is "[]".
    has_rua, has_ruf = row.rua != "[]", row.ruf != "[]"
    if has_rua:
        return "rua and ruf" if has_ruf else "rua only"
    return "ruf only" if has_ruf else "neither"


def _vendors_of(uris: str, policy_domain: Domain, organizations: _Organizations) -> set[str]:
    """The organizations that receive reports at these addresses (a JSON list)."""
    return {_vendor(str(uri), policy_domain, organizations) for uri in json.loads(uris) or ()}


def _vendor(uri: str, policy_domain: Domain, organizations: _Organizations) -> str:
    scheme, _, address = uri.partition(":")
    if scheme.lower() != "mailto":
        return NOT_MAIL
    host = domains.parse(unquote(address.partition("?")[0].rpartition("@")[2]).strip())
    if host is None:
        return NO_DOMAIN
    vendor = organizations.of(host)
    return OWN_ORGANIZATION if vendor == organizations.of(policy_domain) else vendor


@dataclass
class _AuthorRecords:
    """The policy records of one Author Domain in the period. Of several, the one that most messages had counts.

    Of records that equally many messages had, the one with the largest digest counts, whichever came first.
    """

    messages: int = 0
    with_spf: int = 0
    main: Any = None
    main_messages: int = 0

    def add(self, row: Any, messages: int) -> None:
        """Add the record of this row, which `messages` had. Rows must come in the order of SURVEY_SQL."""
        if messages >= self.main_messages:
            self.main, self.main_messages = row, messages

    @property
    def state(self) -> str:
        if self.main.state is not None:
            return str(self.main.state)
        return "absent" if self.main.faulty_detail is None else "faulty"

    @property
    def type(self) -> str:
        return TYPES[self.state, bool(self.with_spf)]


def _count_records(tallies: _Tallies, by_step: list[_StepTally], group: Iterable[Any]) -> None:
    """Count one Author Domain, whose rows are `group`."""
    whole, steps = _AuthorRecords(), dict[int, _AuthorRecords]()
    for _, same_policy in groupby(group, key=lambda row: row.policy_id):
        messages_of_policy, last = 0, None
        for row in same_policy:
            messages = int(row.messages)
            messages_of_policy += messages
            # Prefer a row that has the faulty record.
            last = row if last is None or last.faulty_detail is None else last
            step = steps.setdefault(row.step, _AuthorRecords())
            step.add(row, messages)
            for part in (step, whole):
                part.messages += messages
                part.with_spf += int(row.with_spf)
        whole.add(last, messages_of_policy)
    _count_whole(tallies, whole)
    for number, part in steps.items():
        tally = by_step[number]
        tally.domains += 1
        tally.messages += part.messages
        tally.types.add(part.type, part.messages)
        if part.main.published:
            tally.policies.add(part.main.published, part.messages)


def _count_whole(tallies: _Tallies, author: _AuthorRecords) -> None:
    main = author.main
    tallies.all.add("all", author.messages)
    tallies.types.add(author.type, author.messages)
    if main.state is None:
        if main.faulty_detail is not None:
            tallies.faults.add(NO_RECORD, author.messages)
            for kind in _kinds_recorded(main.faulty_detail):
                tallies.fault_kinds.add(kind, author.messages)
        return
    tallies.addresses.add(main.addresses, author.messages)
    if main.published:
        tallies.policies.add(main.published, author.messages)
    for tag in filter(None, main.tags.split(",")):
        tallies.faults.add(tag, author.messages)
    for kind in filter(None, main.kinds.split(",")):
        tallies.fault_kinds.add(kind, author.messages)


def _kinds_recorded(detail: str) -> set[str]:
    kinds = json.loads(detail).get("record_faults") or [UNKNOWN_KIND]
    return {kind if kind in set(FaultKind) else UNKNOWN_KIND for kind in kinds}


def _count_signers(tallies: _Tallies, author: Domain, group: Iterable[Any], organizations: _Organizations) -> None:
    """Count the best signature of one Author Domain, and the other organizations that signed its messages."""
    best_of_all = 0
    third_parties: Counter[str] = Counter()
    for _, signatures in groupby(group, key=lambda row: row.id):
        best, signers = 0, set[str]()
        for row in signatures:
            rank, third_party = _signer(row, author, organizations)
            best = max(best, rank)
            is_counted = third_party in third_parties or len(third_parties) + len(signers) < MAX_SIGNERS
            if third_party and is_counted:
                signers.add(third_party)
        messages = int(row.messages)
        tallies.signers.messages[SIGNERS[best]] += messages
        third_parties.update(dict.fromkeys(signers, messages))
        best_of_all = max(best_of_all, best)
    tallies.signers.domains[SIGNERS[best_of_all]] += 1
    for name, messages in third_parties.items():
        tallies.third_parties.add(name, messages)


def _signer(row: Any, author: Domain, organizations: _Organizations) -> tuple[int, str]:
    """The index in SIGNERS, and the organization of a passing signature if it is not the author's own."""
    if row.result is None:
        return 0, ""
    if row.result != "pass" or row.domain is None:
        return 1, ""
    signer = Domain(row.domain)
    organization = organizations.of(signer)
    own = organization == organizations.of(author) or (row.organization and is_within(signer, row.organization))
    if own:
        return 3, ""
    return (3 if row.dkim_aligned else 2), organization


def _reporting(connection: DatabaseConnection, tag: str) -> Share:
    counted = rows(connection, REPORTING_SQL, tag=tag)[0]
    return Share(tag, int(counted.domains), int(counted.messages))


def _vendors(connection: DatabaseConnection, tag: str, top: int) -> tuple[Share, ...]:
    counted = rows(connection, VENDORS_SQL, tag=tag, top=top)
    return tuple(Share(row.name, int(row.domains), int(row.messages)) for row in counted)


def _discoveries(connection: DatabaseConnection) -> tuple[Share, ...]:
    by_number = {row.known: row for row in rows(connection, DISCOVERIES_SQL, differs=DIFFERS, compared=COMPARED)}
    return tuple(
        Share(name, int(by_number[number].domains), int(by_number[number].messages))
        if number in by_number
        else Share(name, 0, 0)
        for name, number in zip(DISCOVERIES, (1, 2, 0), strict=True)
    )


def _differing(connection: DatabaseConnection, top: int) -> Iterator[DifferingDomain]:
    for row in rows(connection, DIFFERING_SQL, differs=DIFFERS, top=top):
        ours = rows(connection, DIFFERENCE_SQL, verdict_id=row.verdict_id)[0]
        other = json.loads(ours.detail)["other_discovery"]
        yield DifferingDomain(
            domain=row.domain,
            messages=int(row.messages),
            differs=" ".join(map(str, other["differs"])),
            method="treewalk" if other.get("method") == "psl" else "psl",
            policy_domain=ours.policy_domain or "",
            organizational_domain=ours.organizational_domain or "",
            result=ours.dmarc_result,
            other_policy_domain=other.get("policy_domain") or "",
            other_organizational_domain=other.get("organizational_domain") or "",
            other_result=other.get("result") or "",
        )
