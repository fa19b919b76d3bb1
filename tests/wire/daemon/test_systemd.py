"""The units: what systemd itself says of them, and that they agree with the program."""

import re
import shutil
import subprocess

import pytest

from dmarcmilter.cli import main
from dmarcmilter.config.schema import Config
from dmarcmilter.daemon import worker
from dmarcmilter.daemon.child_process import READY_SECONDS
from dmarcmilter.daemon.supervisor import STOP_GRACE_SECONDS
from dmarcmilter.daemon.watchdog import SILENCE_SECONDS
from dmarcmilter.reports.aggregate.grouping import MAX_BYTES
from dmarcmilter.reports.delivery import relay
from dmarcmilter.reports.delivery.parallel_verification import VERIFY_SECONDS
from dmarcmilter.reports.failure.planning import SPF_SECONDS
from dmarcmilter.reports.run import PLAN_SECONDS, RUN_SECONDS
from dmarcmilter.reports.run_lock import LEASE_SECONDS
from tests.support import systemd_boot
from tests.support.systemd_units import UNITS, setting
from tests.support.unprivileged import PYTHON

SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
MAX_EXPOSURE = 2.0


def analyze(*arguments):
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed: the units were not verified")
    return subprocess.run([tool, *arguments], check=False, capture_output=True, text=True, timeout=60)


def test_systemd_finds_no_fault(tmp_path):
    for unit in UNITS.iterdir():
        text = unit.read_text(encoding="utf-8")
        (tmp_path / unit.name).write_text(text.replace("/usr/bin/dmarcmilter", "/bin/true"), encoding="utf-8")
    done = analyze("verify", "--man=no", *map(str, tmp_path.iterdir()))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("unit", SERVICES)
def test_exposure(unit):
    done = analyze("security", "--offline=true", "--no-pager", str(UNITS / unit))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip(f"this systemd-analyze knows no --offline: {done.stderr.strip()[:200]}")
    assert float(found[1]) <= MAX_EXPOSURE, done.stdout


