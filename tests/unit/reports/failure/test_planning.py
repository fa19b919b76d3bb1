"""Failure reports from incident to mail: merged, limited, verified, signed, once."""

import email
import email.policy
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.config.schema import FailureReportsSection
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.reports.delivery.deliveries_table import Deliveries, ReportKind
from dmarcmilter.reports.delivery.organization_turns import organization_of
from dmarcmilter.reports.delivery.relay import DeliveryAttempt, DeliveryResult
from dmarcmilter.reports.delivery.suppressions import Suppressions, record_bounce
from dmarcmilter.reports.failure import planning
from dmarcmilter.reports.failure.incident import Observed, incident_of
from dmarcmilter.reports.failure.incident_spool import IncidentSpool
from dmarcmilter.reports.failure.redaction import Redaction
from tests.support.outcomes import fields
from tests.support.report_outcomes import outcome, passed
from tests.support.report_runs import NOW, SUFFIXES, Receiver, Site, domain
from tests.support.zone import Zone

OBSERVED = Observed(fields("From: alice@example.com"), "alice@bounce.example.com")
JUST_NOW = "2027-01-17T02:50:00.000Z"


class Failures(Site):
    """Incidents in its spool, under policies of which some mail passed."""

    numbers = 0

    def incident(self, name="example.com", **changes):
        Failures.numbers += 1
        asks = {"ruf": [f"mailto:ruf@{name}"]} | changes.pop("policy", {})
        found = outcome(**{"time": JUST_NOW} | domain(name, **asks) | changes)
        spool = IncidentSpool(self.settings.failure.spool, lambda domain: organization_of(SUFFIXES, domain))
        spool.put(incident_of(found, OBSERVED, Redaction(b"k"), f"id{Failures.numbers}"))

    def left(self):
        return len(list(Path(self.settings.failure.spool).glob("*.incident")))

    def fail(self, receiver=None):
        return self.go(receiver, kinds=(ReportKind.FAILURE,))

    def authenticated(self, *names):
        self.ingest(*[passed(**domain(name)) for name in names])


def limited(tmp_path, **changes):
    return FailureReportsSection(enabled=True, spool=str(tmp_path / "failures"), **changes)


@pytest.fixture
def world(tmp_path):
    site = Failures(tmp_path)
    site.authenticated("example.com", "one.example", "two.example")
    yield site
    site.store.close()


@pytest.fixture
def anywhere(tmp_path, url):
    site = Failures(tmp_path, url)
    site.authenticated("example.com")
    yield site
    site.store.close()


def feedback(mail):
    message = email.message_from_bytes(mail.message, policy=email.policy.default)
    part = list(message.iter_parts())[1]
    text = mail.message.decode().partition("message/feedback-report\r\n\r\n")[2].partition("\r\n\r\n")[0]
    assert part.get_content_type() == "message/feedback-report"
    return dict(line.split(": ", 1) for line in text.split("\r\n"))


def test_from_incident_to_mail(anywhere):
    anywhere.incident()
    done = anywhere.fail()
    assert (done.planned, done.sent, done.stopped) == (1, 1, "")
    (mail,) = anywhere.receiver.taken
    assert mail.rcpt_to == "ruf@example.com"
    assert mail.mail_from.startswith("b+")
    assert feedback(mail)["Reported-Domain"] == "example.com"
    assert anywhere.left() == 0
    assert anywhere.states(ReportKind.FAILURE) == {"sent": 1}
    assert anywhere.states() == {}, "aggregate reports are counted apart"
    assert anywhere.fail().sent == 0


def test_alike_ones_are_one_report(world):
    # RUF-05
    """The second report of a kind waits an hour and counts what came meanwhile."""
    for _ in range(4):
        world.incident()
    assert world.fail().sent == 1
    for _ in range(3):
        world.incident()
    done = world.fail()
    assert (done.sent, world.left()) == (0, 1)
    world.now += 3601
    assert world.fail().sent == 1
    assert [feedback(mail)["Incidents"] for mail in world.receiver.taken] == ["4", "3"]


