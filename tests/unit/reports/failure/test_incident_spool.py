"""Incidents on disk: one file a kind, whole or not at all, bounded."""

import os
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.reports.delivery.organization_turns import organization_of
from dmarcmilter.reports.failure import incident_spool as module
from dmarcmilter.reports.failure.incident import Incident
from dmarcmilter.reports.failure.incident_spool import (
    DRAFT_SECONDS,
    MAX_AGE,
    FullError,
    IncidentSpool,
    incident_from_json,
    incident_to_json,
)
from tests.support.spooled_incidents import ids_and_counts, incident


@pytest.fixture
def spool(tmp_path):
    return IncidentSpool(str(tmp_path / "spool"))


def test_what_is_put_is_ids_and_counts(spool, tmp_path):
    spool.put(incident(1))
    (entry,) = spool.entries()
    assert entry.incident == incident(1)
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [entry.path.name]
    assert not entry.path.stat().st_mode & 0o007


def test_alike_ones_are_counted(spool):
    for _ in range(5):
        spool.put(incident(1))
        spool.put(incident(2))
    assert sorted(ids_and_counts(spool)) == [("a1", 5), ("a2", 5)]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(module, "MAX_FILES", 12)
    monkeypatch.setattr(module, "MAX_FILES_OF_ORGANIZATION", 4)


def by_suffix(tmp_path):
    """A spool as the filter has it: organizations by the public suffix list."""
    suffixes = Suffixes.of_text("com\nexample\n")
    return IncidentSpool(str(tmp_path / "spool"), lambda domain: organization_of(suffixes, domain))


def test_bounds_in_number(tmp_path, small):
    spool = by_suffix(tmp_path)
    for number in range(4):
        spool.put(incident(number))
    with pytest.raises(FullError):
        spool.put(incident(4))
    spool.put(incident(0))
    assert sorted(ids_and_counts(spool)) == [("a0", 2), ("a1", 1), ("a2", 1), ("a3", 1)]


def test_random_subdomains_are_one_organization(tmp_path, small):
    """Each with a record of its own, and so a policy domain."""
    spool, refused = by_suffix(tmp_path), 0
    for number in range(50):
        try:
            spool.put(incident(number, f"r{number}.flood.example", author_domain=f"r{number}.flood.example"))
        except FullError:
            refused += 1
    assert refused == 46
    for number in range(4):
        spool.put(incident(100 + number, f"honest{number}.example"))
    assert len(ids_and_counts(spool)) == 8


def test_organizations_take_turns(tmp_path, small):
    """In a full spool whoever has most loses one, until all have as many."""
    spool = by_suffix(tmp_path)
    for organization in range(3):
        for number in range(4):
            spool.put(incident(10 * organization + number, f"flood{organization}.example"))
    for number in range(100, 106):
        spool.put(incident(number, f"honest{number}.example"))
    kept = Counter(entry.incident.outcome.policy.domain for entry in spool.entries())
    assert kept == Counter(
        {f"flood{n}.example": 2 for n in range(3)} | {f"honest{n}.example": 1 for n in range(100, 106)}
    )
    with pytest.raises(FullError):
        spool.put(incident(99, "flood0.example"))


def test_one_client_that_forges_many_domains(tmp_path, small):
    """It has most of the incidents, if no organization has; and within one organization as well."""
    spool = by_suffix(tmp_path)
    for number in range(12):
        spool.put(incident(1, f"victim{number}.example"))
    for number in range(2, 7):
        spool.put(incident(number, f"honest{number}.example"))
    assert sum("honest" in entry.incident.outcome.policy.domain for entry in spool.entries()) == 5
    spool = by_suffix(tmp_path / "other")
    for number in range(4):
        spool.put(incident(1, author_domain=f"r{number}.example.com"))
    for number in range(2, 4):
        spool.put(incident(number))
    assert sorted(name for name, _ in ids_and_counts(spool)) == ["a1", "a1", "a2", "a3"]


def test_a_full_spool_that_no_run_empties_forgets_what_is_old(tmp_path, small):
    spool = by_suffix(tmp_path)
    for number in range(12):
        spool.put(incident(number, f"one{number}.example"))
    with pytest.raises(FullError):
        spool.put(incident(50, "new.example"))
    spool = by_suffix(tmp_path)
    for entry in list(spool.entries())[:5]:
        os.utime(entry.path, (0, time.time() - MAX_AGE - 60))
    spool.put(incident(50, "new.example"))
    assert len(ids_and_counts(spool)) == 8


