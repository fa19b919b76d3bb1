"""Whose rights are tried. As root these are real users; without root only one's own."""

import os
import pwd

import pytest

from dmarcmilter.config import account_rights
from dmarcmilter.config.account_rights import acting_as
from dmarcmilter.config_check import environment

ME = pwd.getpwuid(os.geteuid()).pw_name
IS_ROOT = os.geteuid() == 0


def test_accounts():
    nobody = account_rights.account("nobody")
    assert nobody.uid == pwd.getpwnam("nobody").pw_uid
    assert nobody.gid in nobody.groups
    assert nobody.group_name in nobody.group_names
    assert account_rights.account("no such user") is None
    assert account_rights.account("nobody", group="no such group") is None
    with_more = account_rights.account("nobody", group="daemon", more_groups=("mail", "no such group"))
    assert {"daemon", "mail"} <= with_more.group_names
    assert with_more.group_name == "daemon"


@pytest.mark.skipif(not IS_ROOT, reason="only root can act as another user")
def test_acting_as_another(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o600)
    before = os.getgroups()
    with acting_as(account_rights.account("nobody")):
        assert os.geteuid() == pwd.getpwnam("nobody").pw_uid
        assert not os.access(secret, os.R_OK, effective_ids=True)
        with pytest.raises(PermissionError):
            secret.read_text()
    assert os.geteuid() == 0
    assert os.getgroups() == before
    assert secret.read_text() == "x"


@pytest.mark.skipif(not IS_ROOT, reason="only root can act as another user")
def test_rights_come_back_after_a_failure():
    with pytest.raises(ValueError, match="x"), acting_as(account_rights.account("nobody")):
        raise ValueError("x")
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_without_an_account_nothing_changes():
    with acting_as(None):
        assert os.geteuid() == pwd.getpwnam(ME).pw_uid
    assert not account_rights.can_act_as(None)
    assert account_rights.can_act_as(account_rights.account(ME))


def test_a_scene_with_a_user(tmp_path):
    found = environment.gather("nobody", postfix_directory=str(tmp_path))
    assert found.account.name == "nobody"
    assert found.postfix is None
    assert found.hostname
    assert found.tried_user == ("the user nobody" if IS_ROOT else "the user that runs this check")


def test_a_scene_with_a_user_that_is_not_there(tmp_path):
    found = environment.gather("no such user", postfix_directory=str(tmp_path))
    assert (found.user, found.account) == ("no such user", None)
    assert found.tried_user == "the user that runs this check"


@pytest.mark.skipif(not IS_ROOT, reason="only root can act as another user")
def test_the_user_of_the_unit(monkeypatch, tmp_path):
    (tmp_path / "dmarcmilter.service").write_text("[Service]\nUser=nobody\nGroup=daemon\nSupplementaryGroups=mail\n")
    find = environment.systemd_unit_reader.find
    monkeypatch.setattr(environment.systemd_unit_reader, "find", lambda: find((str(tmp_path),)))
    found = environment.gather(postfix_directory=str(tmp_path))
    assert (found.user, found.account.group_name) == ("nobody", "daemon")
    assert "mail" in found.account.group_names
    assert found.unit is not None
