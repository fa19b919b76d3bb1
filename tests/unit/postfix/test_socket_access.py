"""Which folder or socket Postfix's user has no access to, and the command that grants it without giving more."""

import os
import stat
from pathlib import Path

import pytest

from dmarcmilter.config import account_rights
from dmarcmilter.postfix import socket_access
from dmarcmilter.postfix.postconf import Postfix, Service
from dmarcmilter.value import replace

NOBODY = account_rights.account("nobody")
SERVICE = Service("smtp/inet", chrooted=True, milters=())


def postfix_in(folder):
    return Postfix("mx.example.net", str(folder), "postfix", "6", "tempfail", 300.0, (SERVICE,))


@pytest.fixture
def closed(monkeypatch):
    """Makes folders that may not be entered, which no mode can do for root."""
    folders = set()
    real = os.access

    def access(path, mode, **options):
        return Path(path) not in folders if mode == os.X_OK else real(path, mode, **options)

    monkeypatch.setattr(socket_access.os, "access", access)
    return folders.add


def test_a_path_that_is_open(tmp_path):
    assert socket_access.first_closed(tmp_path / "f.sock", None) is None


def test_the_topmost_closed_folder_is_named(tmp_path, closed):
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    closed(tmp_path / "a")
    closed(folder)
    assert socket_access.first_closed(folder / "f.sock", None) == tmp_path / "a"


def test_folders_above_the_queue_directory_do_not_count(tmp_path, closed):
    """smtpd starts in it."""
    folder = tmp_path / "spool" / "dm"
    folder.mkdir(parents=True)
    closed(tmp_path)
    assert socket_access.first_closed(folder / "f.sock", None) == tmp_path
    assert socket_access.first_closed(folder / "f.sock", None, top=str(tmp_path / "spool")) is None
    closed(tmp_path / "spool")
    assert socket_access.first_closed(folder / "f.sock", None, top=str(tmp_path / "spool")) == tmp_path / "spool"


def test_a_folder_that_does_not_exist_closes_nothing(tmp_path):
    assert socket_access.first_closed(tmp_path / "none" / "f.sock", None) is None


@pytest.mark.parametrize(
    ("mode", "advised"), [(0o750, 0o2750), (0o700, 0o2750), (0o755, 0o2755), (0o777, 0o2755), (0o2770, 0o2750)]
)
def test_the_command_opens_the_folder_to_the_group_and_lets_nobody_else_write(mode, advised, tmp_path):
    folder = tmp_path / "dm"
    folder.mkdir()
    folder.chmod(mode)
    command = socket_access.command_to_open(folder, NOBODY)
    assert command.startswith(f"chgrp {NOBODY.group_name} {folder} && chmod {advised:o} {folder} && ")
    folder.chmod(advised)
    assert stat.S_IMODE(folder.stat().st_mode) & 0o022 == 0


def test_the_command_for_a_folder_that_is_not_there(tmp_path):
    assert "chmod 2750" in socket_access.command_to_open(tmp_path / "none", NOBODY)


def test_only_the_sockets_own_folder_changes_its_group(tmp_path):
    assert socket_access.command_to_enter(tmp_path, NOBODY, is_last=False) == f"chmod o+x {tmp_path}"
    assert socket_access.command_to_enter(tmp_path, NOBODY, is_last=True).startswith("chgrp ")


def test_why_a_connection_is_refused(tmp_path, closed, monkeypatch):
    monkeypatch.setattr(socket_access, "acting_as", lambda _account: socket_access.contextlib.nullcontext())
    folder = tmp_path / "dm"
    folder.mkdir()
    postfix = postfix_in(tmp_path)

    def why(milter="unix:/dm/f.sock", service=SERVICE):
        return socket_access.why_refused(NOBODY, milter, service, postfix)

    assert why().startswith(f"it may not write to the socket: chgrp {NOBODY.group_name} {folder} ")
    closed(folder)
    assert why().startswith(f"it may not enter {folder}: chgrp ")
    assert why(f"unix:{folder}/f.sock", replace(SERVICE, chrooted=False)).startswith(f"it may not enter {folder}: ")
    assert why("inet:127.0.0.1:8893") == ""


@pytest.mark.parametrize(("account", "milter"), [(None, "unix:/dm/f.sock"), (NOBODY, "inet:127.0.0.1:8893")])
def test_nothing_is_tried_without_an_account_or_a_path(account, milter, tmp_path):
    assert socket_access.connect_as(account, milter, SERVICE, postfix_in(tmp_path)) == socket_access.CANNOT_TRY


def test_only_root_tries(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    found = socket_access.connect_as(NOBODY, "unix:/dm/f.sock", SERVICE, postfix_in(tmp_path))
    assert found == socket_access.CANNOT_TRY