def test_limit_of_a_policy_domain(tmp_path):
    # RUF-05
    world = Failures(tmp_path, failure=limited(tmp_path, max_per_domain=2))
    world.authenticated("example.com", "one.example")
    for number in range(4):
        world.incident(client_ip=f"192.0.2.{number}", author_domain=f"a{number}.example.com")
    world.incident("one.example")
    assert world.fail().sent == 3
    assert world.left() == 2
    world.now += 3601
    assert world.fail().sent == 2


def test_limit_of_an_hour(tmp_path):
    world = Failures(tmp_path, failure=limited(tmp_path, max_per_hour=3))
    names = [f"d{number}.example" for number in range(5)]
    world.authenticated(*names)
    for name in names:
        world.incident(name)
    assert (world.fail().sent, world.left()) == (3, 2)
    world.now += 3601
    assert world.fail().sent == 2


def test_limit_of_a_destination(tmp_path):
    """One company that receives for many domains."""
    world = Failures(tmp_path, failure=limited(tmp_path, max_per_domain=2))
    names = [f"d{number}.example" for number in range(3)]
    world.authenticated(*names)
    for name in names:
        world.incident(name, policy={"ruf": ["mailto:ruf@vendor.example"]})
    done = world.fail()
    assert (done.sent, done.postponed) == (2, 1)
    world.now += 3601
    assert world.fail().sent == 1


def test_what_waits_too_long_is_dropped(world):
    world.incident(time="2027-01-16T02:59:59.000Z")
    done = world.fail()
    assert (done.withheld, world.left(), world.receiver.taken) == (1, 0, [])


def test_every_address_that_agreed(world):
    # RUF-04, RUF-06, AGG-05
    world.incident(policy={"ruf": ["mailto:a@example.com", "mailto:b@vendor.example", "mailto:victim@other.example"]})
    done = world.fail()
    assert (done.sent, done.refused) == (2, 1)
    assert [mail.rcpt_to for mail in world.receiver.taken] == ["a@example.com", "b@vendor.example"]


@pytest.mark.parametrize(
    ("record", "sent_to"),
    [
        ("v=DMARC1; ruf=mailto:real@other.example", ["real@other.example"]),
        ("v=DMARC1; rua=mailto:real@other.example", ["x@other.example"]),
        ("v=DMARC1; ruf=mailto:x@third.example", []),
    ],
)
def test_the_destination_may_name_another_address(world, record, sent_to):
    # RUF-04
    world.zone = Zone({"example.com._report._dmarc.other.example": record})
    world.incident(policy={"ruf": ["mailto:x@other.example"]})
    world.fail()
    assert [mail.rcpt_to for mail in world.receiver.taken] == sent_to


def test_who_gets_none(tmp_path):
    # RUF-15
    world = Failures(tmp_path, exclude=("one.example",))
    world.authenticated("example.com", "one.example", "receiver.example")
    world.incident("one.example")
    world.incident("spam.example")
    world.incident(policy={"ruf": ["mailto:dmarc@receiver.example", "mailto:x@one.example"]})
    done = world.fail()
    assert (done.sent, done.withheld, done.refused) == (0, 2, 2)
    assert world.left() == 0


def test_the_spf_record_is_shown(world):
    # RUF-11
    world.zone = Zone({"bounce.example.com": "v=spf1 ip4:192.0.2.7 -all"})
    world.incident()
    world.incident("one.example", spf={"result": "pass", "domain": "spammer.example"})
    world.fail()
    first, second = map(feedback, world.receiver.taken)
    assert first["SPF-DNS"] == 'txt : bounce.example.com : "v=spf1 ip4:192.0.2.7 -all"'
    assert "SPF-DNS" not in second


