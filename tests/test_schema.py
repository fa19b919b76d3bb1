"""Migrations: they make the tables that store.py knows, all or nothing, on both databases."""

import threading

import databases
import pytest
import sqlalchemy as sa

from dmarcmilter.history import schema
from dmarcmilter.history.schema import MIGRATIONS, Migration, migrate
from dmarcmilter.history.store import Store, StoreError, metadata


def reflected(store):
    found = sa.MetaData()
    with store.reading() as connection:
        found.reflect(connection)
    return found


def shape(tables):
    return {
        name: {
            "columns": {
                column.name: (column.nullable, column.type.__class__._type_affinity) for column in table.columns
            },
            "key": [column.name for column in table.primary_key],
            "indexes": {tuple(index.columns.keys()) for index in table.indexes if not index.unique},
        }
        for name, table in tables.items()
    }


def test_tables_are_those_of_the_store(store):
    found, known = shape(reflected(store).tables), shape(metadata.tables)
    assert set(known) <= set(found)
    for name, table in known.items():
        made = found[name]
        assert made["key"] == table["key"], name
        assert made["indexes"] == table["indexes"], name
        assert set(made["columns"]) == set(table["columns"]), name
        for column, (nullable, _) in table["columns"].items():
            if column not in table["key"]:
                assert made["columns"][column][0] == nullable, (name, column)


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


def test_words_are_for_both_databases():
    assert schema.WORDS["sqlite"].keys() == schema.WORDS["postgresql"].keys()
