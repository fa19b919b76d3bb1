"""Folders, rights, secrets, and the age of the public suffix list that is really used."""

import os
from datetime import date, timedelta

import pytest

from dmarcmilter.config import account_rights, load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config_check import files, files_and_mta_health
from dmarcmilter.config_check.systemd_unit_reader import Unit
from dmarcmilter.dmarc import public_suffix
from dmarcmilter.health.check_result import Health
from dmarcmilter.value import replace
from tests.support.config_check import NOWHERE

IS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="root writes everywhere, others cannot act as another user")


def conf(folder, more=""):
    return load.parse(
        f'[history]\njournal = "{folder}/journal"\ndatabase = "sqlite:///{folder}/h.db"\n'
        f'[policy]\nsampling_key = "{folder}/key"\n[defer]\ndirectory = "{folder}/deferred"\n'
        f'[milter]\nsocket = "unix:{folder}/filter.sock"\n{more}'
    )


def judged(conf, environment=NOWHERE, *, topic=""):
    return [(one.severity, one.text) for one in files.findings(conf, environment) if one.text.startswith(topic)]


def bad(*arguments, **options):
    return [text for severity, text in judged(*arguments, **options) if severity is not Severity.OK]


def list_of(tmp_path, day, rules=10):
    path = tmp_path / "list.dat"
    path.write_text(f"// VERSION: {day}_00-00-00_UTC\n" + "".join(f"s{n}\n" for n in range(rules)))
    return f'[dmarc]\npsl_file = "{path}"\n'


@pytest.mark.parametrize(("days", "stale"), [(0, False), (files.STALE_DAYS, False), (files.STALE_DAYS + 1, True)])
def test_the_age_of_the_list_that_is_named(days, stale, tmp_path):
    made = NOWHERE.today - timedelta(days=days)
    ((severity, text),) = judged(conf(tmp_path, list_of(tmp_path, made)), topic="[dmarc]")
    assert (severity is Severity.WARNING) == stale
    assert str(made) in text
    assert (f"{days} days old" in text) == stale


def test_the_age_of_the_list_that_is_found(tmp_path, monkeypatch):
    """The newest, which may be the one that a library brings along."""
    found = public_suffix.Suffixes.load()
    long_after = date.fromisoformat(found.version) + timedelta(days=1000)
    (text,) = bad(conf(tmp_path), replace(NOWHERE, today=long_after), topic="[dmarc]")
    assert found.source in text
    assert "1000 days old" in text


def test_the_list_of_last_resort_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(public_suffix, "OPERATOR_LIST", str(tmp_path / "none"))
    monkeypatch.setattr(public_suffix, "SYSTEM_LIST", str(tmp_path / "none"))
    monkeypatch.setattr(public_suffix.publicsuffixlist, "__file__", str(tmp_path / "none"))
    (text,) = bad(conf(tmp_path), topic="[dmarc]")
    assert "a library's, from 2019" in text


def test_a_list_that_cannot_be_used(tmp_path):
    ((severity, text),) = judged(conf(tmp_path, '[dmarc]\npsl_file = "/nowhere/list.dat"\n'), topic="[dmarc]")
    assert severity is Severity.ERROR
    assert "/nowhere/list.dat" in text


def test_a_list_that_was_passed_over(tmp_path, monkeypatch):
    (tmp_path / "short.dat").write_text("com\n")
    monkeypatch.setattr(public_suffix, "OPERATOR_LIST", str(tmp_path / "short.dat"))
    assert "fewer than" in "\n".join(bad(conf(tmp_path), topic="[dmarc]"))


def test_folders_that_can_be_written(tmp_path):
    assert bad(conf(tmp_path), topic="[history]") == []
    told = dict(reversed(one) for one in judged(conf(tmp_path), topic="[history]"))
    assert all("is writable for" in text for text in told)


