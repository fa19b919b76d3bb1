"""Whole runs over a real store: what is planned, what is sent, and that a crash at any point changes neither."""

import re
import shutil
from datetime import date

import pytest

from dmarcmilter.reports import retention
from dmarcmilter.reports.aggregate import day_outcomes
from dmarcmilter.reports.aggregate.planning import Withheld, whole_day_report
from dmarcmilter.reports.aggregate.reported_days import ReportedDays
from dmarcmilter.reports.delivery.deliveries_table import BOUNCE_WITHIN_SECONDS, DAY_SECONDS, Deliveries, ReportKind
from dmarcmilter.reports.delivery.made_reports_table import ReportLedger
from dmarcmilter.reports.delivery.relay import DeliveryAttempt, DeliveryResult
from dmarcmilter.reports.delivery.suppressions import Suppressions, record_bounce
from dmarcmilter.reports.run import BUSY, LEDGER_DAYS
from dmarcmilter.reports.run_lock import LEASE_SECONDS, RunLock
from tests.support.report_outcomes import outcome, passed
from tests.support.report_runs import YESTERDAY, Crashed, Receiver, Site, counted, domain, parsed, report_id, some, xml
from tests.support.zone import Zone

NO_SUCH_USER = DeliveryAttempt(DeliveryResult.REFUSED, "550 no such user", at_rcpt=True)


def test_a_run(report_site_each_database):
    some(report_site_each_database)
    done = report_site_each_database.go()
    assert (done.planned, done.sent, done.stopped) == (3, 4, "")
    mails = sorted(report_site_each_database.receiver.taken, key=lambda mail: mail.rcpt_to)
    assert [mail.rcpt_to for mail in mails] == [
        "dmarc@example.com", "dmarc@one.example", "dmarc@two.example", "two@vendor.example",
    ]  # fmt: skip
    assert report_site_each_database.receiver.taken[-1] == mails[-1], "two.example has had one already"
    assert [counted(mail) for mail in mails] == [3, 1, 1, 1]
    assert len({mail.mail_from for mail in mails}) == 4
    assert report_id(mails[2]) == report_id(mails[3])
    assert report_site_each_database.states() == {"sent": 4}


def test_the_second_run_has_nothing_to_do(report_site):
    some(report_site)
    report_site.go()
    done = report_site.go()
    assert (done.planned, done.sent) == (0, 0)
    report_site.now += DAY_SECONDS
    assert report_site.go().sent == 0
    assert len(report_site.receiver.taken) == 4


def test_late_arrivals_are_a_report_of_their_own(report_site_each_database):
    """Each message is counted once; the period is the one it belongs to."""
    some(report_site_each_database)
    report_site_each_database.go()
    report_site_each_database.ingest(passed(), outcome(client_ip="192.0.2.99"))
    report_site_each_database.now += DAY_SECONDS
    done = report_site_each_database.go()
    assert (done.planned, done.sent) == (1, 1)
    first, late = (mail for mail in report_site_each_database.receiver.taken if mail.rcpt_to == "dmarc@example.com")
    assert [counted(first), counted(late)] == [3, 2]
    assert report_id(first) != report_id(late)
    period = re.compile(r"<begin>\d+</begin>\s*<end>\d+</end>")
    assert period.search(xml(first))[0] == period.search(xml(late))[0]


def test_an_outcome_with_words_of_another_version_costs_the_report_of_no_other(report_site, caplog):
    report_site.ingest(passed(), outcome(disposition="later"), outcome(client_ip="192.0.2.99"))
    done = report_site.go()
    assert (done.planned, done.sent, done.withheld) == (1, 1, 0)
    assert counted(report_site.receiver.taken[0]) == 2
    assert "'later'" in caplog.text
    report_site.now += DAY_SECONDS
    assert report_site.go().planned == 0


