"""Postfix's side: what postconf says of configurations made for it, and whether the conf fits them."""

import grp
import pwd

import pytest

from dmarcmilter.config import account_rights
from dmarcmilter.config_check import mta
from dmarcmilter.config_check.systemd_unit_reader import Unit
from dmarcmilter.value import replace
from tests.support.config_check import INSIDE, NOWHERE, POSTFIX, SCENE, SERVICES, said


@pytest.fixture(autouse=True)
def _no_postfix(monkeypatch, tmp_path):
    monkeypatch.setattr(mta, "POSTFIX_QUEUE", str(tmp_path / "nowhere"))


def test_a_socket_outside_of_the_chroot():
    (text,) = said('socket = "unix:/run/f.sock"\nsocket_mode = "0660"')
    assert "outside /var/spool/postfix" in text
    assert "smtp/inet" in text
    free = replace(POSTFIX, services=(replace(SERVICES[0], chrooted=False),))
    assert said('socket = "unix:/run/f.sock"\nsocket_mode = "0660"', replace(SCENE, postfix=free)) == []


def test_without_postconf_the_usual_queue_directory_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(mta, "POSTFIX_QUEUE", str(tmp_path))
    assert "chroot" in said('socket = "unix:/run/f.sock"', NOWHERE)[0]
    assert said(f'socket = "unix:{tmp_path}/f.sock"', NOWHERE) == []
    assert len(said(f'socket = "unix:{tmp_path}x/f.sock"', NOWHERE)) == 1


def test_rights_of_the_socket():
    assert "only the filter's own user" in said('socket = "unix:/run/f.sock"\nsocket_mode = "0600"', NOWHERE)[0]
    for mode in ("0660", "0620"):
        assert said(f'socket = "unix:/run/f.sock"\nsocket_mode = "{mode}"', NOWHERE) == []
    for mode in ("0666", "0606", "0622"):
        (text,) = said(f'socket = "unix:/run/f.sock"\nsocket_mode = "{mode}"', NOWHERE)
        assert "every user of this machine" in text
    assert "no group 'no-such'" in said('socket = "unix:/run/f.sock"\nsocket_group = "no-such"', NOWHERE)[0]
    group = grp.getgrall()[0].gr_name
    assert said(f'socket = "unix:/run/f.sock"\nsocket_group = "{group}"', NOWHERE) == []


def test_the_mtas_user_is_not_in_the_sockets_group():
    environment = replace(SCENE, account=account_rights.account("daemon"), postfix=replace(POSTFIX, owner="nobody"))
    inside = INSIDE
    assert "usermod -aG daemon nobody" in said(inside, environment)[0]
    # Another group gives its members more than the filter's socket.
    (told,) = said(inside + '\nsocket_group = "mail"', environment)
    assert "usermod" not in told
    assert "chgrp nogroup /var/spool/postfix/dm && chmod 2750 /var/spool/postfix/dm" in told
    assert said(inside, replace(environment, postfix=replace(POSTFIX, owner="daemon"))) == []


def test_a_socket_gets_the_group_of_its_folder(tmp_path):
    """Of the set-group-ID bit; the filter's user need not be a member then."""
    mine = pwd.getpwuid(tmp_path.stat().st_uid).pw_name  # whose group the folder has
    near = replace(POSTFIX, queue_directory=str(tmp_path), owner=mine)
    environment = replace(SCENE, account=account_rights.account("daemon"), postfix=near)
    socket = f'socket = "unix:{tmp_path}/f.sock"'
    tmp_path.chmod(0o750)
    assert "lets only the group daemon connect" in said(socket, environment)[0]
    tmp_path.chmod(0o2750)
    assert said(socket, environment) == []


@pytest.mark.parametrize(
    ("name", "environment", "warned"),
    [
        ("mx.example.net", SCENE, False),
        ("MX.example.net", SCENE, False),
        ("other.example.net", SCENE, True),
        ("mx.example.net", replace(NOWHERE, hostname="mx"), False),
        ("other.example.net", replace(NOWHERE, hostname="mx"), True),
    ],
)
def test_the_name_in_authentication_results(name, environment, warned):
    found = said(INSIDE, environment, f'[identity]\nauthserv_id = "{name}"')
    assert bool(found) == warned
    assert not warned or "authserv_id" in found[0]


def test_patience():
    slow = "[dns]\nmessage_budget = 240.0"
    assert said(INSIDE, more=slow) == []
    hasty = replace(SCENE, postfix=replace(POSTFIX, content_timeout=60.0))
    assert said(INSIDE, hasty) == []
    assert "milter_content_timeout (60 s)" in said(INSIDE, hasty, slow)[0]
    assert said(INSIDE, replace(SCENE, postfix=replace(POSTFIX, content_timeout=None)), slow) == []


def test_the_unit_must_let_messages_end():
    unit = Unit("/x", "u", "", (), (), (), closed=False, stop_seconds=90.0)
    environment = replace(SCENE, unit=unit)
    assert said(INSIDE + "\ndrain_timeout = 89.0", environment) == []
    assert "TimeoutStopSec (90 s)" in said(INSIDE + "\ndrain_timeout = 90.0", environment)[0]


def test_mail_that_does_not_come_to_us():
    (text,) = said('socket = "inet:8893@127.0.0.1"', live=True)
    assert "smtp/inet is unix:dm/dm.sock, not our socket" in text
    none = replace(SCENE, postfix=replace(POSTFIX, services=(replace(SERVICES[0], milters=()),)))
    assert "is nothing" in said(INSIDE, none, live=True)[0]
    assert "no smtpd" in said(INSIDE, replace(SCENE, postfix=replace(POSTFIX, services=())), live=True)[0]


def test_without_postfix_its_side_is_not_checked():
    assert said(INSIDE, NOWHERE, live=True) == []


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.1", "10.0.0.1"])
def test_a_port_that_others_can_reach(address):
    """Who connects is taken for the MTA."""
    (text,) = said(f'socket = "inet:8893@{address}"')
    assert "let only the MTA reach port 8893" in text
    assert said('socket = "inet6:8893@::1"') == []
    assert len(said('socket = "inet6:8893@::"')) == 1
