"""One sender, one DNS owner or one relay must not keep others from their reports."""

import threading
import time
import tracemalloc
from collections import Counter

import pytest

from dmarcmilter.dmarc.public_suffix import Suffixes
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.reports import run
from dmarcmilter.reports.aggregate import day_outcomes, grouping, planning
from dmarcmilter.reports.aggregate.reported_days import ReportedDays
from dmarcmilter.reports.delivery import parallel_verification
from dmarcmilter.reports.delivery.deliveries_table import DAY_SECONDS, Deliveries, ReportKind
from dmarcmilter.reports.delivery.parallel_verification import VERIFY_AT_ONCE, ReportDns
from dmarcmilter.reports.delivery.relay import DeliveryAttempt, DeliveryResult
from dmarcmilter.reports.delivery.suppressions import REFUSING_ORGANIZATIONS, Suppressions
from dmarcmilter.reports.run_lock import RunLock
from dmarcmilter.value import replace
from tests.support.report_outcomes import outcome, passed
from tests.support.report_runs import YESTERDAY, Receiver, Site, counted, domain, report_id, xml

HOUR = 3601
NO_SUCH_USER = DeliveryAttempt(DeliveryResult.REFUSED, "550 no such user", at_rcpt=True)
NOT_THIS_MESSAGE = DeliveryAttempt(DeliveryResult.REFUSED, "554 content")


def sent_to(report_site):
    """How many reports went to each host."""
    return Counter(mail.rcpt_to.rpartition("@")[2] for mail in report_site.receiver.taken)


def honest(number):
    return [passed(**domain(f"honest{n}.example")) for n in range(number)]


def flood(number, **changes):
    """Mail from many names of one organization, each with a record of its own."""
    return [passed(**domain(f"r{n}.flood.example", **changes)) for n in range(number)]


# Planning.


def test_a_record_that_changes_with_each_message_makes_one_report(report_site_each_database):
    """TTL 0 and another rua each time: RFC 9990 3.1 lets the final configuration be the one that is told."""
    for number in range(24):
        rua = [f"mailto:r{number}@example.com"]
        report_site_each_database.ingest(
            passed(time=f"2027-01-16T{number:02}:00:00.000Z", policy={"rua": rua, "pct": number})
        )
    report_site_each_database.ingest(*honest(2))
    done = report_site_each_database.go()
    assert (done.planned, done.sent) == (3, 3)
    (mail,) = [mail for mail in report_site_each_database.receiver.taken if mail.rcpt_to.endswith("@example.com")]
    assert (mail.rcpt_to, counted(mail)) == ("r23@example.com", 24)
    report_site_each_database.ingest(passed(policy={"rua": ["mailto:late@example.com"]}))
    report_site_each_database.now += DAY_SECONDS
    assert report_site_each_database.go().sent == 1
    late = report_site_each_database.receiver.taken[-1]
    assert (late.rcpt_to, counted(late)) == ("r23@example.com", 1), "only what was not counted before"
    assert report_id(late) != report_id(mail)


def test_records_that_cannot_be_reported_about_are_not_the_final_one(report_site):
    """A message that was deferred, a record without rua, and one that is not usable make no report."""
    last = {"time": "2027-01-16T23:00:00.000Z"}
    report_site.ingest(
        passed(),
        passed(**last, action="tempfail", policy={"rua": ["mailto:a@example.com"]}),
        passed(**last, policy={"rua": []}),
        passed(**last, policy={"rua": ["mailto:b@example.com"], "usable": False}),
    )
    assert report_site.go().sent == 1
    (mail,) = report_site.receiver.taken
    assert (mail.rcpt_to, counted(mail)) == ("dmarc@example.com", 1)


def test_many_names_of_one_organization_get_so_many_reports(tmp_path):
    report_site = Site(tmp_path, max_per_organization=5)
    report_site.ingest(*flood(40), *honest(3))
    done = report_site.go()
    assert (done.planned, done.withheld) == (8, 35)
    assert done.lines == ["flood.example: 35 domains beyond max_per_organization"]
    assert sum(count for host, count in sent_to(report_site).items() if host.endswith("flood.example")) == 5
    assert sum(count for host, count in sent_to(report_site).items() if host.startswith("honest")) == 3
    report_site.now += DAY_SECONDS
    assert report_site.go().planned == 0, "of this day no more"


