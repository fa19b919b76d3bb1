"""Incidents for the tests of the spool of failure reports, and what a spool holds."""

from dmarcmilter.reports.failure.incident import Incident, reported_part
from dmarcmilter.reports.failure.incident_spool import SpooledIncident
from tests.support.report_outcomes import outcome


def incident(number=0, domain="example.com", **changes):
    record = outcome(client_ip=f"192.0.2.{number}", policy={"domain": domain}, **changes)
    return Incident(f"a{number}", reported_part(record), "h@example.com", (("From", "<h@example.com>"),))


def ids_and_counts(spool):
    return [
        (entry.incident.id, entry.incident.count) for entry in spool.entries() if isinstance(entry, SpooledIncident)
    ]
