"""Live checks of files and databases. (The network: wire/config_check/test_live.py.)"""

import os

import pytest

from dmarcmilter.config import account_rights, load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config_check import live
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store
from dmarcmilter.value import replace
from tests.support.config_check import NOWHERE


def settings(tmp_path, more=""):
    text = f'[history]\njournal = "{tmp_path}/journal"\ndatabase = "sqlite:///{tmp_path}/h.db"\n{more}'
    return load.parse(text)


def test_the_journal_is_really_written(tmp_path):
    (tmp_path / "journal").mkdir()
    (found,) = live._journal(settings(tmp_path), NOWHERE)
    assert found.severity is Severity.OK
    assert list((tmp_path / "journal").iterdir()) == []
    (tmp_path / "journal").rmdir()
    assert live._journal(settings(tmp_path), NOWHERE)[0].severity is Severity.OK
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_journal_that_the_filters_user_cannot_write(tmp_path):
    environment = replace(NOWHERE, user="nobody", account=account_rights.account("nobody"))
    (found,) = live._journal(settings(tmp_path), environment)
    assert found.severity is Severity.ERROR
    assert "cannot be written as the user nobody" in found.text


def test_a_journal_that_is_a_file(tmp_path):
    (tmp_path / "journal").write_text("x")
    assert live._journal(settings(tmp_path), NOWHERE)[0].severity is Severity.ERROR


def test_a_disk_that_is_nearly_full(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "LITTLE_SPACE", 1 << 62)
    assert "are left on the disk" in live._journal(settings(tmp_path), NOWHERE)[0].text


def test_the_database(tmp_path):
    conf = settings(tmp_path)
    assert "not there yet" in live._database(conf, NOWHERE)[0].text
    assert not (tmp_path / "h.db").exists()
    store = Store(conf.history.database)
    migrations.migrate(store, migrations.MIGRATIONS[:1])
    assert "brings it up to date" in live._database(conf, NOWHERE)[0].text
    migrations.migrate(store)
    assert live._database(conf, NOWHERE)[0].text == "[history] database: answers"
    newer = (*migrations.MIGRATIONS, migrations.Migration(migrations.MIGRATIONS[-1].number + 1, ()))
    migrations.migrate(store, newer)
    store.close()
    assert "is newer than this program's" in live._database(conf, NOWHERE)[0].text
    (tmp_path / "h.db").write_text("no database at all, but long enough to look like one" * 50)
    assert live._database(conf, NOWHERE)[0].severity is Severity.ERROR
