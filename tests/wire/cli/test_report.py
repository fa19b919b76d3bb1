"""`dmarcmilter report`, from a conf file to an SMTP server."""

import base64
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main, report_setup
from dmarcmilter.daemon import log_output
from dmarcmilter.history import migrations, outcome_rows
from dmarcmilter.history.outcome_writer import Advance, Writer
from dmarcmilter.history.store import Store
from dmarcmilter.outcome_record import encoded
from dmarcmilter.reports.delivery.sending import RunResult
from dmarcmilter.testing.name_server import NameServer
from tests.support.mta.smtp_sink import Sink
from tests.support.report_outcomes import outcome, passed
from tests.support.signing import ed25519_key

YESTERDAY = datetime.now(UTC).date() - timedelta(days=2)
"""Or the day before: yesterday may not be settled when this runs."""
ZONE = {"*._report._dmarc.vendor.example": {"TXT": ["v=DMARC1"]}}


@pytest.fixture
def site(tmp_path):
    """The conf file of a machine with some mail of yesterday, and its relay."""
    with Sink() as sink, NameServer(ZONE) as dns:
        conf = tmp_path / "conf.toml"
        (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
        (tmp_path / "key").write_bytes(base64.b64encode(ed25519_key().private_bytes_raw()))
        url = f"sqlite:///{tmp_path}/history.db"
        conf.write_text(
            f'[dns]\nnameservers = ["127.0.0.1:{dns.port}"]\n[dmarc]\npsl_file = "{tmp_path}/list.dat"\n'
            f'[history]\ndatabase = "{url}"\n[reports]\nenabled = true\nemail = "dmarc@receiver.example"\n'
            f'relay = "127.0.0.1:{sink.port}"\nbounce_address = "b+{{token}}@receiver.example"\n'
            f'sign_domain = "receiver.example"\nsign_selector = "s"\nsign_key = "{tmp_path}/key"\n',
            encoding="utf-8",
        )
        store = Store(url)
        migrations.migrate(store)
        time = f"{YESTERDAY}T08:00:00.000Z"
        both = {"rua": ["mailto:dmarc@example.com", "mailto:example@vendor.example", "mailto:x@victim.example"]}
        found = [passed(time=time, policy=both), outcome(time=time, policy=both)]
        lines = [outcome_rows.parse(encoded(record)) for record in found]
        Writer(store).write(lines, Advance(b"1", "1", 0, 1, 0))
        store.close()
        yield str(conf), sink


def report(command, conf, *arguments, message=""):
    words = ["report", command, "--config", conf, *arguments]
    return CliRunner().invoke(main, words, input=message, catch_exceptions=False)


def test_from_preview_to_bounce(site):
    conf, sink = site
    day = ["--day", YESTERDAY.isoformat()]
    preview = report("run", conf, *day, "--dry-run")
    assert preview.exit_code == 0
    assert "dmarc@example.com" in preview.output
    assert "refused" in preview.output
    assert sink.deliveries == []

    done = report("run", conf, *day)
    assert done.exit_code == 0, done.output
    assert "planned 1, withheld 0, sent 2, refused 1" in done.output
    first, second = sink.wait(2)
    assert first.fields("subject") == second.fields("subject")
    assert first.fields("dkim-signature")[0].startswith("v=1; a=ed25519-sha256;")
    assert "sent 0" in report("run", conf, *day).output
    assert "left:" not in done.output

    status = report("status", conf)
    assert re.search(r"sent\s+2", status.output)
    assert "mailto:x@victim.example" in status.output

    sender = re.match(r"<(.*?)>", first.mail_from)[1]
    delayed = "Content-Type: multipart/report; report-type=delivery-status\n\nAction: delayed\n"
    assert "nothing changes" in report("bounce", conf, sender, message=delayed).output
    assert "No address is suppressed" in report("suppressions", conf).output
    failed = delayed.replace("delayed", "failed")
    assert report("bounce", conf, sender, message=failed).exit_code == 0
    for command in ("status", "suppressions"):
        assert re.search(r"dmarc@example\.com +example\.com +2", report(command, conf).output)
    assert report("bounce", conf, "b+0000@receiver.example").exit_code == 1
    assert report("bounce", conf, "postmaster@receiver.example").exit_code == 2
    assert report("forgive", conf, "dmarc@example.com").exit_code == 0
    assert report("forgive", conf, "dmarc@example.com").exit_code == 1


def test_what_is_left_for_the_next_run_is_no_failure(site):
    """A sender could otherwise make the unit fail each hour."""
    conf, _ = site
    Path(conf).write_text(Path(conf).read_text().replace("[reports]", "[reports]\nmax_per_hour = 1", 1))
    done = report("run", conf, "--day", YESTERDAY.isoformat())
    assert done.exit_code == 0, done.output
    assert "left: 1 aggregate reports were sent within the hour, the rest waits" in done.output


def test_a_relay_that_cannot_be_used_is_a_failure(site):
    conf, sink = site
    text = Path(conf).read_text()
    Path(conf).write_text(text.replace(f'"127.0.0.1:{sink.port}"', '"127.0.0.1:1"'))
    done = report("run", conf, "--day", YESTERDAY.isoformat())
    assert done.exit_code == 1
    assert "stopped: the relay does not take reports now" in done.output


def test_journal_tells_the_two_apart(monkeypatch, capsys):
    monkeypatch.setattr(log_output, "is_journal", lambda _stream: True)
    report_setup.show_result(RunResult(stopped="a", left="b"))
    assert capsys.readouterr().err == "<3>stopped: a\n<4>left: b\n"


def test_show(site):
    conf, _ = site
    found = report("show", conf, "Example.com", "--day", YESTERDAY.isoformat())
    assert found.exit_code == 0
    assert found.stdout.startswith("<?xml")
    assert found.stdout.count("<record>") == 2
    assert report("show", conf, "other.example").exit_code == 1


def test_reports_are_off_by_default(tmp_path):
    conf = tmp_path / "conf.toml"
    conf.write_text("", encoding="utf-8")
    found = report("run", str(conf))
    assert found.exit_code == 2
    assert "reports are off" in found.output


def test_a_relay_that_is_down_is_no_error_of_the_conf(site):
    conf, sink = site
    text = Path(conf).read_text(encoding="utf-8")
    Path(conf).write_text(text.replace(f":{sink.port}", ":1"), encoding="utf-8")
    found = report("run", conf, "--day", YESTERDAY.isoformat())
    assert found.exit_code == 1
    assert "the relay does not take reports now" in found.output


def test_a_key_that_is_missing(site, tmp_path):
    conf, _ = site
    (tmp_path / "key").unlink()
    found = report("run", conf)
    assert found.exit_code == 2
    assert "key" in found.output


def test_the_timer_succeeds_where_reports_are_off(tmp_path):
    conf = tmp_path / "off.toml"
    conf.write_text(f'[history]\ndatabase = "sqlite:///{tmp_path}/history.db"\n', encoding="utf-8")
    result = CliRunner().invoke(main, ["report", "run", "--if-on", "--config", str(conf)])
    assert (result.exit_code, result.output) == (0, "")
    assert CliRunner().invoke(main, ["report", "run", "--config", str(conf)]).exit_code == 2
    assert not (tmp_path / "history.db").exists()
