"""Decide which incidents of the spool become failure reports now, within the limits (RFC 9991 2 and 8.1).

One report of a kind an hour; further incidents wait in the spool, and the next report counts them (field Incidents).
Incidents beyond the limits of their organization or of the receiver wait too, and are dropped after a day: the
aggregate report counts them. Organizations take turns.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from dmarcmilter.config.schema import ReportsSection
from dmarcmilter.dns.lookup import Status
from dmarcmilter.history.store import Store
from dmarcmilter.reports.aggregate.day_outcomes import has_passing_mail
from dmarcmilter.reports.delivery.destination_verification import MAX_DESTINATIONS, excluded
from dmarcmilter.reports.delivery.made_reports_table import PlannedFailureReport, ReportLedger
from dmarcmilter.reports.delivery.organization_turns import organization_of
from dmarcmilter.reports.delivery.parallel_verification import VERIFY_AT_ONCE, ReportDns
from dmarcmilter.reports.delivery.send_queue import HOUR_SECONDS
from dmarcmilter.reports.failure.incident import Incident, kind
from dmarcmilter.reports.failure.incident_spool import MAX_AGE, IncidentSpool, SpooledIncident
from dmarcmilter.reports.failure.mail_message import compose
from dmarcmilter.reports.sender import sender_of, submitter_of
from dmarcmilter.value import Value, replace

SPF_SECONDS = 60.0
"""Seconds of one run for looking up the SPF records that its reports show. Later answers are left out."""
MAX_SPF_RECORDS = 3
"""SPF records shown of one domain. There should be one; further ones are left out."""


class IncidentFate(StrEnum):
    """What a run does with an incident."""

    REPORT = "report"
    WAIT = "wait"
    DROP = "drop"
    DONE = "done"
    """A report of it exists: an earlier run made it, and was killed before it deleted the incident."""


class Ruling(Value):
    """What a run does with an incident, and why."""

    fate: IncidentFate
    reason: str = ""


class HourlyLimits:
    """The failure reports of the last hour, counted against the limits. Read once a run; reports made are added."""

    def __init__(
        self, made: Iterable[tuple[str, str]], settings: ReportsSection, organization_of: Callable[[str], str]
    ) -> None:
        """`made`: policy domain and kind of each report of the last hour."""
        self._settings = settings
        self._organization_of = organization_of
        self._kinds: set[str] = set()
        self.by_organization: Counter[str] = Counter()
        for domain, digest in made:
            self.add(domain, digest)

    def add(self, domain: str, digest: str) -> None:
        self._kinds.add(digest)
        self.by_organization[self._organization_of(domain)] += 1

    def reached(self, domain: str, digest: str) -> str:
        """The limit that another report would exceed; empty if none."""
        if digest in self._kinds:
            return "one like it was reported within the hour"
        if self.by_organization[self._organization_of(domain)] >= self._settings.failure.max_per_domain:
            return "its organization got its reports of this hour"
        if self.by_organization.total() >= self._settings.failure.max_per_hour:
            return "all reports of this hour are made"
        return ""


class FailurePlanner:
    """Makes failure reports of the incidents in the spool."""

    def __init__(
        self, store: Store, spool: IncidentSpool, ledger: ReportLedger, settings: ReportsSection, dns: ReportDns
    ) -> None:
        self._store = store
        self._spool = spool
        self._ledger = ledger
        self._settings = settings
        self._dns = dns
        self._authenticated: dict[str, bool] = {}
        """Whether some mail of a policy domain passed; looked up once a run."""

    def rulings(self, now: int) -> Iterator[tuple[SpooledIncident, Ruling]]:
        """Each incident and what is done with it. A report made of one counts against the limits for the next ones."""
        self._authenticated.clear()
        limits = HourlyLimits(self._ledger.failures_since(now - HOUR_SECONDS, now), self._settings, self._organization)
        for entry in self._spool.entries(dict(limits.by_organization)):
            if not isinstance(entry, SpooledIncident):
                continue
            ruling = self._ruling(entry.incident, limits, now)
            if ruling.fate is IncidentFate.REPORT:
                outcome = entry.incident.outcome
                limits.add(outcome.policy.domain, kind(outcome))
            yield entry, ruling

    def _organization(self, domain: str) -> str:
        return organization_of(self._dns.suffixes, domain)

    def _is_authenticated(self, domain: str) -> bool:
        if domain not in self._authenticated:
            self._authenticated[domain] = has_passing_mail(self._store, domain)
        return self._authenticated[domain]

    def _ruling(self, incident: Incident, limits: HourlyLimits, now: int) -> Ruling:
        domain = incident.outcome.policy.domain
        if self._ledger.is_known(incident.id):
            return Ruling(IncidentFate.DONE)
        age = datetime.fromtimestamp(now, UTC) - datetime.fromisoformat(incident.outcome.time)
        if age > timedelta(seconds=MAX_AGE):
            return Ruling(IncidentFate.DROP, "it waited for a day")
        entry = excluded(domain, f"x@{domain}", self._settings.exclude)
        if entry:
            return Ruling(IncidentFate.DROP, f"{entry} is excluded")
        if self._settings.only_authenticated and not self._is_authenticated(domain):
            return Ruling(IncidentFate.DROP, "no authenticated mail came from it")
        reason = limits.reached(domain, kind(incident.outcome))
        return Ruling(IncidentFate.WAIT, reason) if reason else Ruling(IncidentFate.REPORT)

    def plan(self, incident: Incident, spf_records: Sequence[tuple[str, str]], now: int) -> PlannedFailureReport:
        """The report of one incident."""
        outcome, report_format = incident.outcome, self._settings.format
        policy = outcome.policy
        return PlannedFailureReport(
            report_id=incident.id,
            domain=policy.domain,
            organization=self._organization(policy.domain),
            day=datetime.fromtimestamp(now, UTC).date(),
            digest=kind(outcome),
            report_format=report_format,
            submitter=submitter_of(self._settings),
            incidents=incident.count,
            record=policy.record,
            content=compose(replace(incident, spf_records=spf_records), sender_of(self._settings), report_format),
            uris=tuple(policy.ruf[:MAX_DESTINATIONS]),
        )

    def spf_records(self, incidents: Sequence[Incident]) -> dict[str, list[tuple[str, str]]]:
        """The SPF records for these incidents, by incident id, looked up at once and within SPF_SECONDS.

        An outcome holds the SPF result and not the record, so these are the records of now, within an hour of the
        message. If a name server does not answer, the report shows none.
        """
        if not any(map(_spf_domain, incidents)):
            return {}
        threads = ThreadPoolExecutor(VERIFY_AT_ONCE, thread_name_prefix="spf")
        lookups = {threads.submit(self._spf_record, incident): incident.id for incident in incidents}
        done = wait(lookups, timeout=SPF_SECONDS).done
        threads.shutdown(wait=False, cancel_futures=True)
        return {lookups[future]: future.result() for future in done if future.exception() is None}

    def _spf_record(self, incident: Incident) -> list[tuple[str, str]]:
        domain = _spf_domain(incident)
        if not domain:
            return []
        with self._dns.lookups() as lookup:
            answer = lookup(domain, "TXT")
        if answer.status is not Status.FOUND:
            return []
        texts = [text.decode("latin-1") for text in answer.texts if text.lower().startswith(b"v=spf1")]
        return [(domain, text) for text in texts[:MAX_SPF_RECORDS]]


def _spf_domain(incident: Incident) -> str:
    """The domain whose SPF record the report shows; empty if it shows none."""
    spf = incident.outcome.spf
    return "" if spf.result in {"pass", "none"} else str(spf.domain or "")
