"""What every user of the machine could read is told: by `config check`, and by the daemon when it starts."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.config import load
from dmarcmilter.config.exposed_files import exposed
from dmarcmilter.history import migrations
from dmarcmilter.history.store import Store
from tests.support.filter_daemon import FilterDaemon


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder that others can enter: those above it count as open, which a test's folder is not."""
    above = set(tmp_path.parents)
    found = Path.stat
    monkeypatch.setattr(
        Path, "stat", lambda self, **options: found(Path("/"), **options) if self in above else found(self, **options)
    )
    tmp_path.chmod(0o755)
    return tmp_path


def conf(folder, more=""):
    text = (
        f'[policy]\nsampling_key = "{folder}/sampling.key"\n[defer]\ndirectory = "{folder}/deferred"\n'
        f'[history]\njournal = "{folder}/journal"\ndatabase = "sqlite:///{folder}/h.db"\n'
    )
    return load.parse(text + more)


MORE = '[reports]\narchive = "{0}/archive"\n[reports.failure]\nspool = "{0}/spool"\nkey = "{0}/redaction.key"\n'
PLACES = {
    "sampling.key": "[policy] sampling_key",
    "journal": "[history] journal",
    "h.db": "[history] database",
    "deferred": "[defer] directory",
    "archive": "[reports] archive",
}


@pytest.mark.parametrize(("name", "key"), PLACES.items())
@pytest.mark.parametrize(("mode", "word"), [(0o750, ""), (0o751, ""), (0o754, "read"), (0o752, "write to")])
def test_each_place_that_was_there_before(name, key, mode, word, place):
    (place / name).mkdir(mode=0o700)
    (place / name).chmod(mode)
    path = place / name
    expected = [f"{key}: every user of this machine can {word} {path}: chmod o-rwx {path}"] if word else []
    assert exposed(conf(place, MORE.format(place))) == expected


def test_failure_reports_only_when_they_are_made(place):
    (place / "spool").mkdir()
    (place / "spool").chmod(0o755)
    on = '[reports]\nemail = "r@example.net"\n[reports.failure]\nenabled = true\n'
    keys = f'spool = "{place}/spool"\nkey = "{place}/redaction.key"\n'
    assert exposed(conf(place, f"[reports.failure]\n{keys}")) == []
    assert [text.split(":")[0] for text in exposed(conf(place, on + keys))] == ["[reports.failure] spool"]


def test_below_a_private_folder_nothing_is_exposed(place):
    (place / "journal").mkdir(mode=0o777)
    (place / "journal").chmod(0o777)
    assert exposed(conf(place))
    place.chmod(0o750)
    assert not exposed(conf(place))


@pytest.mark.parametrize("query", [":secret@h", "h/d?user=u&password=secret"])
def test_a_conf_file_with_a_password(query, place):
    found = load.parse(f'[recipients]\ndatabase = "postgresql+psycopg://u{query}"\nquery = "SELECT :address"\n')
    path = place / "dmarcmilter.toml"
    path.touch()
    path.chmod(0o644)
    assert [text for text in exposed(found, str(path)) if "password" in text]
    assert not [text for text in exposed(found) if "password" in text]
    assert "secret" not in str(exposed(found, str(path)))
    path.chmod(0o640)
    assert not [text for text in exposed(found, str(path)) if "password" in text]


def test_config_check_tells(place):
    path = place / "c.toml"
    (place / "journal").mkdir()
    (place / "journal").chmod(0o755)
    path.write_text(f'[history]\njournal = "{place}/journal"\n', encoding="utf-8")
    assert f"warning: [history] journal: every user of this machine can read {place}/journal" in (
        CliRunner().invoke(main, ["config", "check", str(path)]).stdout
    )


def test_the_daemon_tells():
    lax = FilterDaemon({})
    lax.journal.chmod(0o755)
    with lax:
        assert f"every user of this machine can read {lax.journal}" in lax.log()
    with FilterDaemon({}) as private:
        assert private.warnings() == []


def test_a_new_database_is_private(tmp_path):
    """Whoever makes it, with whatever mask."""
    before = os.umask(0)
    try:
        store = Store(f"sqlite:///{tmp_path}/h.db")
        migrations.migrate(store)
        with store.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x)")
            modes = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("h.db", "h.db-wal", "h.db-shm"), "0o640")


def test_asking_for_statistics_makes_no_database(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(f'[history]\ndatabase = "sqlite:///{tmp_path}/h.db"\n', encoding="utf-8")
    done = CliRunner().invoke(main, ["stats", "--config", str(path)])
    assert (done.exit_code, "there is no database yet" in done.stderr) == (2, True)
    assert not (tmp_path / "h.db").exists()


@pytest.mark.parametrize("words", [("report", "status"), ("history", "purge", "--older-than", "1")])
def test_commands_that_write_leave_the_mask_as_it_was(words, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(f'[history]\ndatabase = "sqlite:///{tmp_path}/h.db"\n', encoding="utf-8")
    before = os.umask(0o002)
    try:
        assert CliRunner().invoke(main, [*words, "--config", str(path)]).exit_code == 0
        assert os.umask(0o002) == 0o002
    finally:
        os.umask(before)
