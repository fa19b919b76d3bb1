"""Outcome objects to rows and back, without a loss."""

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.history import outcome_rows
from dmarcmilter.history.outcome_rows import StoredOutcome
from dmarcmilter.outcome_record import UndecodableError, encoded
from tests.support import journals
from tests.support.paths import PROJECT

sys.path.insert(0, str(PROJECT))
from bench.history import records


def there_and_back(values):
    """A record as plain JSON values, through the rows of the database."""
    line = outcome_rows.parse(json.dumps(values).encode())
    record = line.record
    policy = outcome_rows.policy(record)
    rebuilt = outcome_rows.rebuilt(
        StoredOutcome(
            line.outcome,
            outcome_rows.verdict(record),
            policy[1] if policy else None,
            outcome_rows.client(record),
            outcome_rows.signatures(record),
            outcome_rows.overrides(record),
        )
    )
    return json.loads(encoded(rebuilt))


@pytest.mark.parametrize("kind", journals.KINDS)
def test_nothing_is_lost(kind):
    record = journals.record(kind)
    assert there_and_back(record) == record


def test_keys_of_a_later_version_are_ignored():
    record = journals.record()
    later = record | {"novelty": {"a": [1]}, "dmarc": record["dmarc"] | {"further": 1}}
    assert there_and_back(later) == record


@pytest.mark.parametrize("kind", journals.KINDS)
def test_only_the_message_differs(kind):
    """Messages alike share a verdict, whatever their time, size, client and cost."""
    one, two = journals.record(kind), journals.record(kind, time=journals.at(9), size=7, helo="x", client_ip="::1")
    parsed = [outcome_rows.parse(json.dumps(record).encode()) for record in (one, two)]
    assert parsed[0].verdict_digest == parsed[1].verdict_digest
    assert parsed[0].client_digest != parsed[1].client_digest
    assert parsed[0].outcome["queue_id"] != parsed[1].outcome["queue_id"]


CIRCUMSTANCES = {
    "message_id_hash": "ff00000000000001",
    "draws": {"pct": 7, "rollout": 99},
    "deferred_for": 600,
    "client_names": {"confirmed": ["mx.example.net"], "failed": False},
    "lists": {"ids": ["4711.list.example"], "traces": ["List-Id"]},
}


@pytest.mark.parametrize("name", CIRCUMSTANCES)
def test_what_each_message_may_have_for_itself_is_kept_beside_it(name):
    record = journals.record() | {name: CIRCUMSTANCES[name]}
    assert there_and_back(record) == record
    assert (
        outcome_rows.parse(json.dumps(record).encode()).verdict_digest
        == outcome_rows.parse(json.dumps(journals.record()).encode()).verdict_digest
    )


@pytest.mark.parametrize("digits", ["0" * 16, "7fffffffffffffff", "8000000000000000", "f" * 16])
def test_hashes_as_signed_numbers(digits):
    number = outcome_rows.signed_number(digits)
    assert -(2**63) <= number < 2**63
    assert outcome_rows.hex_digits(number) == digits


@pytest.mark.parametrize("digits", ["", "0" * 14, "0" * 18, "x" * 16, 7, ["0" * 16]])
def test_no_hash(digits):
    with pytest.raises(UndecodableError):
        outcome_rows.parse(json.dumps(journals.record() | {"message_id_hash": digits}).encode())


def test_a_record_of_before_these_keys_comes_back_without_them():
    record = {name: value for name, value in journals.record().items() if name not in CIRCUMSTANCES}
    assert there_and_back(record) == record


def test_what_parts_have_beside_their_columns_is_kept():
    record = journals.record("quarantine")
    record["overrides"] = [override | {"entry": "n"} for override in record["overrides"]]
    record["dkim"] = [signature | {"unsigned_duplicates": ["subject"], "cut_off": True} for signature in record["dkim"]]
    assert there_and_back(record) == record


def test_verdicts_that_differ_have_different_digests():
    digests = {outcome_rows.parse(json.dumps(found).encode()).verdict_digest for found in journals.KINDS.values()}
    assert len(digests) == len(journals.KINDS)


@pytest.mark.parametrize(
    ("time", "day", "milliseconds"),
    [
        ("2027-01-15T23:59:59.999Z", 20270115, 1800057599999),
        ("2027-01-16T00:00:00.000Z", 20270116, 1800057600000),
        ("1999-12-31T12:00:00.001Z", 19991231, 946641600001),
    ],
)
def test_day_is_of_utc(time, day, milliseconds):
    outcome = outcome_rows.parse(json.dumps(journals.record(time=time)).encode()).outcome
    assert (outcome["day"], outcome["time"]) == (day, milliseconds)


WHOLE = json.dumps(journals.record()).encode()


@given(st.integers(0, len(WHOLE) - 1))
@settings(deadline=None, max_examples=60)
def test_torn_lines_are_not_read(length):
    with pytest.raises(UndecodableError):
        outcome_rows.parse(WHOLE[:length])


@pytest.mark.slow
@given(
    st.one_of(
        st.binary(max_size=200), st.recursive(st.none() | st.text() | st.integers(), st.lists).map(repr).map(str.encode)
    )
)
@settings(deadline=None, max_examples=100)
def test_any_octets_are_read_or_refused(line):
    with pytest.raises(UndecodableError):
        outcome_rows.parse(line)


@pytest.mark.parametrize(
    "changes",
    [{"v": 2}, {"time": "yesterday"}, {"time": None}, {"dns": {}}, {"milliseconds": "1"}, {"milliseconds": 1e400}],
    ids=str,
)
def test_wrong_values_are_refused(changes):
    with pytest.raises(UndecodableError):
        outcome_rows.parse(json.dumps(journals.record() | changes).encode())


def test_nul_is_replaced():
    """PostgreSQL stores every character but this one."""
    line = outcome_rows.parse(json.dumps(journals.record(helo="a\0b")).encode())
    assert outcome_rows.client(line.record)["helo"] == "a\ufffdb"


def test_the_bench_makes_outcomes_of_the_same_shape():
    def shape(value):
        if isinstance(value, dict):
            return {name: shape(inner) for name, inner in value.items() if name != "policy"}
        return None

    made = next(iter(records(1)))
    assert shape(made) == shape(journals.record())
    assert set(next(found for found in records(50) if found["policy"])["policy"]) == set(journals.record()["policy"])
