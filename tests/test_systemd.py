"""The units: what systemd itself says of them, and that they agree with the program."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dmarcmilter import worker
from dmarcmilter.children import READY_SECONDS
from dmarcmilter.cli import main
from dmarcmilter.daemon import STOP_GRACE
from dmarcmilter.lifesigns import SILENCE_SECONDS
from dmarcmilter.reports import delivery
from dmarcmilter.reports.grouping import MAX_BYTES
from dmarcmilter.reports.merging import SPF_SECONDS
from dmarcmilter.reports.run import PLAN_SECONDS, RUN_SECONDS
from dmarcmilter.reports.standing import LEASE
from dmarcmilter.reports.verifying import VERIFY_SECONDS
from dmarcmilter.settings import Config

UNITS = Path(__file__).resolve().parent.parent / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
MAX_EXPOSURE = 2.0


def setting(unit, name):
    return re.findall(rf"^{name}=(.*)$", (UNITS / unit).read_text(encoding="utf-8"), re.MULTILINE)


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
    assert int(stop) > Config().milter.drain_timeout + STOP_GRACE
    # A worker that does not start delays a sign of life; one that is silent is replaced before the service is.
    assert int(watchdog) > 2 * READY_SECONDS
    assert int(watchdog) > SILENCE_SECONDS + 10
    assert SILENCE_SECONDS > 10 * worker.BEAT_SECONDS


def test_a_run_of_reports_ends_before_its_unit_is_stopped():
    """With time for the delivery that goes on at that moment, and its memory is bounded."""
    [timeout] = setting("dmarcmilter-report.service", "TimeoutStartSec")
    assert int(timeout.removesuffix("min")) * 60 >= RUN_SECONDS + 4 * delivery.SECONDS
    assert RUN_SECONDS > PLAN_SECONDS + SPF_SECONDS + 2 * VERIFY_SECONDS, "each step has its time"
    assert LEASE > 4 * delivery.SECONDS
    [memory] = setting("dmarcmilter-report.service", "MemoryMax")
    assert int(memory.removesuffix("M")) * 1_000_000 > 20 * MAX_BYTES


def test_the_socket_unit_is_that_of_the_conf_file():
    [path] = setting("dmarcmilter.socket", "ListenStream")
    assert Config().milter.socket == f"unix:{path}"
    assert setting("dmarcmilter.socket", "SocketMode") == [Config().milter.socket_mode]
    # Else systemd would remove the socket with the service that it should outlive.
    assert setting("dmarcmilter.service", "RuntimeDirectoryPreserve") == ["yes"]
