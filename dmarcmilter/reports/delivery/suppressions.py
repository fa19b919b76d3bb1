"""Table report_suppressions: which addresses get no reports about which organization for now."""

from itertools import groupby
from typing import Any

from dmarcmilter.history.store import Store
from dmarcmilter.reports.delivery.deliveries_table import DAY_SECONDS, MAX_DETAIL, Deliveries
from dmarcmilter.value import Value, replace

FIRST_SECONDS = 7 * DAY_SECONDS
"""Seconds that reports about an organization are suppressed after their address was refused at RCPT, or one bounced.
Each further refusal doubles it. After a refusal of the message they are suppressed for a day.
"""
LONGEST_SECONDS = 180 * DAY_SECONDS
"""Longest suppression, in seconds; further refusals do not extend it."""
LATEST_SECONDS = LONGEST_SECONDS + DAY_SECONDS
"""A suppression that ends later than this from now was written by a wrong clock, and does not count."""
REFUSING_ORGANIZATIONS = 5
"""Organizations about which reports must have been refused at RCPT before the address gets no reports at all."""
MAX_DOUBLINGS = 16
"""Refusals beyond this number do not lengthen a suppression further; LONGEST_SECONDS is reached long before."""


class Suppression(Value):
    """An address that gets no reports for now."""

    address: str
    organization: str
    """About which organization reports are suppressed; empty: about all."""
    until: int
    """Seconds since 1970."""
    failures: int
    """Refusals and bounces that count."""
    detail: str
    """The last refusal."""
    at_rcpt: bool = False
    """Whether the server refused the address, and not the message."""


_ACTIVE = """
    SELECT address, organization, until, failures, detail, at_rcpt FROM report_suppressions
    WHERE until > :now AND until <= :latest ORDER BY address, organization"""
_ACTIVE_OF_ADDRESS = """
    SELECT address, organization, until, failures, detail, at_rcpt FROM report_suppressions
    WHERE address = :address AND until > :now AND until <= :latest ORDER BY organization"""
_SET = """
    INSERT INTO report_suppressions (organization, address, failures, failed, until, at_rcpt, detail)
    VALUES (:organization, :address, :failures, :now, :until, :at_rcpt, :detail)
    ON CONFLICT (organization, address) DO UPDATE SET failures = excluded.failures, failed = excluded.failed,
        until = excluded.until, at_rcpt = excluded.at_rcpt, detail = excluded.detail"""
_FAILURES = """
    SELECT failures, failed, until FROM report_suppressions
    WHERE organization = :organization AND address = :address"""
_REFUSING_AT_RCPT = "SELECT DISTINCT address FROM report_suppressions WHERE at_rcpt = 1"
_CLEAR_AT_RCPT = "UPDATE report_suppressions SET at_rcpt = 0 WHERE address = :address AND at_rcpt = 1"
_DELETE = "DELETE FROM report_suppressions WHERE address = :address"
_PRUNE = "DELETE FROM report_suppressions WHERE until + failures * (until - failed) < :now OR until > :latest"