def test_a_flood_does_not_have_the_folder_read_for_each_message(tmp_path, small, monkeypatch):
    spool, read = by_suffix(tmp_path), []
    for number in range(4):
        spool.put(incident(number))
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: read.append(path) or listdir(path))
    for number in range(50):
        with pytest.raises(FullError):
            spool.put(incident(1, author_domain=f"r{number}.example.com"))
    assert len(read) == 1
    monkeypatch.setattr(module.time, "monotonic", lambda: 1e9)
    with pytest.raises(FullError):
        spool.put(incident(1, author_domain="r.example.com"))
    assert len(read) == 2


def test_entries_come_in_turns(tmp_path):
    spool = by_suffix(tmp_path)
    for number in range(3):
        spool.put(incident(number, f"r{number}.flood.example", author_domain=f"r{number}.flood.example"))
    spool.put(incident(7, "honest.example"))
    for age, entry in enumerate(spool.entries()):
        os.utime(entry.path, (0, time.time() - 100 + age))
    order = [entry.incident.outcome.policy.domain.rpartition("flood.example")[1] for entry in spool.entries()]
    assert order.count("") == 1
    assert order.index("") < 2
    order = [entry.incident.id for entry in spool.entries({"flood.example": 1})]
    assert order[0] == "a7"


def test_a_file_of_an_older_program_is_read(tmp_path):
    spool = by_suffix(tmp_path)
    spool.put(incident(1))
    (path,) = (tmp_path / "spool").iterdir()
    organization, _, rest = path.name.split("-")
    path.rename(path.with_name(f"{organization}-{rest}"))
    assert ids_and_counts(spool) == [("a1", 1)]
    spool.put(incident(1))
    assert len(ids_and_counts(spool)) == 2


def test_bounds_in_size(spool, monkeypatch):
    with pytest.raises(FullError):
        spool.put(Incident("a1", incident().outcome, "", [("From", "x" * module.MAX_LINE)]))
    monkeypatch.setattr(module, "MAX_LINE", 1000)
    monkeypatch.setattr(module, "MAX_FURTHER", 0)
    for _ in range(1000):
        spool.put(incident(1))
    ((_, count),) = ids_and_counts(spool)
    assert count < 1000


def test_what_is_not_ours_is_removed(spool, tmp_path):
    spool.put(incident(1))
    folder = tmp_path / "spool"
    (folder / "x-y.incident").write_bytes(b"{}\n")
    (folder / ".draft").write_bytes(b"half")
    os.utime(folder / ".draft", (0, 0))
    (folder / ".new").write_bytes(b"half")
    spool.tidy(time.time())
    assert ids_and_counts(spool) == [("a1", 1)]
    assert {path.name[0] for path in folder.iterdir()} == {".", *[path.name[0] for path in folder.glob("*.incident")]}
    assert not (folder / ".draft").exists()
    assert (folder / ".new").stat().st_mtime > time.time() - DRAFT_SECONDS


def test_no_folder_is_an_empty_spool(spool):
    assert list(spool.entries()) == []
    spool.tidy(0)


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_line(line):
    with pytest.raises(ValueError):
        incident_from_json(line, 1)


@pytest.mark.parametrize(
    ("piece", "other"),
    [
        (b'"v":1', b'"v":2'),
        (b'"id":"a1"', b'"id":"../x"'),
        (b'"policy":{', b'"policies":{'),
        (b'"ruf":[]', b'"ruf":"mailto:a@b"'),
        (b'"ruf":[]', b'"ruf":[1]'),
        (b'"time":"2027', b'"time":"x027'),
        (b'"dmarc":{', b'"dmarc":[{'),
        (b'"domain":"bounce.example.com"', b'"domain":7'),
        (b'"fields":[', b'"fields":[["x"],'),
    ],
)
def test_a_line_that_was_damaged(piece, other):
    line = incident_to_json(incident(1))
    assert incident_from_json(line, 2).count == 2
    assert piece in line
    with pytest.raises(ValueError):
        incident_from_json(line.replace(piece, other), 1)