def test_silent_name_servers_of_spf_records_hold_no_report_up(world, monkeypatch):
    """The domain of MAIL FROM is the sender's choice, and so is whether its name server answers."""
    released = threading.Event()

    class Silent:
        def __call__(self, name, rdtype):
            if name == "silent.example":
                released.wait(20)
            return Answer(Status.NXDOMAIN)

    monkeypatch.setattr(planning, "SPF_SECONDS", 0.3)
    world.zone = Silent()
    for number in range(40):
        spf = {"result": "fail", "domain": "silent.example"}
        world.incident("one.example", client_ip=f"192.0.2.{number}", spf=spf)
    world.incident("two.example")
    began = time.monotonic()
    done = world.fail()
    released.set()
    assert time.monotonic() - began < 10
    assert done.planned == done.sent == 11, "ten of one organization, as many as an hour allows"
    assert not any("SPF-DNS" in feedback(mail) for mail in world.receiver.taken)


def test_organizations_take_turns(tmp_path):
    """Random subdomains with records of their own leave the reports of the hour to others."""
    world = Failures(tmp_path, failure=limited(tmp_path, max_per_hour=4, max_per_domain=4))
    names = [f"r{number}.flood.example" for number in range(20)]
    world.authenticated(*names, "one.example", "two.example", "three.example")
    for name in (*names, "one.example", "two.example", "three.example"):
        world.incident(name)
    world.fail()
    told = sorted(mail.rcpt_to.rpartition("@")[2] for mail in world.receiver.taken)
    assert [name for name in told if "flood" not in name] == ["one.example", "three.example", "two.example"]
    assert len(told) == 4
    for name in ("one.example", "two.example"):
        world.incident(name, client_ip="198.51.100.7")
    world.now += 3601
    world.fail()
    assert sum("flood" not in mail.rcpt_to for mail in world.receiver.taken[4:]) == 2


def test_refusals_and_bounces_are_as_those_of_other_reports(world):
    world.incident()
    no = Receiver(answers={"ruf@example.com": DeliveryAttempt(DeliveryResult.REFUSED, "550 no such user")})
    assert world.fail(no).failed == 1
    assert Suppressions(world.store).get("example.com", "ruf@example.com", int(world.now))
    world.incident("one.example")
    world.fail()
    token = world.receiver.taken[0].mail_from.partition("+")[2].partition("@")[0]
    assert record_bounce(Deliveries(world.store), Suppressions(world.store), token, int(world.now)) == "ruf@one.example"


def test_a_run_that_ended_before_the_incident_was_removed(world):
    """The report is known by the incident's id: it is not made again."""
    world.incident()
    (path,) = Path(world.settings.failure.spool).glob("*.incident")
    line = path.read_bytes()
    world.fail()
    path.write_bytes(line)
    assert world.fail().planned == 0
    assert (len(world.receiver.taken), world.left()) == (1, 0)


def test_archive(tmp_path):
    world = Failures(tmp_path, archive=str(tmp_path / "archive"))
    world.authenticated("example.com")
    world.incident()
    world.fail()
    (kept,) = (tmp_path / "archive" / "2027-01-17").iterdir()
    assert kept.suffix == ".eml"
    assert world.receiver.taken[0].message.endswith(kept.read_bytes())


def test_both_kinds_in_one_run(world):
    world.incident()
    done = world.go()
    assert done.sent == 4
    subjects = [mail.message.partition(b"Subject: ")[2].split()[0] for mail in world.receiver.taken]
    assert subjects == [b"DMARC", b"Report", b"Report", b"Report"]


def report(conf, *arguments):
    return CliRunner().invoke(main, ["report", *arguments, "--config", str(conf)], catch_exceptions=False)


def test_failures_are_off_by_default(tmp_path):
    conf = tmp_path / "conf.toml"
    conf.write_text("[reports]\nenabled = true\nemail = 'a@receiver.example'\n", encoding="utf-8")
    found = report(conf, "failures", "run")
    assert found.exit_code == 2
    assert "reports are off" in found.output


def test_the_clock_of_these_tests():
    assert datetime.fromtimestamp(NOW, UTC) > datetime.fromisoformat(JUST_NOW)