def test_the_organizations_own_domain_and_its_oldest_names_come_first(tmp_path):
    """What a sender makes up comes after what was known before."""
    report_site = Site(tmp_path, max_per_organization=2)
    old = [passed(**domain(name), time="2027-01-15T08:00:00.000Z") for name in ("z.example.com", "y.example.com")]
    report_site.ingest(*old)
    report_site.ingest(*[passed(**domain(f"r{n}.example.com")) for n in range(20)])
    report_site.ingest(passed(**domain("z.example.com")), passed(**domain("y.example.com")))
    report_site.go(day=YESTERDAY)
    assert set(sent_to(report_site)) == {"z.example.com", "y.example.com"}


def test_planning_that_is_out_of_time_goes_on_in_the_next_run(report_site_each_database, monkeypatch):
    """Everything once, also what arrived between the runs."""
    monkeypatch.setattr(run, "PLAN_SECONDS", 3.5)
    seconds = iter(range(10_000))
    report_site_each_database.ingest(*flood(4), *honest(4))

    def go():
        work = report_site_each_database.run()
        work._timer = lambda: float(next(seconds))
        return work.go()

    first = go()
    assert 0 < first.planned < 8
    assert "not all reports were planned" in first.lines[0]
    report_site_each_database.ingest(passed(**domain("honest0.example")), passed(**domain("honest9.example")))
    for _ in range(8):
        go()
    assert ReportedDays(report_site_each_database.store).outcomes_when_planned(YESTERDAY) == -1, (
        "looked at again tomorrow, for what arrived late"
    )
    monkeypatch.setattr(run, "PLAN_SECONDS", 900)
    report_site_each_database.now += DAY_SECONDS
    go()
    assert ReportedDays(report_site_each_database.store).outcomes_when_planned(YESTERDAY) == 10
    totals = Counter()
    for mail in report_site_each_database.receiver.taken:
        totals[mail.rcpt_to.rpartition("@")[2]] += counted(mail)
    assert totals == Counter(
        {f"r{n}.flood.example": 1 for n in range(4)}
        | {f"honest{n}.example": 1 for n in (1, 2, 3, 9)}
        | {"honest0.example": 2}
    )


def test_looking_again_at_old_days_keeps_no_new_one_waiting(report_site, monkeypatch):
    report_site.ingest(*honest(3))
    report_site.go()
    report_site.ingest(passed(**domain("late.example")), passed(time="2027-01-17T08:00:00.000Z"))
    report_site.now += DAY_SECONDS
    order = []
    keep = run.Run._record_reports
    monkeypatch.setattr(
        run.Run, "_record_reports", lambda self, day, *a, **more: order.append(day.day) or keep(self, day, *a, **more)
    )
    report_site.go()
    assert order == [17, 16]


@pytest.mark.slow
def test_a_report_is_bounded_in_memory(tmp_path, monkeypatch):
    """Thousands of messages, each with signatures and a record of its own."""
    monkeypatch.setattr(grouping, "MAX_BYTES", 400_000)
    monkeypatch.setattr(grouping.Grouping.__init__, "__defaults__", (grouping.MAX_ROWS, 400_000))
    report_site = Site(tmp_path)
    for start in range(0, 1500, 100):
        report_site.ingest(*[hostile(number) for number in range(start, start + 100)])
    tracemalloc.start()
    try:
        report_site.go()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (mail,) = report_site.receiver.taken
    assert "messages with further sources or identifiers are not listed" in xml(mail)
    assert peak < 12_000_000, "they have 12 MB of signatures and 12 MB of addresses, several times as much as objects"


def hostile(number):
    label = f"{number}".rjust(60, "x")
    dkim = [
        {"result": "fail", "domain": f"{label}.{n}.example", "selector": label, "reason": label * 3,
         "algorithm": "rsa-sha256", "testing": False}
        for n in range(20)
    ]  # fmt: skip
    good = dict(dkim[0], result="pass", domain="example.com")
    rua = ["mailto:last@example.com", *(f"mailto:{label}{n}@{label}.{label}.example.com" for n in range(15))]
    return passed(dkim=[good, *dkim], mail_from_domain=f"{label}.example", policy={"rua": rua, "record": label * 15})


def test_more_sources_of_one_verdict_than_memory(report_site, monkeypatch):
    monkeypatch.setattr(day_outcomes, "MAX_SOURCES", 3)
    report_site.ingest(*[passed(client_ip=f"192.0.2.{n}") for n in range(10)], outcome(client_ip="192.0.2.1"))
    assert report_site.go().sent == 4
    assert sorted(map(counted, report_site.receiver.taken)) == [2, 3, 3, 3]