def test_messages_of_another_day_wait_for_theirs(report_site):
    report_site.ingest(passed(), passed(time="2027-01-17T00:00:00.000Z"))
    assert report_site.go().sent == 1
    assert counted(report_site.receiver.taken[0]) == 1
    report_site.now += DAY_SECONDS
    assert report_site.go().sent == 1


def crashing_at(directory, point, database):
    """A site whose process ended at that point of its first run; None: the run has not so many."""
    directory.mkdir()
    shutil.copy(database, directory)
    site = Site(directory, archive=str(directory / "archive"))
    site.store.left = point
    try:
        site.go()
    except Crashed:
        site.store.left = None
        return site
    return None


@pytest.mark.slow
def test_a_crash_at_any_point(tmp_path):
    """Taken up by the next run: the same reports with the same ids, nothing lost, nothing twice."""
    made = Site(tmp_path)
    some(made)
    made.store.close()
    database = tmp_path / "history.db"
    (tmp_path / "whole").mkdir()
    shutil.copy(database, tmp_path / "whole")
    whole = Site(tmp_path / "whole")
    whole.go()
    expected = whole.receiver.ids
    point = 0
    while site := crashing_at(tmp_path / str(point), point + 1, database):
        point += 1
        assert site.go().stopped == ""
        uncertain = site.states().get("uncertain", 0)
        taken = site.receiver.ids
        assert len(set(taken)) == len(taken), "sent twice"
        assert set(taken) <= set(expected), "another report"
        assert uncertain <= 1
        assert len(expected) - len(taken) <= uncertain, "lost"
        assert site.states().get("sent", 0) + uncertain == len(expected)
        site.store.close()
    assert point > 30


def test_what_is_uncertain_is_sent_again_only_when_asked(report_site_each_database):
    some(report_site_each_database)
    receiver = Receiver(answers={"dmarc@one.example": DeliveryAttempt(DeliveryResult.UNCERTAIN, "lost")})
    assert report_site_each_database.go(receiver).uncertain == 1
    assert report_site_each_database.go().sent == 0
    assert report_site_each_database.go(resend_uncertain=True).sent == 1
    assert report_site_each_database.receiver.ids[0] in receiver.ids


def test_nothing_to_domains_of_which_no_mail_is_authenticated(report_site):
    report_site.ingest(outcome(), outcome(**domain("spam.example")))
    done = report_site.go()
    assert (done.planned, done.withheld) == (0, 2)
    report_site.ingest(passed(time="2027-01-17T10:00:00.000Z"))
    report_site.now += DAY_SECONDS
    done = report_site.go()
    assert [mail.rcpt_to for mail in report_site.receiver.taken] == ["dmarc@example.com"] * 2
    assert [counted(mail) for mail in report_site.receiver.taken] == [1, 1]
    assert (done.planned, done.withheld) == (2, 0), "only what was released is looked at again"


def test_unless_asked(tmp_path):
    report_site = Site(tmp_path, only_authenticated=False)
    report_site.ingest(outcome(**domain("spam.example")))
    assert report_site.go().sent == 1


def test_destinations_that_did_not_agree(report_site):
    report_site.ingest(passed(policy={"rua": ["mailto:victim@other.example", "mailto:dmarc@example.com"]}))
    done = report_site.go()
    assert (done.sent, done.refused) == (1, 1)
    assert report_site.states() == {"sent": 1, "refused": 1}


def test_a_destination_that_dns_says_nothing_of_is_asked_again(report_site):
    report_site.ingest(passed(policy={"rua": ["mailto:x@silent.example"]}))
    report_site.zone = Zone({}, ["_dmarc.silent.example", "example.com._report._dmarc.silent.example"])
    assert report_site.go().postponed == 1
    assert report_site.states() == {"unverified": 1}
    report_site.zone = Zone({"example.com._report._dmarc.silent.example": "v=DMARC1"})
    assert report_site.go().sent == 0, "not before its time"
    report_site.now += 3600
    assert report_site.go().sent == 1


