"""Log lines on standard error, in systemd's journal, and in syslog."""

import contextlib
import io
import logging
import os
import re
import socket
import subprocess
import sys

import pytest

from dmarcmilter.config.schema import LogFacility, LogLevel, LogSection
from dmarcmilter.daemon import log_output
from tests.support.paths import PROJECT
from tests.support.running_daemon import wait_until


@pytest.fixture
def journal(tmp_path, monkeypatch):
    """A file in the place of the journal's stream."""
    with (tmp_path / "journal").open("w+", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        yield stream


def written(stream):
    stream.flush()
    stream.seek(0)
    return stream.read()


def log_each_level():
    log = logging.getLogger("dmarcmilter.anything")
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(level, "text")


def test_each_level_has_its_priority_in_the_journal(journal):
    with contextlib.redirect_stderr(journal):
        log_output.configure(LogSection(LogLevel.DEBUG))
        log_each_level()
    assert written(journal).splitlines() == [
        "<7>DEBUG text",
        "<6>INFO text",
        "<4>WARNING text",
        "<3>ERROR text",
        "<2>CRITICAL text",
    ]


def test_each_line_of_a_traceback_has_the_priority(journal):
    with contextlib.redirect_stderr(journal):
        log_output.configure(LogSection())
        try:
            raise RuntimeError("first\nsecond")
        except RuntimeError:
            logging.getLogger("dmarcmilter.anything").exception("failed")
    lines = written(journal).splitlines()
    assert lines[0] == "<3>ERROR failed"
    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines)


@pytest.mark.parametrize("stream", ["", "1:2", "nonsense", "1:2:3"])
def test_no_priority_elsewhere(journal, monkeypatch, stream):
    monkeypatch.setenv("JOURNAL_STREAM", stream)
    with contextlib.redirect_stderr(journal):
        log_output.configure(LogSection())
        logging.getLogger("dmarcmilter.anything").warning("text")
        assert log_output.with_priority("text", logging.ERROR) == "text"
    assert written(journal) == "WARNING text\n"


def test_a_stream_without_a_file_is_not_the_journal(journal):
    assert log_output.is_journal(journal)
    assert not log_output.is_journal(io.StringIO())


def test_levels_below_the_settings_are_not_written(journal):
    with contextlib.redirect_stderr(journal):
        log_output.configure(LogSection(LogLevel.WARNING))
        log_each_level()
        log_output.configure(LogSection(LogLevel.ERROR))
        log_each_level()
    words = [line.split()[0] for line in written(journal).splitlines()]
    assert words == ["<4>WARNING", "<3>ERROR", "<2>CRITICAL", "<3>ERROR", "<2>CRITICAL"]


def test_the_filter_and_commands_write_priorities(tmp_path):
    """`journalctl -p warning` shows warnings and errors, and nothing else."""
    conf = tmp_path / "c.toml"
    conf.write_text(
        f'[milter]\nsocket = "unix:{tmp_path}/f.sock"\nworkers = 1\n[policy]\nsampling_key = "{tmp_path}/key"\n'
        f'[history]\njournal = "{tmp_path}/journal"\n[defer]\ndirectory = "{tmp_path}/deferred"\n'
    )
    log = tmp_path / "log"
    with log.open("w") as stream:
        status = os.fstat(stream.fileno())
        environment = os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

        def start(*words):
            command = [sys.executable, "-m", "dmarcmilter", *words, "--config", str(conf)]
            return subprocess.Popen(command, cwd=PROJECT, stderr=stream, stdout=stream, env=environment)

        running = start("run")
        try:
            wait_until(lambda: "ready: " in log.read_text(), "the start")
        finally:
            running.terminate()
            running.wait(20)
        conf.write_text("[polcy]\n")
        assert start("run").wait(20) == 2
        assert start("history", "ingest").wait(20) == 2
    lines = log.read_text().splitlines()
    assert all(re.match(r"<[3-7]>", line) for line in lines), lines
    assert any(line.startswith("<4>WARNING [policy] mode is not written") for line in lines)
    assert any(line.startswith("<6>INFO ready: ") for line in lines)
    assert sum(line.startswith("<3>dmarcmilter: ") for line in lines) == 2


# --- syslog


class Syslogd:
    def __init__(self, path):
        self.path = path
        self.start()

    def start(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.socket.settimeout(5)

    def restart(self):
        self.stop()
        self.start()

    def stop(self):
        self.socket.close()
        self.path.unlink()

    def line(self):
        return self.socket.recv(65_536).decode()


@pytest.fixture
def syslogd(tmp_path, monkeypatch):
    monkeypatch.setattr(log_output, "SYSLOG_SOCKET", str(tmp_path / "log"))
    daemon = Syslogd(tmp_path / "log")
    yield daemon
    daemon.socket.close()


@pytest.mark.parametrize(
    ("facility", "number"), [("mail", 2), ("daemon", 3), ("local0", 16), ("local3", 19), ("local7", 23)]
)
def test_syslog_gets_facility_priority_and_process(syslogd, facility, number):
    log_output.configure(LogSection(LogLevel.INFO, LogFacility(facility)))
    logging.getLogger("dmarcmilter.anything").warning("text %s", "\udcff")
    assert syslogd.line() == f"<{number * 8 + 4}>dmarcmilter[{os.getpid()}]: WARNING text ?"


def test_every_facility_has_a_number():
    assert log_output.FACILITIES.keys() == set(LogFacility) - {LogFacility.NONE}


def test_syslog_that_was_started_again_gets_the_next_line(syslogd):
    log_output.configure(LogSection(LogLevel.INFO, LogFacility.MAIL))
    log = logging.getLogger("dmarcmilter.anything")
    syslogd.stop()
    log.info("lost")
    syslogd.start()
    log.info("one")
    log.info("two")
    assert [syslogd.line().rpartition(": ")[2] for _ in range(2)] == ["INFO one", "INFO two"]


def test_syslog_that_reads_nothing_does_not_stop_us(syslogd):
    log_output.configure(LogSection(LogLevel.INFO, LogFacility.MAIL))
    for _ in range(2000):
        logging.getLogger("dmarcmilter.anything").info("x" * 1000)
    assert "INFO xxx" in syslogd.line()


def test_without_syslog_standard_error_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(log_output, "SYSLOG_SOCKET", str(tmp_path / "none"))
    log_output.configure(LogSection(LogLevel.INFO, LogFacility.MAIL))
    logging.getLogger("dmarcmilter.anything").info("text")
    told, text = capsys.readouterr().err.splitlines()
    assert told.startswith("WARNING [log] syslog_facility: ")
    assert text == "INFO text"


def test_a_reload_changes_from_one_to_the_other(syslogd, capsys):
    log = logging.getLogger("dmarcmilter.anything")
    for settings in (LogSection(), LogSection(LogLevel.INFO, LogFacility.MAIL), LogSection()):
        log_output.configure(settings)
        log.info("to %s", settings.syslog_facility or "standard error")
    assert syslogd.line().endswith(": INFO to mail")
    assert capsys.readouterr().err.splitlines() == ["INFO to standard error"] * 2