# Sending.


def test_organizations_take_turns_within_the_hour(tmp_path):
    report_site = Site(tmp_path, max_per_hour=4)
    report_site.ingest(*flood(30), *honest(3))
    assert report_site.go().sent == 4
    assert (
        sent_to(report_site)["honest0.example"]
        == sent_to(report_site)["honest1.example"]
        == sent_to(report_site)["honest2.example"]
        == 1
    )


def test_turns_go_on_in_the_next_hour(tmp_path):
    """An organization that had reports in this hour comes after those that had none, also if planned earlier."""
    report_site = Site(tmp_path, max_per_hour=3)
    report_site.ingest(*flood(10))
    report_site.go()
    report_site.ingest(*honest(2))
    report_site.now += HOUR
    report_site.go(day=YESTERDAY)
    assert sum(count for host, count in sent_to(report_site).items() if host.startswith("honest")) == 2


def test_newcomers_come_last(tmp_path):
    """With many organizations of his own a sender has as many first turns; those known for longer have them before."""
    report_site = Site(tmp_path, max_per_hour=3)
    report_site.ingest(*[passed(**domain(f"honest{n}.example")) for n in range(3)])
    report_site.go()
    report_site.now += DAY_SECONDS
    tomorrow = {"time": "2027-01-17T08:00:00.000Z"}
    report_site.ingest(*[passed(**domain(f"a{n}.example"), **tomorrow) for n in range(10)])
    report_site.ingest(*[passed(**domain(f"honest{n}.example"), **tomorrow) for n in range(3)])
    assert report_site.go().sent == 3
    assert set(sent_to(report_site)) == {f"honest{n}.example" for n in range(3)}


def test_addresses_of_one_organization_are_limited_together(tmp_path):
    """Names below one's own do not multiply the limit; nor do many domains that name one victim."""
    report_site = Site(tmp_path, max_per_domain=2)
    report_site.ingest(*flood(10), passed(**domain("other.example", rua=["mailto:x@vendor.example"])))
    report_site.ingest(*[passed(**domain(f"d{n}.example", rua=["mailto:x@vendor.example"])) for n in range(5)])
    done = report_site.go()
    assert done.postponed == 12
    assert sum(count for host, count in sent_to(report_site).items() if host.endswith("flood.example")) == 2
    assert sent_to(report_site)["vendor.example"] == 2


def test_a_list_of_many_addresses_takes_as_many_turns(tmp_path):
    report_site = Site(tmp_path, max_per_hour=4)
    report_site.ingest(passed(policy={"rua": [f"mailto:a{n}@example.com" for n in range(16)]}), *honest(3))
    report_site.go()
    assert sent_to(report_site)["example.com"] == 1


def test_an_address_at_which_the_relay_ends_the_connection_stops_no_run(report_site):
    """As when the relay looks its domain up, and the name server is silent."""
    ended = DeliveryAttempt(DeliveryResult.UNAVAILABLE, "timed out", after_connecting=True)
    report_site.ingest(*honest(6))
    trouble = Receiver(answers={f"dmarc@honest{n}.example": ended for n in range(3)})
    done = report_site.go(trouble)
    assert (done.sent, done.stopped) == (3, "")
    report_site.ingest(*flood(6))
    down = Receiver(answers={f"dmarc@r{n}.flood.example": ended for n in range(6)})
    done = report_site.go(down, day=YESTERDAY)
    assert (done.stopped, done.postponed) == ("", 6)
    assert "does not take reports now: it ended 6 connections" in done.left
    refused = DeliveryAttempt(DeliveryResult.UNAVAILABLE, "connection refused")
    report_site.now += HOUR
    assert "connection refused" in report_site.go(Receiver(answers=dict.fromkeys(trouble.answers, refused))).stopped