@pytest.mark.parametrize("unit", SERVICES)
def test_commands_exist(unit):
    [command] = setting(unit, "ExecStart")
    program, *words = command.split()
    assert program == "/usr/bin/dmarcmilter"
    found = main
    for word in words[: words.index("--config")]:
        if not word.startswith("-"):
            found = found.commands[word]
    known = {option for parameter in found.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_log_lines_have_the_facility_mail():
    for unit in SERVICES:
        assert setting(unit, "SyslogFacility") == ["mail"]


def test_times_agree_with_the_program():
    [stop], [watchdog] = setting("dmarcmilter.service", "TimeoutStopSec"), setting("dmarcmilter.service", "WatchdogSec")
    assert int(stop) > Config().milter.drain_timeout + STOP_GRACE_SECONDS
    # A worker that does not start delays a sign of life; one that is silent is replaced before the service is.
    assert int(watchdog) > 2 * READY_SECONDS
    assert int(watchdog) > SILENCE_SECONDS + 10
    assert SILENCE_SECONDS > 10 * worker.BEAT_SECONDS


def test_a_run_of_reports_ends_before_its_unit_is_stopped():
    """With time for the delivery that goes on at that moment, and its memory is bounded."""
    [timeout] = setting("dmarcmilter-report.service", "TimeoutStartSec")
    assert int(timeout.removesuffix("min")) * 60 >= RUN_SECONDS + 4 * relay.SECONDS
    assert RUN_SECONDS > PLAN_SECONDS + SPF_SECONDS + 2 * VERIFY_SECONDS, "each step has its time"
    assert LEASE_SECONDS > 4 * relay.SECONDS
    [memory] = setting("dmarcmilter-report.service", "MemoryMax")
    assert int(memory.removesuffix("M")) * 1_000_000 > 20 * MAX_BYTES


def test_the_socket_unit_is_that_of_the_conf_file():
    [path] = setting("dmarcmilter.socket", "ListenStream")
    assert Config().milter.socket == f"unix:{path}"
    assert setting("dmarcmilter.socket", "SocketMode") == [Config().milter.socket_mode]
    # Else systemd would remove the socket with the service that it should outlive.
    assert setting("dmarcmilter.service", "RuntimeDirectoryPreserve") == ["yes"]


# --- a systemd of its own


@pytest.fixture(scope="module")
def boot():
    """A script's output, from a system that was booted for it."""
    reason = systemd_boot.missing() or ("" if PYTHON else "no Python here that another user could run")
    if reason:
        pytest.skip(reason)

    def run(script):
        return systemd_boot.boot(script, python=PYTHON)

    return run


CONNECTS = """setpriv --reuid postfix --regid postfix --init-groups /usr/bin/python3 -c "
import socket
socket.socket(socket.AF_UNIX).connect('/run/dmarcmilter/dmarcmilter.sock')
print('postfix connects')" 2>&1 | tail -n 1
"""
OWNER = "stat -c '%U:%G:%a' /run/dmarcmilter/dmarcmilter.sock\n"
"""The user postfix is that of the package: mta.postfix tells when it is not there."""


def steps():
    """The commands that the socket unit's comment names."""
    text = (UNITS / "dmarcmilter.socket").read_text(encoding="utf-8")
    found = re.findall(r"^#   (systemctl .*)$", text, re.MULTILINE)
    assert len(found) == 3
    return found


def test_the_documented_steps_work_while_the_filter_runs(boot):
    """To socket activation on a running system, a restart that refuses nobody, and back."""
    lines = boot(
        "systemctl enable --now dmarcmilter.service 2>/dev/null\n"
        + "".join(f"{step} 2>/dev/null; echo $?\n" for step in steps())
        + OWNER
        + CONNECTS
        + "systemctl is-active dmarcmilter.socket dmarcmilter.service\n"
        + "systemctl restart dmarcmilter.service; echo $?\n"
        + OWNER
        + CONNECTS
        + "dmarcmilter health --json --skip dns --skip ingest | grep -A 3 socket | grep answers\n"
        + "systemctl disable --now dmarcmilter.socket 2>/dev/null; systemctl restart dmarcmilter.service; echo $?\n"
        + "stat -c '%U:%G' /run/dmarcmilter/dmarcmilter.sock\n"
        + "journalctl -q -o cat -u dmarcmilter.service | grep -c 'not used'\n"
    ).splitlines()
    ours, activated = "dmarcmilter:dmarcmilter", "dmarcmilter:postfix:660"
    assert lines[:3] == ["0"] * 3, lines
    assert lines[3:7] == [activated, "postfix connects", "active", "active"]
    assert lines[7:10] == ["0", activated, "postfix connects"]
    assert "protocol version 6" in lines[10]
    assert lines[11:] == ["0", ours, "0"]


def test_after_a_boot_the_socket_keeps_its_group(boot):
    """It is made before the service, in a folder that the service then takes for its own, with all that is in it."""
    lines = boot(
        "systemctl start dmarcmilter.socket\n"
        + OWNER
        + "systemctl start dmarcmilter.service\n"
        + OWNER
        + CONNECTS
        + "systemctl is-active dmarcmilter.service\n"
    ).splitlines()
    assert lines == ["dmarcmilter:postfix:660"] * 2 + ["postfix connects", "active"]


def test_a_connection_starts_the_filter(boot):
    lines = boot(
        "systemctl start dmarcmilter.socket\nsystemctl is-active dmarcmilter.service\n"
        + CONNECTS
        + "for _ in 1 2 3 4 5 6 7 8 9; do systemctl is-active -q dmarcmilter.service && break; sleep 1; done\n"
        + "systemctl is-active dmarcmilter.service\n"
    ).splitlines()
    assert lines == ["inactive", "postfix connects", "active"]


def test_a_socket_unit_that_differs_from_the_conf_is_told(boot):
    """By the log, and by `config check`, which names both and what to do."""
    told = boot(
        "mkdir -p /etc/systemd/system/dmarcmilter.socket.d\n"
        "printf '[Socket]\\nListenStream=\\nListenStream=/run/dmarcmilter/other.sock\\n' "
        ">/etc/systemd/system/dmarcmilter.socket.d/place.conf\n"
        "systemctl daemon-reload\nsystemctl enable dmarcmilter.socket 2>/dev/null\n"
        "systemctl start dmarcmilter.socket dmarcmilter.service\n"
        "journalctl -q -o cat -u dmarcmilter.service | grep 'not used'\n"
        "dmarcmilter config check | grep 'dmarcmilter.socket'\n"
    )
    assert "the service manager's socket is /run/dmarcmilter/other.sock; [milter] socket is not used" in told
    assert "error: [milter] socket is unix:/run/dmarcmilter/dmarcmilter.sock, and dmarcmilter.socket" in told
    assert 'set socket = "unix:/run/dmarcmilter/other.sock"' in told


def test_a_reload_with_a_broken_conf_fails_and_changes_nothing(boot):
    lines = boot(
        "systemctl start dmarcmilter.service; systemctl reload dmarcmilter.service 2>/dev/null; echo $?\n"
        "echo '[polcy]' >>/etc/dmarcmilter/dmarcmilter.toml\n"
        "systemctl reload dmarcmilter.service 2>/dev/null; echo $?\nsystemctl is-active dmarcmilter.service\n"
    ).splitlines()
    assert lines == ["0", "1", "active"]
