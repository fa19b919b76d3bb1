"""From the spool's incidents to failure reports, within the limits (RFC 9991 2 and 8.1).

One report of a kind an hour; what comes meanwhile waits in the spool and is counted in the next (Incidents). What is
beyond the limits of a policy domain or of all waits too, and is dropped after a day: the aggregate report counts it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from dmarcmilter.lookup import Status
from dmarcmilter.reports.book import PlannedFailure
from dmarcmilter.reports.destinations import MAX_DESTINATIONS, excluded
from dmarcmilter.reports.failure import Incident, kind
from dmarcmilter.reports.failuremail import compose
from dmarcmilter.reports.ledger import Ledger
from dmarcmilter.reports.planning import submitter_of
from dmarcmilter.reports.sending import HOUR, World, sender_of
from dmarcmilter.reports.spool import Entry, Spool
from dmarcmilter.settings import Reports

MAX_AGE = timedelta(days=1)
"""Of an incident: RFC 9991 3 means failure reports to be quick."""
MAX_SPF_RECORDS = 3
"""Shown: there should be one."""


class Fate(StrEnum):
    """What becomes of an incident."""

    REPORT = "report"
    WAIT = "wait"
    DROP = "drop"
    DONE = "done"
    """A report was made, by a run that ended before it could say so."""


@dataclass(frozen=True, slots=True)
class Judged:
    fate: Fate
    reason: str = ""


class Lately:
    """What was reported within the hour: read once a run, and added to."""

    def __init__(self, ledger: Ledger, now: int) -> None:
        found = ledger.failures_since(now - HOUR)
        self._kinds = {digest for _, digest in found}
        self._domains = Counter(domain for domain, _ in found)

    def add(self, domain: str, digest: str) -> None:
        self._kinds.add(digest)
        self._domains[domain] += 1

    def full(self, domain: str, digest: str, settings: Reports) -> str:
        """The limit that is reached; empty: none."""
        if digest in self._kinds:
            return "one like it was reported within the hour"
        if self._domains[domain] >= settings.failure.max_per_domain:
            return "its policy domain has had its reports of the hour"
        if self._domains.total() >= settings.failure.max_per_hour:
            return "the reports of the hour are made"
        return ""


class Merging:
    def __init__(self, spool: Spool, ledger: Ledger, settings: Reports, world: World) -> None:
        self._spool = spool
        self._ledger = ledger
        self._settings = settings
        self._world = world

    def judged(self, now: int) -> Iterator[tuple[Entry, Judged]]:
        """Each incident and what becomes of it; a report that is made of one counts for those that follow."""
        lately = Lately(self._ledger, now)
        for entry in self._spool.entries():
            if not isinstance(entry, Entry):
                continue
            found = self._judge(entry.incident, lately, now)
            if found.fate is Fate.REPORT:
                outcome = entry.incident.outcome
                lately.add(outcome["policy"]["domain"], kind(outcome))
            yield entry, found

    def _judge(self, incident: Incident, lately: Lately, now: int) -> Judged:
        domain = incident.outcome["policy"]["domain"]
        if self._ledger.is_known(incident.id):
            return Judged(Fate.DONE)
        if datetime.fromtimestamp(now, UTC) - datetime.fromisoformat(incident.outcome["time"]) > MAX_AGE:
            return Judged(Fate.DROP, "it waited for a day")
        entry = excluded(domain, f"x@{domain}", self._settings.exclude)
        if entry:
            return Judged(Fate.DROP, f"{entry} is excluded")
        if self._settings.only_authenticated and not self._ledger.is_authenticated(domain):
            return Judged(Fate.DROP, "no authenticated mail came from it")
        reason = lately.full(domain, kind(incident.outcome), self._settings)
        return Judged(Fate.WAIT, reason) if reason else Judged(Fate.REPORT)

    def planned(self, incident: Incident, now: int) -> PlannedFailure:
        outcome, shape = incident.outcome, self._settings.shape
        whole = replace(incident, spf_records=self._spf_records(incident))
        return PlannedFailure(
            report_id=incident.id,
            domain=outcome["policy"]["domain"],
            day=datetime.fromtimestamp(now, UTC).date(),
            digest=kind(outcome),
            shape=shape,
            submitter=submitter_of(self._settings),
            incidents=incident.count,
            record=outcome["policy"]["record"],
            content=compose(whole, sender_of(self._settings), shape),
            uris=tuple(outcome["policy"]["ruf"][:MAX_DESTINATIONS]),
        )

    def _spf_records(self, incident: Incident) -> list[tuple[str, str]]:
        """As they are now, within the hour of the message: the filter keeps the result, and not the record."""
        spf = incident.outcome["spf"]
        if not spf["domain"] or spf["result"] in {"pass", "none"}:
            return []
        with self._world.lookups() as lookup:
            answer = lookup(spf["domain"], "TXT")
        if answer.status is not Status.FOUND:
            return []
        texts = [text.decode("latin-1") for text in answer.texts if text.lower().startswith(b"v=spf1")]
        return [(spf["domain"], text) for text in texts[:MAX_SPF_RECORDS]]
