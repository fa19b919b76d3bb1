"""Several processes that write into one spool of incidents."""

import multiprocessing

import pytest

from dmarcmilter.reports.failure.incident_spool import IncidentSpool
from tests.support.spooled_incidents import ids_and_counts, incident


@pytest.fixture
def spool(tmp_path):
    return IncidentSpool(str(tmp_path / "spool"))


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
    assert [count for _, count in sorted(ids_and_counts(spool))] == [400, 400]
    assert len(list((tmp_path / "spool").iterdir())) == 2