@as_root
def test_folders_that_the_filters_user_cannot_write(tmp_path):
    tmp_path.chmod(0o755)
    environment = replace(NOWHERE, user="nobody", account=account_rights.account("nobody"))
    # The public suffix list of a program below /root is another matter, and is told as well.
    said = [text for text in bad(conf(tmp_path), environment) if "psl_file" not in text]
    assert len(said) == 5
    assert all("is not writable for the user nobody" in text for text in said)
    os.chown(tmp_path, account_rights.account("nobody").uid, -1)
    for folder in tmp_path.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
    assert [text for text in bad(conf(tmp_path), environment) if "psl_file" not in text] == []


@pytest.mark.parametrize("mode", [0o600, 0o700])
def test_a_file_where_a_folder_is_needed(tmp_path, mode):
    (tmp_path / "journal").touch(mode)
    (text,) = bad(conf(tmp_path), topic="[history] journal")
    problem = f"{tmp_path}/journal is a file, a folder is needed"
    assert text == f"[history] journal: {problem}: move {tmp_path}/journal away, or name another folder"
    health = files_and_mta_health.journal(conf(tmp_path), NOWHERE)
    assert (health.health, health.text.partition(",")[0]) == (Health.DEGRADED, problem.partition(",")[0])


def test_a_read_only_file_system(tmp_path, monkeypatch):
    """No advice about the user, whose rights are not the problem."""
    status = os.statvfs(tmp_path)
    values = (*status[:8], status.f_flag | os.ST_RDONLY, status.f_namemax)
    monkeypatch.setattr(os, "statvfs", lambda _path: os.statvfs_result(values))
    problem = f"{tmp_path} is on a read-only file system"
    fix = "mount it writable, or name another folder"
    assert f"[history] journal: {problem}: {fix}" in bad(conf(tmp_path))
    health = files_and_mta_health.journal(conf(tmp_path), NOWHERE)
    assert (health.health, health.text) == (Health.DEGRADED, f"{problem}, so outcomes are lost: {fix}")


@as_root
def test_a_folder_that_may_not_be_entered(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o700)
    environment = replace(NOWHERE, user="nobody", account=account_rights.account("nobody"))
    assert (
        "not writable for the user nobody" in bad(conf(tmp_path / "closed" / "deep"), environment, topic="[history]")[0]
    )


UNIT = Unit("/x/dmarcmilter.service", "nobody", "", (), ("/var/lib/none-such",), ("/var/lib/none-such",), closed=True)


@as_root
def test_what_systemd_makes_and_keeps_out(tmp_path):
    environment = replace(NOWHERE, user="nobody", account=account_rights.account("nobody"), unit=UNIT)
    assert bad(conf("/var/lib/none-such"), environment, topic="[history]") == []
    (journal, _) = bad(conf(tmp_path), environment, topic="[history]")
    assert "ReadWritePaths=" in journal
    assert "ReadWritePaths=" in bad(conf(tmp_path), environment, topic="[milter] socket")[0]


def test_a_user_that_is_not_there(tmp_path):
    assert "there is no user ghost" in bad(conf(tmp_path), replace(NOWHERE, user="ghost"))[0]


def test_secrets_and_files_that_are_missing(tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("x")
    key.chmod(0o644)
    more = f'[arc.seal]\ndomain = "example.net"\nselector = "s"\nkey_file = "{key}"\n[recipients]\nfile = "/nowhere"\n'
    said = bad(conf(tmp_path, more))
    assert any("[arc.seal] key_file" in text and "every user" in text for text in said)
    assert any("[recipients] file: /nowhere is not readable" in text for text in said)
    key.chmod(0o640)
    assert not any("[arc.seal]" in text for text in bad(conf(tmp_path, more)))


def test_a_filter_that_runs_as_root(tmp_path):
    as_root_told = bad(conf(tmp_path), replace(NOWHERE, user="root", account=account_rights.account("root")))
    assert [text for text in as_root_told if "runs as root" in text]
    nobody = replace(NOWHERE, user="nobody", account=account_rights.account("nobody"))
    assert not [text for text in bad(conf(tmp_path), nobody) if "runs as root" in text]
