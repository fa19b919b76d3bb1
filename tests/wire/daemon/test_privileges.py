"""The user that the filter runs as, and what it makes: with a real daemon, where the tests are root's."""

import os
import pwd
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dmarcmilter.config.exposed_files import AS_ROOT
from dmarcmilter.daemon import privileges
from dmarcmilter.testing.milter_client import MilterClient
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT
from tests.support.running_daemon import OpenMessage, wait_until
from tests.support.unprivileged import NOBODY, PACKAGES, PYTHON

MAIL = b"From: a@example.com\r\nSubject: s\r\n\r\nb\r\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
readable = pytest.mark.skipif(PYTHON is None, reason="no Python here that another user could run")


def status(pid):
    """/proc/PID/status by its keys."""
    lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    return {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


@pytest.fixture
def as_nobody(monkeypatch):
    monkeypatch.setattr(FilterDaemon, "more_arguments", ("--user", NOBODY))
    monkeypatch.setattr(sys, "executable", PYTHON)
    monkeypatch.setenv("PYTHONPATH", PACKAGES)
    # No name server: nothing is asked in vain.
    daemon = FilterDaemon({"dns": {"nameservers": ["127.0.0.1:1"], "timeout": 0.1}, "ignore": {"networks": []}})
    daemon.journal.rmdir()
    os.chown(daemon.directory, pwd.getpwnam(NOBODY).pw_uid, -1)
    with daemon:
        yield daemon


@as_root
@readable
def test_started_by_root_it_becomes_the_user_for_good(as_nobody):
    user = pwd.getpwnam(NOBODY)
    supervisor = as_nobody.process.pid
    for pid in (supervisor, *children(supervisor)):
        found = status(pid)
        assert found["Uid"] == [str(user.pw_uid)] * 4
        assert found["Gid"] == [str(user.pw_gid)] * 4
        assert "0" not in found["Groups"]
        assert found["CapEff"] == ["0" * 16]
        assert found["NoNewPrivs"] == ["1"]
    assert "as root" not in as_nobody.log()


@as_root
@readable
def test_the_user_serves_and_what_he_makes_is_private(as_nobody):
    with MilterClient(as_nobody.address) as client:
        client.deliver(MAIL, client_ip="192.0.2.1", helo="h.example", mail_from="a@example.com", queue_id="4P")
    assert as_nobody.record("4P")["author_domain"] == "example.com"
    made = [
        path for path in as_nobody.directory.rglob("*") if path not in (as_nobody.conf, as_nobody.directory / "log")
    ]
    names = {path.name for path in made}
    assert {"journal", "sampling.key", "filter.sock"} <= names
    socket = as_nobody.socket
    lax = {path.name: oct(path.stat().st_mode) for path in made if path != socket and path.stat().st_mode & 0o007}
    assert not lax
    assert {path.owner() for path in made} == {NOBODY}
    assert stat.S_IMODE((as_nobody.directory / "sampling.key").stat().st_mode) == 0o600


@as_root
@readable
def test_a_stop_after_the_sockets_folder_changed_owner_finishes_messages(as_nobody):
    """The socket can then no longer be removed; what is in progress is finished all the same."""
    with MilterClient(as_nobody.address) as client:
        message = OpenMessage(client, MAIL, queue_id="4O")
        os.chown(as_nobody.directory, 0, 0)
        as_nobody.directory.chmod(0o700)
        as_nobody.process.terminate()
        wait_until(lambda: "the socket stays where it is" in as_nobody.log(), "the stop")
        message.finish()
    assert as_nobody.process.wait(20) == 0
    as_nobody.directory.chmod(0o755)
    assert "Traceback" not in as_nobody.log()
    assert as_nobody.socket.exists()


@as_root
def test_root_without_a_user_is_told_in_the_log():
    with FilterDaemon({}) as daemon:
        assert AS_ROOT in daemon.log()


def test_only_root_can_become_another(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam(NOBODY).pw_uid)
    privileges.become(NOBODY)
    with pytest.raises(privileges.PrivilegesError, match="only root can become root"):
        privileges.become("root")


def test_a_user_that_is_not_there_ends_the_start(tmp_path):
    command = [sys.executable, "-m", "dmarcmilter", "run", "--user", "no-such-user", "--config", str(tmp_path / "c")]
    done = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (2, "dmarcmilter: --user: there is no user 'no-such-user'\n")


def test_a_stricter_mask_stays():
    before = os.umask(0o077)
    try:
        privileges.keep_private()
        assert os.umask(0o022) == 0o077
        privileges.keep_private()
        assert os.umask(0o022) == 0o027
    finally:
        os.umask(before)


@as_root
def test_a_python_that_the_user_cannot_read_is_told(tmp_path):
    """Else it would start, and miss a module in the middle of a message."""
    tmp_path.chmod(0o700)
    (tmp_path / "os.py").touch()
    code = (
        "import os, sys\nfrom dmarcmilter.daemon import privileges\n"
        "os.__file__ = sys.argv[1]\nprivileges.become('nobody')\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "os.py")]
    done = subprocess.run(command, check=False, cwd=PROJECT, capture_output=True, text=True, timeout=120)
    assert f"--user: nobody may not read {tmp_path}/os.py, and needs it" in done.stderr
