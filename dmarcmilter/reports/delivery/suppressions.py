"""Suppressions of addresses that refuse reports, the lock of the one run at a time, and the upkeep of the tables."""

import os
import socket
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from dmarcmilter.history.store import Store
from dmarcmilter.reports.delivery.ledger import SKEW, Ledger
from dmarcmilter.reports.delivery.report_tables import Book, Kind

DAY = 86_400
FIRST_PAUSE = 7 * DAY
"""Seconds that reports about an organization wait after their address was refused, or one bounced. Each further
refusal doubles it. After a message was refused, and not the address, they wait for a day.
"""
LONGEST_PAUSE = 180 * DAY
LATEST = LONGEST_PAUSE + DAY
"""Seconds from now: a suppression that ends later does not count."""
ORGANIZATIONS = 5
"""Organizations about which reports must have been refused at RCPT before the address gets none about any."""
MAX_DETAIL = 300
"""Characters of another server's words that are remembered."""
LEASE = 900
"""Seconds that a run holds the lock without a sign of life: longer than any one delivery may take."""


REFRESH_SECONDS = 30
"""Between two signs of life: the longest delivery may follow the last of them, and the lease still holds."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A suppression."""

    address: str
    organization: str
    """Which organization's reports wait; empty: those of all."""
    until: int
    failures: int
    detail: str
    at_rcpt: bool = False


@dataclass(frozen=True, slots=True)
class FailureLine:
    """Of a failure report and one of its addresses, for people."""

    id: str
    created: int
    domain: str
    incidents: int
    target: str
    state: str