def test_addresses_that_fail_keep_nobody_s_second_report_out(tmp_path):
    """Owners known for longer than the honest one, with an address for each run at which the relay ends the
    connection: what was tried counts as their turn, so that the honest owner's second address comes before more of it.
    """
    report_site = Site(tmp_path, max_per_hour=12)
    hostile = [f"trouble{n}.example" for n in range(8)]
    rua = {name: [f"mailto:a{n}@{name}" for n in range(5)] for name in hostile}
    for day in (15, 16):
        report_site.ingest(
            *[passed(**domain(name, rua=rua[name]), time=f"2027-01-{day}T08:00:00.000Z") for name in hostile]
        )
    report_site.ingest(passed(**domain("honest.example", rua=["mailto:a@honest.example", "mailto:b@honest.example"])))
    ended = DeliveryAttempt(DeliveryResult.UNAVAILABLE, "timed out", after_connecting=True)
    report_site.receiver.answers = {uri.partition(":")[2]: ended for uris in rua.values() for uri in uris}
    for _ in range(2):
        assert report_site.go(day=YESTERDAY).stopped == ""
        report_site.now += HOUR
    assert sorted(mail.rcpt_to for mail in report_site.receiver.taken) == ["a@honest.example", "b@honest.example"]


def test_names_of_one_provider_share_turns(tmp_path):
    """Names below a private suffix cost nothing: twenty of them have a turn together."""
    report_site = Site(tmp_path, max_per_hour=30)
    report_site.suffixes = Suffixes.of_text(
        "example\n// ===BEGIN PRIVATE DOMAINS===\nfree.example\n// ===END PRIVATE DOMAINS===\n"
    )
    free = [passed(**domain(f"r{n}.free.example")) for n in range(100)]
    two = {"rua": ["mailto:a@honest.example", "mailto:b@honest.example"]}
    report_site.ingest(*free, passed(**domain("honest.example", **two)), passed(**domain("other.example")))
    done = report_site.go()
    assert done.planned == 102
    assert done.sent == 30
    assert {mail.rcpt_to for mail in report_site.receiver.taken} >= {
        "a@honest.example", "b@honest.example", "dmarc@other.example"
    }  # fmt: skip
    report_site.now += HOUR
    assert report_site.go().sent == 30


def test_a_bug_for_one_report_keeps_no_other_back(report_site, monkeypatch):
    """When it is planned, and when it is sent."""
    report_site.ingest(*honest(3))
    composed = planning.Planner.planned_report

    def broken(self, found, *rest):
        if found.group.configuration.policy.domain == "honest1.example":
            raise ValueError("bug")
        return composed(self, found, *rest)

    monkeypatch.setattr(planning.Planner, "planned_report", broken)
    assert report_site.go().sent == 2
    monkeypatch.undo()
    report_site.ingest(*[passed(**domain(f"more{n}.example")) for n in range(3)])
    send = report_site.receiver.send

    def broken_relay(mail, committing):
        if mail.rcpt_to == "dmarc@more1.example":
            committing()
            raise ValueError("bug")
        if mail.rcpt_to == "dmarc@more0.example":
            raise ValueError("bug")
        return send(mail, committing)

    monkeypatch.setattr(report_site.receiver, "send", broken_relay)
    report_site.now += DAY_SECONDS
    done = report_site.go()
    assert (done.postponed, done.uncertain) == (1, 1), "what may have arrived is not sent again"
    assert sent_to(report_site)["more2.example"] == 1


# Verification.


