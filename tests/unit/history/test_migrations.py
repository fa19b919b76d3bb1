"""Migrations: they make the tables that outcomes are written to, all or nothing, on both databases."""

import threading

import pytest
import sqlalchemy as sa

from dmarcmilter.history import migrations, outcome_rows
from dmarcmilter.history.migrations import MIGRATIONS, Migration, migrate
from dmarcmilter.history.store import Store, StoreError
from dmarcmilter.outcome_record import encoded
from dmarcmilter.reports.delivery.deliveries_table import Deliveries, ReportKind
from tests.support import databases
from tests.support.report_outcomes import passed


def reflected(store):
    found = sa.MetaData()
    with store.reading() as connection:
        found.reflect(connection)
    return found


REFERENCES = {
    "outcomes": {"id", "verdict_id", "client_id"},
    "clients": {"id", "digest"},
    "verdicts": {"id", "digest", "policy_id"},
    "policies": {"id", "digest"},
    "signatures": {"verdict_id"},
    "overrides": {"verdict_id"},
}
"""Columns of each table that the writer fills, and not the outcome."""


def test_every_column_is_filled_from_an_outcome(store):
    override = {"type": "local_policy", "rfc7489": "local_policy", "comment": "", "entry": None}
    line = outcome_rows.parse(encoded(passed(overrides=[override])))
    filled = {
        "outcomes": line.outcome,
        "clients": outcome_rows.client(line.record),
        "verdicts": outcome_rows.verdict(line.record),
        "policies": outcome_rows.policy(line.record)[1],
        "signatures": outcome_rows.signatures(line.record)[0],
        "overrides": outcome_rows.overrides(line.record)[0],
    }
    tables = reflected(store).tables
    for name, row in filled.items():
        assert set(tables[name].columns.keys()) == set(row) | REFERENCES[name], name


def test_columns_that_outcomes_are_searched_by_have_an_index(store):
    tables = reflected(store).tables
    indexed = {(name, index.columns.keys()[0]) for name, table in tables.items() for index in table.indexes}
    assert indexed >= {
        ("outcomes", "day"),
        ("outcomes", "time"),
        ("outcomes", "queue_id"),
        ("outcomes", "message_id_hash"),
        ("policies", "domain"),
        ("verdicts", "policy_id"),
    }


def test_numbers_follow_each_other():
    assert [found.number for found in MIGRATIONS] == list(range(1, len(MIGRATIONS) + 1))


def test_second_time_nothing_is_done(url):
    opened = Store(url)
    assert migrate(opened) == len(MIGRATIONS)
    assert migrate(opened) == 0
    opened.close()


def test_newer_schema_is_refused(store):
    with store.writing() as connection:
        connection.execute(sa.text("INSERT INTO schema_version (number) VALUES (999)"))
    with pytest.raises(StoreError, match="schema 999, this program knows up to"):
        migrate(store)


def test_a_migration_that_fails_leaves_nothing(store):
    number = len(MIGRATIONS) + 1
    broken = Migration(
        number, ("CREATE TABLE half (a INTEGER)", "INSERT INTO half VALUES (1)", "CREATE TABLE half (b INTEGER)")
    )
    with pytest.raises(StoreError):
        migrate(store, (*MIGRATIONS, broken))
    assert "half" not in reflected(store).tables
    assert databases.ask(store, "SELECT max(number) FROM schema_version") == [(number - 1,)]
    whole = Migration(number, ("CREATE TABLE half (id {id}, b {bytes})",))
    assert migrate(store, (*MIGRATIONS, whole)) == 1
    assert "half" in reflected(store).tables


def test_two_at_the_same_time(url):
    stores = [Store(url) for _ in range(4)]
    applied, errors = [], []

    def run(mine):
        try:
            applied.append(migrate(mine))
        except StoreError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(mine,)) for mine in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert sum(applied) == len(MIGRATIONS)
    for mine in stores:
        mine.close()


def test_suppressions_of_an_older_program_are_dropped(url):
    """They silenced an address for everybody, and did not say whose report was refused; what they refused is due."""
    opened = Store(url)
    migrate(opened, MIGRATIONS[:5])
    with opened.writing() as connection:
        for number, content in ((1, "x'00'"), (2, "NULL")):
            literal = content if opened.is_sqlite else content.replace("x'00'", "'\\x00'::bytea")
            connection.exec_driver_sql(
                "INSERT INTO reports (id, report_id, day, domain, digest, supplement, shape, submitter, messages, "
                f"record, content, created) VALUES ({number}, 'r{number}', 20270116, 'one.example', 'd{number}', 0, "
                f"'rfc9990', 'mx.example', 1, 'v=DMARC1', {literal}, 1800000000)"
            )
        for number, report, detail in (
            (1, 1, "left alone after 1 refusals: 550"),
            (2, 1, "not a mail address"),
            (3, 2, "left alone after 1 refusals: 550"),
        ):
            connection.exec_driver_sql(
                "INSERT INTO report_deliveries (id, report, uri, address, state, attempts, due, token, changed, detail)"
                f" VALUES ({number}, {report}, 'mailto:a@one.example', 'a@one.example', 'refused', 0, 1800000000, "
                f"'t{number}', 1800000000, '{detail}')"
            )
        connection.exec_driver_sql("INSERT INTO report_addresses VALUES ('a@one.example', 1, 1, 2000000000, '550')")
    assert migrate(opened) == len(MIGRATIONS) - 5
    assert "report_addresses" not in reflected(opened).tables
    assert databases.ask(opened, "SELECT id, state FROM report_deliveries ORDER BY id") == [
        (1, "pending"), (2, "refused"), (3, "refused"),
    ]  # fmt: skip
    [due] = Deliveries(opened).due(ReportKind.AGGREGATE, 1_800_003_600, 10)
    assert (due.id, due.organization) == (1, "one.example"), "the policy domain stands for the organization"
    opened.close()


def test_types_are_given_for_both_databases():
    assert migrations.TYPES["sqlite"].keys() == migrations.TYPES["postgresql"].keys()