class Standing(Book):
    """Suppressions: which addresses get no reports about which organization for now.

    A refusal counts for the organization that the refused report was about: a sender can cause refusals of his own
    reports, and must not silence the address for all others by it. Only refusals at RCPT, which no report can provoke,
    of reports about several organizations count for the whole address.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._refusing: set[str] | None = None
        """Addresses that were refused at RCPT; None: not asked for yet."""

    def refused(self, organization: str, address: str, now: int, detail: str, *, at_rcpt: bool) -> int:
        """Remember that address or message were refused for good; until when no report about it goes there."""
        return self._add(organization, address, now, detail, first=FIRST_PAUSE if at_rcpt else DAY, at_rcpt=at_rcpt)

    def bounced(self, organization: str, address: str, now: int) -> int:
        """The same of a bounce. It may be forged by who got the report, so it never counts for the whole address."""
        return self._add(organization, address, now, "a bounce came back", first=FIRST_PAUSE, at_rcpt=False)

    def accepted(self, address: str) -> None:
        """The address was not refused: earlier refusals at RCPT say nothing about the whole address any more."""
        if self._refusing is None:
            found = self._all("SELECT DISTINCT address FROM report_suppressions WHERE at_rcpt = 1")
            self._refusing = {row.address for row in found}
        if address in self._refusing:
            self._refusing.remove(address)
            self._change("UPDATE report_suppressions SET at_rcpt = 0 WHERE address = :a AND at_rcpt = 1", a=address)

    def pause(self, organization: str, address: str, now: int) -> Pause | None:
        """Why reports about this organization wait; None: they do not."""
        pauses = self._active("address = :a", now, a=address)
        own = [pause for pause in pauses if pause.organization == organization]
        return own[0] if own else _of_whole_address(pauses)

    def pauses(self, now: int) -> list[Pause]:
        """All of them, those of whole addresses first."""
        pauses = self._active("1 = 1", now)
        by_address = groupby(pauses, key=lambda pause: pause.address)
        whole = [pause for _, some in by_address if (pause := _of_whole_address(list(some)))]
        return [*whole, *pauses]

    def clear(self, address: str) -> bool:
        return self._change("DELETE FROM report_suppressions WHERE address = :a", a=address) > 0

    def prune(self, now: int) -> None:
        """Forget what does not count any more: see _failures."""
        self._change(
            "DELETE FROM report_suppressions WHERE until + failures * (until - failed) < :now OR until > :latest",
            now=now, latest=now + LATEST,
        )  # fmt: skip

    def _active(self, condition: str, now: int, **values: Any) -> list[Pause]:
        """A suppression that ends later than any could was made by a clock that was wrong."""
        sql = f"""SELECT * FROM report_suppressions WHERE {condition} AND until > :now AND until <= :latest
            ORDER BY address, organization"""  # noqa: S608  conditions of this class
        return [
            Pause(row.address, row.organization, row.until, row.failures, row.detail, bool(row.at_rcpt))
            for row in self._all(sql, now=now, latest=now + LATEST, **values)
        ]

    def _add(self, organization: str, address: str, now: int, detail: str, *, first: int, at_rcpt: bool) -> int:
        before = self._failures(organization, address, now)
        if at_rcpt and self._refusing is not None:
            self._refusing.add(address)
        until = now + min(first << min(before, 16), LONGEST_PAUSE)
        self._change(
            "INSERT INTO report_suppressions (organization, address, failures, failed, until, at_rcpt, detail) "
            "VALUES (:o, :a, :failures, :now, :until, :at_rcpt, :detail) ON CONFLICT (organization, address) "
            "DO UPDATE SET failures = excluded.failures, failed = excluded.failed, until = excluded.until, "
            "at_rcpt = excluded.at_rcpt, detail = excluded.detail",
            o=organization, a=address, failures=before + 1, now=now, until=until, at_rcpt=int(at_rcpt),
            detail=detail[:MAX_DETAIL],
        )  # fmt: skip
        return until

    def _failures(self, organization: str, address: str, now: int) -> int:
        """Refusals that still count: one less for each time that the last pause passed again without another."""
        sql = "SELECT * FROM report_suppressions WHERE organization = :o AND address = :a"
        for row in self._all(sql, o=organization, a=address):
            quiet, length = now - int(row.until), max(int(row.until) - int(row.failed), 1)
            return max(0, int(row.failures) - max(0, quiet) // length)
        return 0


def _of_whole_address(pauses: list[Pause]) -> Pause | None:
    """The suppression of the whole address that these of one address come to."""
    at_rcpt = sorted((pause for pause in pauses if pause.at_rcpt), key=lambda pause: pause.until)
    if len(at_rcpt) < ORGANIZATIONS:
        return None
    # It ends when fewer than that many are left.
    last = at_rcpt[len(at_rcpt) - ORGANIZATIONS]
    return replace(last, organization="", failures=sum(pause.failures for pause in at_rcpt))


def bounced(ledger: Ledger, standing: Standing, token: str, now: int) -> str:
    """A bounce came back to the address that only this delivery was sent from; the address, or nothing if unknown."""
    delivery, counts = ledger.bounce(token, now)
    if delivery is None:
        return ""
    if counts:
        standing.bounced(delivery.organization, delivery.address, now)
    return delivery.address


class Lock(Book):
    """One run at a time, on whatever machine."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._refreshed = 0

    def take(self, now: int, holder: str = "") -> bool:
        """False: another run holds it. One that ended without a word is known by its process, or by the lease.

        A lease that ends later than any can was taken by a clock that was wrong.
        """
        mine = holder or _myself()
        taken = self._change(
            "INSERT INTO report_lock (name, holder, until) VALUES ('run', :mine, :until) ON CONFLICT (name) DO UPDATE "
            "SET holder = excluded.holder, until = excluded.until WHERE report_lock.until < :now "
            "OR report_lock.until > :latest OR report_lock.holder = :mine",
            mine=mine, until=now + LEASE, now=now, latest=now + LEASE + SKEW,
        )  # fmt: skip
        return taken > 0 or self._take_from_the_dead(mine, now)

    def refresh(self, now: int) -> None:
        """Called often; written now and then."""
        if now >= self._refreshed + REFRESH_SECONDS:
            self._refreshed = now
            self._change("UPDATE report_lock SET until = :until WHERE name = 'run'", until=now + LEASE)

    def leave(self) -> None:
        self._change("DELETE FROM report_lock WHERE name = 'run'")

    def _take_from_the_dead(self, mine: str, now: int) -> bool:
        for row in self._all("SELECT holder FROM report_lock WHERE name = 'run'"):
            host, _, process = row.holder.rpartition(" ")
            if host == socket.gethostname() and not _lives(int(process)):
                sql = "UPDATE report_lock SET holder = :mine, until = :until WHERE name = 'run' AND holder = :theirs"
                return self._change(sql, mine=mine, until=now + LEASE, theirs=row.holder) > 0
        return False


