"""Several processes that write into one spool of incidents."""

import multiprocessing

import pytest

from dmarcmilter.reports.failure.incident import Incident, reported_part
from dmarcmilter.reports.failure.incident_spool import IncidentSpool, SpooledIncident
from tests.support.report_outcomes import outcome


def incident(number=0, domain="example.com", **changes):
    found = outcome(client_ip=f"192.0.2.{number}", policy={"domain": domain}, **changes)
    return Incident(f"a{number}", reported_part(found), "h@example.com", [("From", "<h@example.com>")])


@pytest.fixture
def spool(tmp_path):
    return IncidentSpool(str(tmp_path / "spool"))


def found(spool):
    return [
        (entry.incident.id, entry.incident.count) for entry in spool.entries() if isinstance(entry, SpooledIncident)
    ]


def put_many(directory, number):
    for _ in range(200):
        IncidentSpool(directory).put(incident(number % 2))


def test_many_workers_without_a_lock(spool, tmp_path):
    directory = str(tmp_path / "spool")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=put_many, args=(directory, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [count for _, count in sorted(found(spool))] == [400, 400]
    assert len(list((tmp_path / "spool").iterdir())) == 2