class SlowZone:
    """Names with `silent` in them are not answered before `seconds` have passed."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.lock = threading.Lock()
        self.now = self.most = 0
        self.records = {}

    def __call__(self, name, rdtype):
        if "silent" not in name:
            return Answer(Status.NXDOMAIN)
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(self.seconds)
        with self.lock:
            self.now -= 1
        return Answer(Status.FAILED, reason=Reason.of(Code.DNS_TIMEOUT))


def silent(number):
    return [passed(**domain(f"silent{n}.example", rua=[f"mailto:x@silent{n}.test"])) for n in range(number)]


@pytest.mark.slow
def test_silent_destinations_hold_nobody_up(report_site):
    """They are asked at once, beside the sending."""
    report_site.zone = SlowZone(0.3)
    report_site.ingest(*silent(60), *honest(5))
    began = time.monotonic()
    done = report_site.go()
    assert time.monotonic() - began < 15, "one after the other they take 18 seconds"
    assert VERIFY_AT_ONCE // 2 < report_site.zone.most <= VERIFY_AT_ONCE
    assert (done.sent, done.postponed, done.failed, done.stopped) == (5, 60, 0, "")
    assert report_site.states() == {"sent": 5, "unverified": 60}


def limit_verification(monkeypatch, seconds):
    defaults = {"seconds": seconds, "at_once": VERIFY_AT_ONCE, "timer": time.monotonic}
    monkeypatch.setattr(parallel_verification.Verifier.__init__, "__kwdefaults__", defaults)


@pytest.mark.slow
def test_silent_destinations_have_so_much_time_only(report_site, monkeypatch):
    """The next run begins with those that were not asked."""
    limit_verification(monkeypatch, 1.0)
    report_site.zone = SlowZone(0.8)
    report_site.ingest(*silent(30), *honest(5))
    began = time.monotonic()
    done = report_site.go()
    assert time.monotonic() - began < 5
    assert "not verified in time and wait for the next run" in done.left
    assert report_site.go().sent + done.sent == 5
    assert report_site.states() == {"sent": 5, "unverified": 30}


def test_what_was_not_verified_in_time_is_verified_by_the_next_run(report_site, monkeypatch):
    limit_verification(monkeypatch, 0.0)
    report_site.ingest(*honest(3))
    done = report_site.go()
    assert (done.sent, done.refused) == (0, 0)
    assert "3 destinations were not verified in time" in done.left
    monkeypatch.undo()
    assert report_site.go().sent == 3, "at once: they were not asked, so there is nothing to wait for"


def test_no_second_report_while_another_s_first_is_asked_for(report_site):
    """Quick DNS wins nothing over slow DNS within a turn."""
    order = []

    class Slow:
        def __call__(self, name, rdtype):
            if "slow" in name:
                time.sleep(0.3)
            return Answer(Status.NXDOMAIN)

    report_site.zone = Slow()
    report_site.ingest(*flood(5), passed(**domain("slow.example")))
    report_site.go()
    order = [mail.rcpt_to.rpartition("@")[2] for mail in report_site.receiver.taken]
    assert "slow.example" in order[:2]


def test_a_bug_for_one_address_keeps_nobody_else_waiting(report_site, monkeypatch):
    verify = ReportDns.verify

    def broken(dns, name, uri, kind=ReportKind.AGGREGATE):
        if "honest1" in name:
            raise RuntimeError("a bug")
        return verify(dns, name, uri, kind)

    monkeypatch.setattr(ReportDns, "verify", broken)
    report_site.ingest(*honest(3))
    done = report_site.go()
    assert (done.sent, done.postponed) == (2, 1)


# Suppressions.


def vendored(number, **changes):
    """Domains of several owners whose reports go to one company."""
    return [passed(**domain(f"d{n}.example", rua=["mailto:x@vendor.example"]), **changes) for n in range(number)]


def test_a_refusal_counts_for_the_organization_whose_report_it_was(report_site_each_database):
    report_site_each_database.ingest(passed(**domain("evil.example", rua=["mailto:x@vendor.example"])))
    assert report_site_each_database.go(Receiver(answers={"x@vendor.example": NO_SUCH_USER})).failed == 1
    report_site_each_database.ingest(*vendored(2))
    report_site_each_database.ingest(passed(**domain("r.evil.example", rua=["mailto:x@vendor.example"])))
    done = report_site_each_database.go(day=YESTERDAY)
    assert (done.sent, done.postponed, done.refused) == (2, 1, 0)
    assert report_site_each_database.states() == {"failed": 1, "sent": 2, "pending": 1}


def test_an_address_that_refused_several_organizations_at_rcpt_gets_nothing(report_site_each_database):
    report_site_each_database.ingest(*vendored(REFUSING_ORGANIZATIONS))
    assert (
        report_site_each_database.go(Receiver(answers={"x@vendor.example": NO_SUCH_USER})).failed
        == REFUSING_ORGANIZATIONS
    )
    report_site_each_database.ingest(passed(**domain("new.example", rua=["mailto:x@vendor.example"])))
    assert report_site_each_database.go(day=YESTERDAY).postponed == 1
    whole, *others = Suppressions(report_site_each_database.store).all(int(report_site_each_database.now))
    assert (whole.address, whole.organization, len(others)) == ("x@vendor.example", "", REFUSING_ORGANIZATIONS)
    assert Suppressions(report_site_each_database.store).remove("x@vendor.example")
    assert (
        Deliveries(report_site_each_database.store).end_waiting("x@vendor.example", int(report_site_each_database.now))
        == 1
    )
    assert report_site_each_database.go().sent == 1


def test_refused_messages_do_not_count_for_the_address(report_site):
    """What a report holds is the sender's to choose, and so is whether a filter refuses it."""
    report_site.ingest(*vendored(REFUSING_ORGANIZATIONS + 2))
    assert report_site.go(Receiver(answers={"x@vendor.example": NOT_THIS_MESSAGE})).failed == REFUSING_ORGANIZATIONS + 2
    report_site.ingest(passed(**domain("new.example", rua=["mailto:x@vendor.example"])))
    assert report_site.go(day=YESTERDAY).sent == 1
    report_site.ingest(*vendored(1, time="2027-01-17T08:00:00.000Z"))
    report_site.now += DAY_SECONDS
    assert report_site.go().sent == 1, "the report of the next day is tried"