def test_our_own_address_and_excluded_ones_get_nothing(tmp_path):
    # AGG-13
    report_site = Site(tmp_path, exclude=("one.example",))
    ours = ["mailto:dmarc@receiver.example"]
    report_site.ingest(passed(**domain("one.example")), passed(**domain("receiver.example", rua=ours)))
    done = report_site.go()
    assert (done.sent, done.withheld, done.refused) == (0, 1, 1)


def test_trouble_of_the_relay_stops_the_run_and_is_tried_again(report_site):
    some(report_site)
    down = Receiver(answers={"dmarc@example.com": DeliveryAttempt(DeliveryResult.UNAVAILABLE, "no route")})
    done = report_site.go(down)
    assert "no route" in done.stopped
    assert down.taken == []
    report_site.now += 3600
    assert report_site.go().sent == 4


def test_an_address_that_says_no_is_left_alone(report_site_each_database):
    some(report_site_each_database)
    """What is about the same organization waits, and is sent when the suppression ends."""
    no = Receiver(answers={"dmarc@one.example": NO_SUCH_USER})
    assert (report_site_each_database.go(no).failed, report_site_each_database.states()["failed"]) == (1, 1)
    report_site_each_database.ingest(passed(time="2027-01-17T10:00:00.000Z", **domain("one.example")))
    report_site_each_database.now += DAY_SECONDS
    done = report_site_each_database.go()
    assert (done.sent, done.refused, done.postponed) == (0, 0, 1)
    (pause,) = Suppressions(report_site_each_database.store).all(int(report_site_each_database.now))
    assert (pause.address, pause.organization, pause.failures) == ("dmarc@one.example", "one.example", 1)
    report_site_each_database.now += 5 * DAY_SECONDS
    assert report_site_each_database.go().sent == 0
    report_site_each_database.now += 2 * DAY_SECONDS
    assert report_site_each_database.go().sent == 1


def test_pauses_grow(report_site):
    suppressions = Suppressions(report_site.store)
    lengths, now = [], 0
    for _ in range(7):
        until = suppressions.add_refusal("example.com", "a@example.com", now, "no", at_rcpt=True)
        lengths.append(until - now)
        now = until
    assert lengths == sorted(lengths)
    assert lengths[0] == 7 * DAY_SECONDS
    assert lengths[-1] == 180 * DAY_SECONDS
    assert suppressions.remove("a@example.com")
    assert not suppressions.all(0)


def test_pauses_decay(report_site):
    """Refusals are forgotten one by one while none comes."""
    suppressions = Suppressions(report_site.store)
    for _ in range(2):
        until = suppressions.add_refusal("example.com", "a@example.com", 0, "no", at_rcpt=True)
    assert until == 14 * DAY_SECONDS
    later = until + 14 * DAY_SECONDS
    assert (
        suppressions.add_refusal("example.com", "a@example.com", later, "no", at_rcpt=True) == later + 14 * DAY_SECONDS
    )
    much_later = later + 14 * DAY_SECONDS + 2 * 14 * DAY_SECONDS
    assert (
        suppressions.add_refusal("example.com", "a@example.com", much_later, "no", at_rcpt=True)
        == much_later + 7 * DAY_SECONDS
    )


def test_a_delivery_is_given_up_after_days(report_site):
    report_site.ingest(passed())
    later = Receiver(answers={"dmarc@example.com": DeliveryAttempt(DeliveryResult.LATER, "450 busy")})
    for _ in range(10):
        report_site.go(later)
        report_site.now += 43_200
    assert report_site.states() == {"failed": 1}
    assert not Suppressions(report_site.store).all(int(report_site.now)), "it never said no"


def test_limit_of_an_hour(tmp_path):
    report_site = Site(tmp_path, max_per_hour=3)
    some(report_site)
    done = report_site.go()
    assert done.sent == 3
    assert "within the hour" in done.left
    assert done.stopped == ""
    assert report_site.go().sent == 0
    report_site.now += 3601
    assert report_site.go().sent == 1


