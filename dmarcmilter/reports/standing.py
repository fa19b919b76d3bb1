"""What keeps reports from doing harm and from being made twice: addresses that refuse them, the one run at a time."""

import os
import socket
from dataclasses import dataclass

from dmarcmilter.history.store import Store
from dmarcmilter.reports.book import Book, Kind, State
from dmarcmilter.reports.ledger import Ledger

DAY = 86_400
FIRST_PAUSE = 7 * DAY
"""An address that said no is left alone for so long; each further no doubles it."""
LONGEST_PAUSE = 180 * DAY
FORGOTTEN_AFTER = 365 * DAY
"""A refusal older than this does not count when the next one comes."""
LEASE = 900
"""Seconds that a run holds the lock without a sign of life: longer than any one delivery may take."""


REFRESH_SECONDS = 30
"""Between two signs of life: the longest delivery may follow the last of them, and the lease still holds."""


@dataclass(frozen=True, slots=True)
class Pause:
    address: str
    until: int
    failures: int
    detail: str


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
    """Addresses that reports are not sent to for now."""

    def failed(self, address: str, now: int, detail: str) -> int:
        """Remember a permanent refusal or a bounce; until when the address is left alone."""
        found = self._all("SELECT failures, failed FROM report_addresses WHERE address = :a", a=address)
        before = found[0].failures if found and found[0].failed > now - FORGOTTEN_AFTER else 0
        until = now + min(FIRST_PAUSE << min(before, 16), LONGEST_PAUSE)
        self._change(
            "INSERT INTO report_addresses (address, failures, failed, until, detail) "
            "VALUES (:a, :failures, :now, :until, :detail) ON CONFLICT (address) DO UPDATE SET "
            "failures = excluded.failures, failed = excluded.failed, until = excluded.until, detail = excluded.detail",
            a=address, failures=before + 1, now=now, until=until, detail=detail[:300],
        )  # fmt: skip
        return until

    def pause(self, address: str, now: int) -> Pause | None:
        found = self._all("SELECT * FROM report_addresses WHERE address = :a AND until > :now", a=address, now=now)
        return Pause(found[0].address, found[0].until, found[0].failures, found[0].detail) if found else None

    def pauses(self, now: int) -> list[Pause]:
        found = self._all("SELECT * FROM report_addresses WHERE until > :now ORDER BY address", now=now)
        return [Pause(row.address, row.until, row.failures, row.detail) for row in found]

    def clear(self, address: str) -> bool:
        return self._change("DELETE FROM report_addresses WHERE address = :a", a=address) > 0


def bounced(ledger: Ledger, standing: Standing, token: str, now: int) -> str:
    """A bounce came back to the address that only this delivery was sent from; the address, or nothing if unknown."""
    delivery = ledger.by_token(token)
    if delivery is None:
        return ""
    ledger.set_state(delivery, State.BOUNCED, now, "a bounce came back")
    standing.failed(delivery.address, now, "a bounce came back")
    return delivery.address


class Lock(Book):
    """One run at a time, on whatever machine."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._refreshed = 0

    def take(self, now: int, holder: str = "") -> bool:
        """False: another run holds it. One that ended without a word is known by its process, or by the lease."""
        mine = holder or _myself()
        taken = self._change(
            "INSERT INTO report_lock (name, holder, until) VALUES ('run', :mine, :until) ON CONFLICT (name) DO UPDATE "
            "SET holder = excluded.holder, until = excluded.until WHERE report_lock.until < :now "
            "OR report_lock.holder = :mine",
            mine=mine, until=now + LEASE, now=now,
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