def _myself() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


class Upkeep(Book):
    """Forgets what no run needs any more, and counts what is there."""

    def prune(self, *, reported_before: int, sent_before: int, made_before: int = 0) -> None:
        """`reported_before`: days (YYYYMMDD) that are looked at no more; the others: seconds since 1970."""
        self._change(
            "DELETE FROM report_sources WHERE report IN (SELECT id FROM reports WHERE day < :day)", day=reported_before
        )
        self._change(
            "UPDATE reports SET content = NULL WHERE content IS NOT NULL AND created < :then AND NOT EXISTS "
            "(SELECT 1 FROM report_deliveries d WHERE d.report = reports.id "
            "AND d.state IN ('unverified', 'pending', 'sending'))",
            then=sent_before,
        )
        self._change("DELETE FROM report_withheld WHERE day < :day", day=reported_before)
        self._change(
            "DELETE FROM report_deliveries WHERE report IN (SELECT id FROM reports WHERE created < :then)",
            then=made_before,
        )
        self._change("DELETE FROM reports WHERE created < :then", then=made_before)

    def counts(self, kind: Kind = Kind.AGGREGATE) -> dict[str, int]:
        """Deliveries by state."""
        rows = self._all(
            "SELECT d.state, count(*) AS n FROM report_deliveries d JOIN reports r ON r.id = d.report "
            "WHERE r.kind = :kind GROUP BY d.state",
            kind=str(kind),
        )
        return {row.state: row.n for row in rows}

    def recent_days(self, limit: int = 7) -> list[tuple[int, int, int]]:
        """(day, reports, messages), newest first."""
        rows = self._all(
            "SELECT d.day, count(r.id) AS n, coalesce(sum(r.messages), 0) AS m FROM report_days d "
            "LEFT JOIN reports r ON r.day = d.day AND r.kind = 'aggregate' "
            "GROUP BY d.day ORDER BY d.day DESC LIMIT :limit",
            limit=limit,
        )
        return [(row.day, row.n, int(row.m)) for row in rows]

    def failures(self, limit: int) -> list[FailureLine]:
        """One line for each address of a failure report, newest first."""
        rows = self._all(
            "SELECT r.report_id AS id, r.created, r.domain, r.messages AS incidents, "
            "coalesce(d.address, d.uri) AS target, d.state FROM reports r JOIN report_deliveries d ON d.report = r.id "
            "WHERE r.kind = 'failure' ORDER BY r.id DESC, d.id LIMIT :limit",
            limit=limit,
        )
        return [FailureLine(**row._asdict()) for row in rows]

    def failure(self, report_id: str) -> bytes | None:
        """The message but for To and Date."""
        rows = self._all("SELECT content FROM reports WHERE report_id = :id AND kind = 'failure'", id=report_id)
        return bytes(rows[0].content) if rows and rows[0].content is not None else None

    def troubles(self, limit: int = 20) -> list[tuple[str, str, str, str]]:
        """(policy domain, address or URI, state, why), newest first."""
        rows = self._all(
            "SELECT r.domain, coalesce(d.address, d.uri) AS target, d.state, d.detail FROM report_deliveries d "
            "JOIN reports r ON r.id = d.report WHERE d.detail <> '' AND d.state <> 'sent' "
            "ORDER BY d.changed DESC, d.id DESC LIMIT :limit",
            limit=limit,
        )
        return [(row.domain, row.target, row.state, row.detail) for row in rows]