def test_limit_of_a_domain(tmp_path):
    report_site = Site(tmp_path, max_per_domain=1)
    hosted = [passed(**domain(f"d{n}.example", rua=["mailto:x@vendor.example"])) for n in range(3)]
    report_site.ingest(passed(), *hosted)
    assert report_site.go().sent == 2
    report_site.now += 3601
    assert report_site.go().sent == 0
    report_site.now += DAY_SECONDS
    assert report_site.go().sent == 1


def test_size_limit_of_the_older_format(tmp_path):
    # AGG-04
    record = "v=DMARC1; p=reject; rua=mailto:dmarc@example.com!1k"
    for name, sent in (("rfc7489", 0), ("rfc9990", 1)):
        (tmp_path / name).mkdir()
        report_site = Site(tmp_path / name, format=name)
        report_site.ingest(passed(policy={"record": record}))
        assert report_site.go().sent == sent


def test_bounces(report_site_each_database):
    some(report_site_each_database)
    report_site_each_database.go()
    mail = report_site_each_database.receiver.taken[0]
    token = mail.mail_from.partition("+")[2].partition("@")[0]
    deliveries, suppressions = (
        Deliveries(report_site_each_database.store),
        Suppressions(report_site_each_database.store),
    )
    assert record_bounce(deliveries, suppressions, token, int(report_site_each_database.now)) == mail.rcpt_to
    assert record_bounce(deliveries, suppressions, "0123456789abcdef", int(report_site_each_database.now)) == ""
    assert report_site_each_database.states()["bounced"] == 1
    organization = mail.rcpt_to.partition("@")[2]
    first = suppressions.get(organization, mail.rcpt_to, int(report_site_each_database.now))
    assert first.failures == 1
    assert suppressions.get("other.example", mail.rcpt_to, int(report_site_each_database.now)) is None
    assert record_bounce(deliveries, suppressions, token, int(report_site_each_database.now)) == mail.rcpt_to
    assert suppressions.get(organization, mail.rcpt_to, int(report_site_each_database.now)) == first, (
        "the same bounce counts once"
    )


def test_bounces_of_old_reports_do_not_count(report_site):
    """Who got a report may send bounces of it for ever."""
    some(report_site)
    report_site.go()
    report_site.now += BOUNCE_WITHIN_SECONDS + 1
    for mail in report_site.receiver.taken:
        token = mail.mail_from.partition("+")[2].partition("@")[0]
        assert (
            record_bounce(Deliveries(report_site.store), Suppressions(report_site.store), token, int(report_site.now))
            == mail.rcpt_to
        )
    assert Suppressions(report_site.store).all(int(report_site.now)) == []


def test_bounces_do_not_bring_the_hour_up_again(tmp_path):
    """A bounce an hour later must not count as a report of that hour."""
    report_site = Site(tmp_path, max_per_hour=4)
    some(report_site)
    assert report_site.go().sent == 4
    report_site.now += 3601
    for mail in report_site.receiver.taken:
        record_bounce(
            Deliveries(report_site.store), Suppressions(report_site.store), mail.mail_from[2:18], int(report_site.now)
        )
    report_site.ingest(passed(**domain("three.example")))
    assert report_site.go(day=YESTERDAY).sent == 1


def test_preview_remembers_nothing(report_site):
    some(report_site)
    report_site.ingest(outcome(**domain("spam.example")))
    found = list(report_site.run().preview())
    assert [item.domain for item in found if isinstance(item, Withheld)] == ["spam.example"]
    assert sum(len(item[1]) for item in found if not isinstance(item, Withheld)) == 4
    assert ReportedDays(report_site.store).planned() == {}
    assert report_site.go().sent == 4