class Suppressions:
    """Addresses that refused reports. Each method is one transaction.

    A refusal counts for the organization that the refused report was about: a sender can provoke refusals of the
    reports about itself, and must not silence the address for everyone else that way. Only refusals at RCPT, which no
    report can provoke, of reports about several organizations suppress the whole address.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._refusing: set[str] | None = None
        """Addresses that were refused at RCPT; None until they are read."""

    def add_refusal(self, organization: str, address: str, now: int, detail: str, *, at_rcpt: bool) -> int:
        """Record a permanent refusal; returns until when reports about the organization are suppressed."""
        first = FIRST_SECONDS if at_rcpt else DAY_SECONDS
        return self._add(organization, address, now, detail, first=first, at_rcpt=at_rcpt)

    def add_bounce(self, organization: str, address: str, now: int) -> int:
        """Record a bounce; returns the same. A receiver of the report can forge bounces, so they never count for
        the whole address.
        """
        return self._add(organization, address, now, "a bounce came back", first=FIRST_SECONDS, at_rcpt=False)

    def record_acceptance(self, address: str) -> None:
        """The address was accepted: earlier refusals at RCPT no longer count for the whole address."""
        if self._refusing is None:
            self._refusing = {row.address for row in self._store.query(_REFUSING_AT_RCPT)}
        if address in self._refusing:
            self._refusing.remove(address)
            self._store.change(_CLEAR_AT_RCPT, address=address)

    def get(self, organization: str, address: str, now: int) -> Suppression | None:
        """Why reports about this organization to this address wait; None if they do not."""
        active = _suppressions(
            self._store.query(_ACTIVE_OF_ADDRESS, address=address, now=now, latest=now + LATEST_SECONDS)
        )
        own = [suppression for suppression in active if suppression.organization == organization]
        return own[0] if own else _of_whole_address(active)

    def all(self, now: int) -> list[Suppression]:
        """All that are in force, those of whole addresses first."""
        active = _suppressions(self._store.query(_ACTIVE, now=now, latest=now + LATEST_SECONDS))
        by_address = groupby(active, key=lambda suppression: suppression.address)
        whole = [suppression for _, group in by_address if (suppression := _of_whole_address(list(group)))]
        return [*whole, *active]

    def remove(self, address: str) -> bool:
        """End the suppressions of an address; False if there were none."""
        return self._store.change(_DELETE, address=address) > 0

    def prune(self, now: int) -> None:
        """Delete suppressions none of whose refusals count any more (see _failures), and those of wrong clocks."""
        self._store.change(_PRUNE, now=now, latest=now + LATEST_SECONDS)

    def _add(self, organization: str, address: str, now: int, detail: str, *, first: int, at_rcpt: bool) -> int:
        before = self._failures(organization, address, now)
        if at_rcpt and self._refusing is not None:
            self._refusing.add(address)
        until = now + min(first << min(before, MAX_DOUBLINGS), LONGEST_SECONDS)
        self._store.change(
            _SET,
            organization=organization,
            address=address,
            failures=before + 1,
            now=now,
            until=until,
            at_rcpt=int(at_rcpt),
            detail=detail[:MAX_DETAIL],
        )
        return until

    def _failures(self, organization: str, address: str, now: int) -> int:
        """Refusals that still count: one less each time that the length of the last suppression passed again since its
        end without another refusal.
        """
        for row in self._store.query(_FAILURES, organization=organization, address=address):
            quiet, length = now - int(row.until), max(int(row.until) - int(row.failed), 1)
            return max(0, int(row.failures) - max(0, quiet) // length)
        return 0


def _suppressions(active: list[Any]) -> list[Suppression]:
    return [Suppression(**row._asdict() | {"at_rcpt": bool(row.at_rcpt)}) for row in active]


def _of_whole_address(suppressions: list[Suppression]) -> Suppression | None:
    """The suppression of the whole address that the suppressions of one address amount to, if any."""
    at_rcpt = sorted(
        (suppression for suppression in suppressions if suppression.at_rcpt), key=lambda suppression: suppression.until
    )
    if len(at_rcpt) < REFUSING_ORGANIZATIONS:
        return None
    # It ends when fewer than REFUSING_ORGANIZATIONS are left.
    last = at_rcpt[len(at_rcpt) - REFUSING_ORGANIZATIONS]
    return replace(last, organization="", failures=sum(suppression.failures for suppression in at_rcpt))


def record_bounce(deliveries: Deliveries, suppressions: Suppressions, token: str, now: int) -> str:
    """Record a bounce that came to the bounce address with this token; returns the address that bounced, or "" for an
    unknown token.
    """
    delivery, counts = deliveries.mark_bounced(token, now)
    if delivery is None:
        return ""
    if counts:
        suppressions.add_bounce(delivery.organization, delivery.address, now)
    return delivery.address
