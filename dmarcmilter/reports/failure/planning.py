"""From the spool's incidents to failure reports, within the limits (RFC 9991 2 and 8.1).

One report of a kind an hour; what comes meanwhile waits in the spool and is counted in the next (Incidents). What is
beyond the limits of an organization or of all waits too, and is dropped after a day: the aggregate report counts it.
Organizations take turns.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from dmarcmilter.config.schema import Reports
from dmarcmilter.dns.lookup import Status
from dmarcmilter.reports.aggregate.planning import submitter_of
from dmarcmilter.reports.delivery.destination_verification import VERIFY_AT_ONCE
from dmarcmilter.reports.delivery.destinations import MAX_DESTINATIONS, excluded
from dmarcmilter.reports.delivery.ledger import Ledger
from dmarcmilter.reports.delivery.organization_turns import organization_of
from dmarcmilter.reports.delivery.report_tables import PlannedFailure
from dmarcmilter.reports.delivery.sending import HOUR, World, sender_of
from dmarcmilter.reports.failure.incident import Incident, kind
from dmarcmilter.reports.failure.incident_spool import MAX_AGE, Entry, Spool
from dmarcmilter.reports.failure.mail_message import compose

SPF_SECONDS = 60.0
"""Seconds of one run for the SPF records that its failure reports show."""
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

    def __init__(self, made: Iterable[tuple[str, str]], organization: Callable[[str], str]) -> None:
        """`made`: policy domain and kind of each report."""
        self._organization = organization
        self._kinds: set[str] = set()
        self.organizations: Counter[str] = Counter()
        for domain, digest in made:
            self.add(domain, digest)

    def add(self, domain: str, digest: str) -> None:
        self._kinds.add(digest)
        self.organizations[self._organization(domain)] += 1

    def full(self, domain: str, digest: str, settings: Reports) -> str:
        """The limit that is reached; empty: none."""
        if digest in self._kinds:
            return "one like it was reported within the hour"
        if self.organizations[self._organization(domain)] >= settings.failure.max_per_domain:
            return "its organization has had its reports of the hour"
        if self.organizations.total() >= settings.failure.max_per_hour:
            return "the reports of the hour are made"
        return ""


class Merging:
    def __init__(self, spool: Spool, ledger: Ledger, settings: Reports, world: World) -> None:
        self._spool = spool
        self._ledger = ledger
        self._settings = settings
        self._world = world
        self._authenticated: dict[str, bool] = {}

    def judged(self, now: int) -> Iterator[tuple[Entry, Judged]]:
        """Each incident and what becomes of it; a report that is made of one counts for those that follow."""
        self._authenticated.clear()
        lately = Lately(self._ledger.failures_since(now - HOUR, now), self._organization)
        for entry in self._spool.entries(dict(lately.organizations)):
            if not isinstance(entry, Entry):
                continue
            found = self._judge(entry.incident, lately, now)
            if found.fate is Fate.REPORT:
                outcome = entry.incident.outcome
                lately.add(outcome["policy"]["domain"], kind(outcome))
            yield entry, found

    def _organization(self, domain: str) -> str:
        return organization_of(self._world.suffixes, domain)

    def _is_authenticated(self, domain: str) -> bool:
        """Asked once a run for each domain."""
        if domain not in self._authenticated:
            self._authenticated[domain] = self._ledger.is_authenticated(domain)
        return self._authenticated[domain]

    def _judge(self, incident: Incident, lately: Lately, now: int) -> Judged:
        domain = incident.outcome["policy"]["domain"]
        if self._ledger.is_known(incident.id):
            return Judged(Fate.DONE)
        if datetime.fromtimestamp(now, UTC) - datetime.fromisoformat(incident.outcome["time"]) > timedelta(
            seconds=MAX_AGE
        ):
            return Judged(Fate.DROP, "it waited for a day")
        entry = excluded(domain, f"x@{domain}", self._settings.exclude)
        if entry:
            return Judged(Fate.DROP, f"{entry} is excluded")
        if self._settings.only_authenticated and not self._is_authenticated(domain):
            return Judged(Fate.DROP, "no authenticated mail came from it")
        reason = lately.full(domain, kind(incident.outcome), self._settings)
        return Judged(Fate.WAIT, reason) if reason else Judged(Fate.REPORT)

    def planned(self, incident: Incident, spf_records: Sequence[tuple[str, str]], now: int) -> PlannedFailure:
        outcome, shape = incident.outcome, self._settings.format
        whole = replace(incident, spf_records=spf_records)
        return PlannedFailure(
            report_id=incident.id,
            domain=outcome["policy"]["domain"],
            organization=self._organization(outcome["policy"]["domain"]),
            day=datetime.fromtimestamp(now, UTC).date(),
            digest=kind(outcome),
            shape=shape,
            submitter=submitter_of(self._settings),
            incidents=incident.count,
            record=outcome["policy"]["record"],
            content=compose(whole, sender_of(self._settings), shape),
            uris=tuple(outcome["policy"]["ruf"][:MAX_DESTINATIONS]),
        )

    def spf_records(self, incidents: Sequence[Incident]) -> dict[str, list[tuple[str, str]]]:
        """The SPF records of these incidents by id, asked at once and only for so long.

        They are as they are now, within the hour of the message: the filter keeps the result, and not the record. A
        report of which the name server is silent goes without.
        """
        if not any(map(_spf_domain, incidents)):
            return {}
        threads = ThreadPoolExecutor(VERIFY_AT_ONCE, thread_name_prefix="spf")
        asked = {threads.submit(self._spf_record, incident): incident.id for incident in incidents}
        answered = wait(asked, timeout=SPF_SECONDS).done
        threads.shutdown(wait=False, cancel_futures=True)
        return {asked[future]: future.result() for future in answered if future.exception() is None}

    def _spf_record(self, incident: Incident) -> list[tuple[str, str]]:
        domain = _spf_domain(incident)
        if not domain:
            return []
        with self._world.lookups() as lookup:
            answer = lookup(domain, "TXT")
        if answer.status is not Status.FOUND:
            return []
        texts = [text.decode("latin-1") for text in answer.texts if text.lower().startswith(b"v=spf1")]
        return [(domain, text) for text in texts[:MAX_SPF_RECORDS]]


def _spf_domain(incident: Incident) -> str:
    """Whose SPF record is shown; empty: nobody's."""
    spf = incident.outcome["spf"]
    return "" if spf["result"] in {"pass", "none"} else str(spf["domain"] or "")