def test_a_day_and_a_domain_that_are_asked_for(report_site):
    some(report_site)
    assert report_site.go(day=YESTERDAY, domain="one.example").sent == 1
    assert report_site.go().sent == 3
    assert "has not ended" in report_site.go(day=date(2027, 1, 17)).stopped


def test_more_sources_than_memory_are_several_reports(report_site, monkeypatch):
    monkeypatch.setattr(day_outcomes, "MAX_SOURCES", 2)
    report_site.ingest(*[passed(client_ip=f"192.0.2.{n}") for n in range(5)], passed(client_ip="192.0.2.0"))
    assert [len(planned.sources) for planned, _ in report_site.run().preview()] == [2]
    assert report_site.go().sent == 3
    assert sum(map(counted, report_site.receiver.taken)) == 6
    assert len({report_id(mail) for mail in report_site.receiver.taken}) == 3


def test_a_day_to_which_nothing_came_is_not_read_again(report_site, monkeypatch):
    some(report_site)
    report_site.go()
    report_site.now += DAY_SECONDS
    report_site.ingest(passed(time="2027-01-17T10:00:00.000Z"))
    read, whole = [], day_outcomes.DayView.collect

    def collect(view, *found, **more):
        read.append(view._day)
        return whole(view, *found, **more)

    monkeypatch.setattr(day_outcomes.DayView, "collect", collect)
    assert report_site.go().sent == 1
    assert read == [20270117]
    report_site.now += DAY_SECONDS
    report_site.ingest(outcome())
    assert report_site.go().sent == 1
    assert set(read[1:]) == {20270116}


def test_old_reports_are_forgotten(report_site_each_database):
    some(report_site_each_database)
    report_site_each_database.go()
    report_site_each_database.now += (LEDGER_DAYS + 1) * DAY_SECONDS
    report_site_each_database.go()
    assert report_site_each_database.states() == {}
    assert Deliveries(report_site_each_database.store).mark_bounced("0" * 16, int(report_site_each_database.now)) == (
        None,
        False,
    )


def test_whole_day_for_people(report_site):
    some(report_site)
    report_site.go()
    found = whole_day_report(report_site.store, report_site.settings, YESTERDAY, "example.com")
    assert sum(row.count for row in found.rows) == 3


def test_archive(tmp_path):
    report_site = Site(tmp_path, archive=str(tmp_path / "archive"))
    some(report_site)
    report_site.go()
    kept = sorted((tmp_path / "archive" / "2027-01-16").iterdir())
    assert len(kept) == 3
    names = {part.get_filename() for mail in report_site.receiver.taken for part in parsed(mail).iter_attachments()}
    assert {path.name for path in kept} == names


def test_one_run_at_a_time(report_site):
    lock = RunLock(report_site.store)
    assert lock.take(int(report_site.now), "elsewhere 1")
    assert report_site.go().stopped == BUSY
    report_site.now += LEASE_SECONDS + 1
    assert report_site.go().stopped == ""


def test_pruning_keeps_what_is_still_needed(report_site_each_database):
    some(report_site_each_database)
    report_site_each_database.go()
    later = Receiver(answers={"dmarc@example.com": DeliveryAttempt(DeliveryResult.LATER, "450")})
    report_site_each_database.ingest(passed(time="2027-01-17T10:00:00.000Z"))
    report_site_each_database.now += DAY_SECONDS
    report_site_each_database.go(later)
    report_site_each_database.now += 20 * DAY_SECONDS
    retention.prune(
        report_site_each_database.store, reported_before=20270117, sent_before=int(report_site_each_database.now)
    )
    ledger, deliveries = ReportLedger(report_site_each_database.store), Deliveries(report_site_each_database.store)
    waiting = [
        deliveries.get(due.id) for due in deliveries.due(ReportKind.AGGREGATE, int(report_site_each_database.now), 100)
    ]
    assert [ledger.attachment(found.report) is not None for found in waiting] == [True]
    assert ledger.attachment(1) is None
    assert ledger.count(YESTERDAY, "x") == 0
