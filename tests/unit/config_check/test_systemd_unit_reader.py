"""systemd's unit of the filter, from its files."""

import pytest

from dmarcmilter.config import load
from dmarcmilter.config.finding import Severity
from dmarcmilter.config.schema import MilterSection
from dmarcmilter.config_check import mta, systemd_unit_reader
from dmarcmilter.value import replace
from tests.support.config_check import NOWHERE
from tests.support.paths import PROJECT

SHIPPED = PROJECT / "systemd" / "dmarcmilter.service"


def installed(tmp_path, text, **drop_ins):
    main, admin = tmp_path / "lib", tmp_path / "etc"
    for folder in (main, admin, admin / f"{systemd_unit_reader.UNIT}.d"):
        folder.mkdir(exist_ok=True)
    (main / systemd_unit_reader.UNIT).write_text(text)
    for name, content in drop_ins.items():
        (admin / f"{systemd_unit_reader.UNIT}.d" / f"{name}.conf").write_text(content)
    return systemd_unit_reader.find((str(admin), str(main)))


def test_our_own_unit(tmp_path):
    unit = installed(tmp_path, SHIPPED.read_text())
    assert (unit.user, unit.group, unit.closed) == ("dmarcmilter", "dmarcmilter", True)
    assert unit.stop_seconds > MilterSection().drain_timeout
    assert unit.makes("/var/lib/dmarcmilter/journal")
    assert unit.makes("/run/dmarcmilter/dmarcmilter.sock")
    assert not unit.keeps_out("/var/lib/dmarcmilter/journal")
    assert unit.keeps_out("/srv/journal")
    assert not unit.makes("/var/lib/dmarcmilter2")


def test_drop_ins(tmp_path):
    more = {
        "10": "[Service]\nUser=other\nReadWritePaths=/srv/a -/srv/b\n",
        "20": "[Unit]\nUser=nobody\n[Service]\n# User=x\nReadWritePaths=\nReadWritePaths=/srv/c\nStateDirectory=more\n"
        "SupplementaryGroups=postfix mail\n",
    }
    unit = installed(tmp_path, SHIPPED.read_text(), **more)
    assert unit.user == "other"
    assert unit.groups == ("postfix", "mail")
    assert not unit.keeps_out("/srv/c/x")
    assert unit.keeps_out("/srv/a")
    assert unit.makes("/var/lib/more/x")


def test_without_protection_nothing_is_kept_out(tmp_path):
    unit = installed(tmp_path, "[Service]\nExecStart=x\n")
    assert (unit.user, unit.closed) == ("root", False)
    assert not unit.keeps_out("/anywhere")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1min 30s", 90), ("5m", 300), ("infinity", None), ("", None)]
)
def test_time_to_stop(text, seconds, tmp_path):
    assert installed(tmp_path, f"[Service]\nTimeoutStopSec={text}\n").stop_seconds == seconds


def test_no_unit(tmp_path):
    assert systemd_unit_reader.find((str(tmp_path),)) is None


@pytest.mark.parametrize(
    "text", ["", "\0\xff" * 500, "[Service", "=\n=x\n[Service]\n=\nUser\nUser=\n" + "User=a" * 90_000]
)
def test_odd_files(text, tmp_path):
    unit = installed(tmp_path, text)
    assert isinstance(unit.user, str)
    assert len(unit.user) <= systemd_unit_reader.MAX_FILE


def test_the_socket_unit_counts_when_it_is_enabled(tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "dmarcmilter.socket").write_text("[Socket]\nListenStream=/run/a.sock\n")
    assert installed(tmp_path, "[Service]\n").listens == ()
    (etc / "sockets.target.wants").mkdir()
    (etc / "sockets.target.wants" / "dmarcmilter.socket").symlink_to("../dmarcmilter.socket")
    assert installed(tmp_path, "[Service]\n").listens == ("/run/a.sock",)
    (etc / "dmarcmilter.socket.d").mkdir()
    (etc / "dmarcmilter.socket.d" / "p.conf").write_text("[Socket]\nListenStream=\nListenStream=8893\n")
    assert installed(tmp_path, "[Service]\n").listens == ("8893",)


@pytest.mark.parametrize(
    ("listens", "socket", "same"),
    [
        ((), "unix:/run/a.sock", True),
        (("/run/a.sock",), "unix:/run/a.sock", True),
        (("/run/b.sock", "/run/a.sock"), "unix:/run/a.sock", True),
        (("/run/b.sock",), "unix:/run/a.sock", False),
        (("8893",), "inet:8893@127.0.0.1", True),
        (("127.0.0.1:8893",), "inet:8893@127.0.0.1", True),
        (("[::1]:8893",), "inet6:8893@::1", True),
        (("127.0.0.1:8893",), "inet:8894@127.0.0.1", False),
        (("/run/a.sock",), "inet:8893@127.0.0.1", False),
    ],
)
def test_a_socket_unit_elsewhere_is_an_error(listens, socket, same):
    unit = systemd_unit_reader.Unit("/x", "u", "", (), (), (), closed=False, listens=listens)
    found = mta.socket_findings(load.parse(f'[milter]\nsocket = "{socket}"\n'), replace(NOWHERE, unit=unit))
    assert any("dmarcmilter.socket" in one.text and one.severity is Severity.ERROR for one in found) != same


def test_the_conf_that_the_unit_names(tmp_path):
    assert installed(tmp_path, SHIPPED.read_text()).conf == "/etc/dmarcmilter/dmarcmilter.toml"
    assert installed(tmp_path, "[Service]\nExecStart=/bin/x run --config=/srv/a.toml -v\n").conf == "/srv/a.toml"
