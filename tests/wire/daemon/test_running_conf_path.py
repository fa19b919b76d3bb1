"""The conf file of a running filter, and `config check --running`, with which systemd's unit begins a reload."""

import json
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.daemon import running_conf_path
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT
from tests.support.running_daemon import conf, wait_until
from tests.support.systemd_units import setting


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """Makes a process with the command line of that test."""
    monkeypatch.setattr(running_conf_path, "PROC", tmp_path)
    (tmp_path / "7").mkdir()

    def make(*words):
        (tmp_path / "7" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
        (tmp_path / "7" / "cwd").symlink_to("/srv")

    return make


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (["/usr/bin/dmarcmilter", "run", "--config", "/etc/d.toml"], "/etc/d.toml"),
        (["/usr/bin/python3", "-I", "/usr/bin/dmarcmilter", "run", "--config=/etc/d.toml"], "/etc/d.toml"),
        (["python", "-m", "dmarcmilter", "run", "--user", "me", "--config", "x/d.toml"], "/srv/x/d.toml"),
        (["dmarcmilter", "run", "--config", "/a", "--config", "/b"], "/b"),
        (["dmarcmilter", "run", "--config", "/a b/=c.toml"], "/a b/=c.toml"),
        (["dmarcmilter", "run"], ""),
    ],
)
def test_conf_path(proc, words, path):
    proc(*words)
    assert running_conf_path.conf_path(7) == path


def test_other_processes(proc):
    proc("sleep", "5")
    for pid in (7, 8):
        with pytest.raises(running_conf_path.NotRunningError, match=f"process {pid}"):
            running_conf_path.conf_path(pid)


@pytest.fixture
def daemon():
    with NameServer({}) as dns, FilterDaemon(conf(dns)) as started:
        wait_until(lambda: "ready: " in started.log(), "the start")
        yield started


def systemctl_reload(daemon):
    """Run the unit's ExecReload= lines as systemd does: one after the other, until one fails."""
    for line in setting("dmarcmilter.service", "ExecReload"):
        words = shlex.split(line.replace("$MAINPID", str(daemon.process.pid)))
        if words[0] == "/usr/bin/dmarcmilter":
            words[:1] = [sys.executable, "-m", "dmarcmilter"]
        done = subprocess.run(words, cwd=PROJECT, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode:
            return done
    return done


BROKEN = {
    "syntax": "[milter\n",
    "unknown key": "[policy]\nmood = 1\n",
    "wrong value": '[policy]\nmode = "enforced"\n',
    "public suffix list that is not there": '[dmarc]\npsl_file = "/no/such/list"\n',
    "recipients' file that is not there": '[recipients]\nfile = "/no/such/file"\n',
    "sealing key that is not there": '[arc.seal]\ndomain = "a.example"\nselector = "s"\nkey_file = "/no/key"\n',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_reload_fails_and_the_filter_goes_on(daemon, text):
    good = daemon.conf.read_text()
    sections = text if "[policy]" in text or "[milter" in text else good + text
    daemon.conf.write_text(sections)
    done = systemctl_reload(daemon)
    assert done.returncode == 2
    assert done.stderr.startswith("dmarcmilter: ")
    assert "Traceback" not in done.stderr
    assert "reload" not in daemon.log()
    daemon.conf.write_text(good)
    assert systemctl_reload(daemon).returncode == 0
    wait_until(lambda: f"INFO reloaded {daemon.conf}" in daemon.log(), "the reload")


def test_a_warning_does_not_stop_a_reload(daemon):
    daemon.conf.write_text(daemon.conf.read_text().replace('mode = "enforce"\n', ""))
    done = CliRunner().invoke(main, ["config", "check", "--running", str(daemon.process.pid)])
    assert done.exit_code == 0
    assert done.stdout.startswith("warning: [policy] mode is not written")
    assert done.stdout.endswith(f"{daemon.conf}: valid, 1 warning\n")
    assert systemctl_reload(daemon).returncode == 0
    wait_until(lambda: "mode monitor" in daemon.log(), "the reload")


def test_the_check_of_a_running_filter_writes_nothing(daemon):
    key = daemon.directory / "other.key"
    daemon.conf.write_text(daemon.conf.read_text().replace("sampling.key", "other.key"))
    done = CliRunner().invoke(main, ["config", "check", "--json", "--running", str(daemon.process.pid)])
    assert json.loads(done.stdout) == {"file": str(daemon.conf), "valid": True, "findings": []}
    assert not key.exists()


def test_running_takes_no_file(tmp_path):
    for words in (["--running", "1", str(tmp_path / "c.toml")], ["--running", "999999999"]):
        done = CliRunner().invoke(main, ["config", "check", *words])
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("dmarcmilter: --running")