def test_an_address_that_took_a_report_is_not_refusing_all(report_site):
    suppressions = Suppressions(report_site.store)
    for number in range(REFUSING_ORGANIZATIONS):
        suppressions.add_refusal(f"d{number}.example", "x@vendor.example", int(report_site.now), "no", at_rcpt=True)
        if number == 1:
            suppressions.record_acceptance("x@vendor.example")
    assert suppressions.get("new.example", "x@vendor.example", int(report_site.now)) is None
    assert suppressions.get("d0.example", "x@vendor.example", int(report_site.now)).failures == 1


def test_bounces_do_not_count_for_the_address(report_site):
    """The receiver of a report can make up a bounce of it."""
    suppressions = Suppressions(report_site.store)
    for number in range(2 * REFUSING_ORGANIZATIONS):
        suppressions.add_bounce(f"d{number}.example", "x@vendor.example", int(report_site.now))
    assert suppressions.get("new.example", "x@vendor.example", int(report_site.now)) is None


def test_what_waits_is_given_up_after_weeks(report_site):
    report_site.ingest(*vendored(1))
    for _ in range(5):
        Suppressions(report_site.store).add_refusal(
            "d0.example", "x@vendor.example", int(report_site.now), "no", at_rcpt=True
        )
    for _ in range(run.WAITING_DAYS + 2):
        report_site.go()
        report_site.now += DAY_SECONDS
    assert report_site.states() == {"failed": 1}


def test_a_report_that_waited_for_long_is_tried_several_times(report_site):
    """It is older than mail is usually tried; the first busy server is no reason to give it up."""
    report_site.ingest(*vendored(1))
    Suppressions(report_site.store).add_refusal(
        "d0.example", "x@vendor.example", int(report_site.now), "no", at_rcpt=True
    )
    report_site.go()
    report_site.now += 7 * DAY_SECONDS + 1
    assert (
        report_site.go(
            Receiver(answers={"x@vendor.example": DeliveryAttempt(DeliveryResult.LATER, "450 busy")})
        ).postponed
        == 1
    )
    report_site.now += HOUR
    assert report_site.go().sent == 1


def test_suppressions_that_count_no_more_are_forgotten(report_site):
    suppressions = Suppressions(report_site.store)
    for name, times in (("a.example", 1), ("b.example", 3)):
        for _ in range(times):
            suppressions.add_refusal(name, "x@vendor.example", int(report_site.now), "no", at_rcpt=True)
    for days, left in ((8, 2), (15, 1), (100, 1), (115, 0)):
        suppressions.prune(int(report_site.now) + days * DAY_SECONDS)
        (count,) = report_site.store.query("SELECT count(*) AS n FROM report_suppressions")
        assert count.n == left, days


# Clocks.


def test_a_lock_of_a_clock_that_was_wrong_is_taken(report_site):
    """The lease of a run on another machine, which ended years ahead."""
    assert RunLock(report_site.store).take(int(report_site.now) + 1000 * DAY_SECONDS, "elsewhere 1")
    report_site.ingest(*honest(1))
    assert report_site.go().sent == 1


def test_a_clock_that_was_wrong_stops_nothing_for_long(report_site):
    """A run in the far future leaves times behind that no run may wait for."""
    years = 1000 * DAY_SECONDS
    report_site.ingest(*honest(2), *vendored(2), passed(**domain("later.example")))
    report_site.now += years
    later = Receiver(answers={
        "dmarc@later.example": DeliveryAttempt(DeliveryResult.LATER, "450"), "x@vendor.example": NO_SUCH_USER,
    })  # fmt: skip
    report_site.go(later, day=YESTERDAY)
    report_site.now -= years
    report_site.settings = replace(report_site.settings, max_per_hour=2)
    report_site.ingest(*vendored(1))
    report_site.go(day=YESTERDAY)
    assert sent_to(report_site) == {"later.example": 1, "vendor.example": 1}
