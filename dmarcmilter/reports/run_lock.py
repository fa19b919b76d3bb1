"""Table report_lock: only one report run at a time, on all machines that share the database."""

import os
import socket

from dmarcmilter.history.store import Store
from dmarcmilter.reports.delivery.deliveries_table import CLOCK_SKEW_SECONDS

LEASE_SECONDS = 900
"""Seconds after which a lock that was not renewed is free. Longer than any single delivery may take."""
RENEW_SECONDS = 30
"""Seconds between two renewals. The lock still holds if the longest delivery begins just before the next one."""

# A lease that ends later than :latest was taken under a wrong clock.
_TAKE = """
    INSERT INTO report_lock (name, holder, until) VALUES ('run', :holder, :until)
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE report_lock.until < :now OR report_lock.until > :latest OR report_lock.holder = :holder"""
_TAKE_FROM = """
    UPDATE report_lock SET holder = :holder, until = :until WHERE name = 'run' AND holder = :previous"""


class RunLock:
    """A lease on the report tables, renewed while the run works."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._renewed = 0

    def take(self, now: int, holder: str = "") -> bool:
        """Take the lock; False if another run holds it.

        The lock of a run that was killed is taken over: at once if it ran on this machine, else when its lease ends.
        """
        new_holder = holder or _this_process()
        latest = now + LEASE_SECONDS + CLOCK_SKEW_SECONDS
        taken = self._store.change(_TAKE, holder=new_holder, until=now + LEASE_SECONDS, now=now, latest=latest)
        return taken > 0 or self._take_from_ended_process(new_holder, now)

    def renew(self, now: int) -> None:
        """Extend the lease. Cheap enough to call for each message: it writes only every RENEW_SECONDS."""
        if now >= self._renewed + RENEW_SECONDS:
            self._renewed = now
            self._store.change("UPDATE report_lock SET until = :until WHERE name = 'run'", until=now + LEASE_SECONDS)

    def release(self) -> None:
        """End the lease."""
        self._store.change("DELETE FROM report_lock WHERE name = 'run'")

    def _take_from_ended_process(self, new_holder: str, now: int) -> bool:
        for row in self._store.query("SELECT holder FROM report_lock WHERE name = 'run'"):
            host, _, process = row.holder.rpartition(" ")
            if host == socket.gethostname() and not _is_running(int(process)):
                until = now + LEASE_SECONDS
                return self._store.change(_TAKE_FROM, holder=new_holder, until=until, previous=row.holder) > 0
        return False


def _this_process() -> str:
    return f"{socket.gethostname()} {os.getpid()}"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
