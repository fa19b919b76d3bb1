"""Whole runs over a real store: what is planned, what is sent, and that a crash at any point changes neither."""

import re
import shutil
from datetime import date

import pytest

from dmarcmilter.reports import retention
from dmarcmilter.reports.aggregate import day_outcomes
from dmarcmilter.reports.aggregate.planning import Withheld, whole_day_report
from dmarcmilter.reports.aggregate.reported_days import ReportedDays
from dmarcmilter.reports.delivery.deliveries import BOUNCE_WITHIN_SECONDS, DAY_SECONDS, Deliveries, ReportKind
from dmarcmilter.reports.delivery.ledger import ReportLedger
from dmarcmilter.reports.delivery.relay import DeliveryAttempt, DeliveryResult
from dmarcmilter.reports.delivery.suppressions import Suppressions, record_bounce
from dmarcmilter.reports.run import BUSY, LEDGER_DAYS
from dmarcmilter.reports.run_lock import LEASE_SECONDS, RunLock
from tests.support.report_outcomes import outcome, passed
from tests.support.report_runs import YESTERDAY, Crashed, Receiver, Site, counted, domain, parsed, report_id, some, xml
from tests.support.zone import Zone

NO_SUCH_USER = DeliveryAttempt(DeliveryResult.REFUSED, "550 no such user", at_rcpt=True)


@pytest.fixture
def world(tmp_path):
    site = Site(tmp_path)
    yield site
    site.store.close()


@pytest.fixture
def anywhere(tmp_path, url):
    """The same on each of the databases."""
    site = Site(tmp_path, url)
    yield site
    site.store.close()


def test_a_run(anywhere):
    some(anywhere)
    done = anywhere.go()
    assert (done.planned, done.sent, done.stopped) == (3, 4, "")
    mails = sorted(anywhere.receiver.taken, key=lambda mail: mail.rcpt_to)
    assert [mail.rcpt_to for mail in mails] == [
        "dmarc@example.com", "dmarc@one.example", "dmarc@two.example", "two@vendor.example",
    ]  # fmt: skip
    assert anywhere.receiver.taken[-1] == mails[-1], "two.example has had one already"
    assert [counted(mail) for mail in mails] == [3, 1, 1, 1]
    assert len({mail.mail_from for mail in mails}) == 4
    assert report_id(mails[2]) == report_id(mails[3])
    assert anywhere.states() == {"sent": 4}


def test_the_second_run_has_nothing_to_do(world):
    some(world)
    world.go()
    done = world.go()
    assert (done.planned, done.sent) == (0, 0)
    world.now += DAY_SECONDS
    assert world.go().sent == 0
    assert len(world.receiver.taken) == 4


def test_late_arrivals_are_a_report_of_their_own(anywhere):
    """Each message is counted once; the period is the one it belongs to."""
    some(anywhere)
    anywhere.go()
    anywhere.ingest(passed(), outcome(client_ip="192.0.2.99"))
    anywhere.now += DAY_SECONDS
    done = anywhere.go()
    assert (done.planned, done.sent) == (1, 1)
    first, late = (mail for mail in anywhere.receiver.taken if mail.rcpt_to == "dmarc@example.com")
    assert [counted(first), counted(late)] == [3, 2]
    assert report_id(first) != report_id(late)
    period = re.compile(r"<begin>\d+</begin>\s*<end>\d+</end>")
    assert period.search(xml(first))[0] == period.search(xml(late))[0]


def test_messages_of_another_day_wait_for_theirs(world):
    world.ingest(passed(), passed(time="2027-01-17T00:00:00.000Z"))
    assert world.go().sent == 1
    assert counted(world.receiver.taken[0]) == 1
    world.now += DAY_SECONDS
    assert world.go().sent == 1


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


def test_what_is_uncertain_is_sent_again_only_when_asked(anywhere):
    some(anywhere)
    receiver = Receiver(answers={"dmarc@one.example": DeliveryAttempt(DeliveryResult.UNCERTAIN, "lost")})
    assert anywhere.go(receiver).uncertain == 1
    assert anywhere.go().sent == 0
    assert anywhere.go(resend_uncertain=True).sent == 1
    assert anywhere.receiver.ids[0] in receiver.ids


def test_nothing_to_domains_of_which_no_mail_is_authenticated(world):
    world.ingest(outcome(), outcome(**domain("spam.example")))
    done = world.go()
    assert (done.planned, done.withheld) == (0, 2)
    world.ingest(passed(time="2027-01-17T10:00:00.000Z"))
    world.now += DAY_SECONDS
    done = world.go()
    assert [mail.rcpt_to for mail in world.receiver.taken] == ["dmarc@example.com"] * 2
    assert [counted(mail) for mail in world.receiver.taken] == [1, 1]
    assert (done.planned, done.withheld) == (2, 0), "only what was released is looked at again"


def test_unless_asked(tmp_path):
    world = Site(tmp_path, only_authenticated=False)
    world.ingest(outcome(**domain("spam.example")))
    assert world.go().sent == 1


def test_destinations_that_did_not_agree(world):
    world.ingest(passed(policy={"rua": ["mailto:victim@other.example", "mailto:dmarc@example.com"]}))
    done = world.go()
    assert (done.sent, done.refused) == (1, 1)
    assert world.states() == {"sent": 1, "refused": 1}


def test_a_destination_that_dns_says_nothing_of_is_asked_again(world):
    world.ingest(passed(policy={"rua": ["mailto:x@silent.example"]}))
    world.zone = Zone({}, ["_dmarc.silent.example", "example.com._report._dmarc.silent.example"])
    assert world.go().postponed == 1
    assert world.states() == {"unverified": 1}
    world.zone = Zone({"example.com._report._dmarc.silent.example": "v=DMARC1"})
    assert world.go().sent == 0, "not before its time"
    world.now += 3600
    assert world.go().sent == 1


def test_our_own_address_and_excluded_ones_get_nothing(tmp_path):
    # AGG-13
    world = Site(tmp_path, exclude=("one.example",))
    ours = ["mailto:dmarc@receiver.example"]
    world.ingest(passed(**domain("one.example")), passed(**domain("receiver.example", rua=ours)))
    done = world.go()
    assert (done.sent, done.withheld, done.refused) == (0, 1, 1)


def test_trouble_of_the_relay_stops_the_run_and_is_tried_again(world):
    some(world)
    down = Receiver(answers={"dmarc@example.com": DeliveryAttempt(DeliveryResult.UNAVAILABLE, "no route")})
    done = world.go(down)
    assert "no route" in done.stopped
    assert down.taken == []
    world.now += 3600
    assert world.go().sent == 4


def test_an_address_that_says_no_is_left_alone(anywhere):
    some(anywhere)
    """What is about the same organization waits, and is sent when the suppression ends."""
    no = Receiver(answers={"dmarc@one.example": NO_SUCH_USER})
    assert (anywhere.go(no).failed, anywhere.states()["failed"]) == (1, 1)
    anywhere.ingest(passed(time="2027-01-17T10:00:00.000Z", **domain("one.example")))
    anywhere.now += DAY_SECONDS
    done = anywhere.go()
    assert (done.sent, done.refused, done.postponed) == (0, 0, 1)
    (pause,) = Suppressions(anywhere.store).all(int(anywhere.now))
    assert (pause.address, pause.organization, pause.failures) == ("dmarc@one.example", "one.example", 1)
    anywhere.now += 5 * DAY_SECONDS
    assert anywhere.go().sent == 0
    anywhere.now += 2 * DAY_SECONDS
    assert anywhere.go().sent == 1


def test_pauses_grow(world):
    suppressions = Suppressions(world.store)
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


def test_pauses_decay(world):
    """Refusals are forgotten one by one while none comes."""
    suppressions = Suppressions(world.store)
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


def test_a_delivery_is_given_up_after_days(world):
    world.ingest(passed())
    later = Receiver(answers={"dmarc@example.com": DeliveryAttempt(DeliveryResult.LATER, "450 busy")})
    for _ in range(10):
        world.go(later)
        world.now += 43_200
    assert world.states() == {"failed": 1}
    assert not Suppressions(world.store).all(int(world.now)), "it never said no"


def test_limit_of_an_hour(tmp_path):
    world = Site(tmp_path, max_per_hour=3)
    some(world)
    done = world.go()
    assert done.sent == 3
    assert "within the hour" in done.left
    assert done.stopped == ""
    assert world.go().sent == 0
    world.now += 3601
    assert world.go().sent == 1


def test_limit_of_a_domain(tmp_path):
    world = Site(tmp_path, max_per_domain=1)
    hosted = [passed(**domain(f"d{n}.example", rua=["mailto:x@vendor.example"])) for n in range(3)]
    world.ingest(passed(), *hosted)
    assert world.go().sent == 2
    world.now += 3601
    assert world.go().sent == 0
    world.now += DAY_SECONDS
    assert world.go().sent == 1


def test_size_limit_of_the_older_format(tmp_path):
    # AGG-04
    record = "v=DMARC1; p=reject; rua=mailto:dmarc@example.com!1k"
    for name, sent in (("rfc7489", 0), ("rfc9990", 1)):
        (tmp_path / name).mkdir()
        world = Site(tmp_path / name, format=name)
        world.ingest(passed(policy={"record": record}))
        assert world.go().sent == sent


def test_bounces(anywhere):
    some(anywhere)
    anywhere.go()
    mail = anywhere.receiver.taken[0]
    token = mail.mail_from.partition("+")[2].partition("@")[0]
    deliveries, suppressions = Deliveries(anywhere.store), Suppressions(anywhere.store)
    assert record_bounce(deliveries, suppressions, token, int(anywhere.now)) == mail.rcpt_to
    assert record_bounce(deliveries, suppressions, "0123456789abcdef", int(anywhere.now)) == ""
    assert anywhere.states()["bounced"] == 1
    organization = mail.rcpt_to.partition("@")[2]
    first = suppressions.get(organization, mail.rcpt_to, int(anywhere.now))
    assert first.failures == 1
    assert suppressions.get("other.example", mail.rcpt_to, int(anywhere.now)) is None
    assert record_bounce(deliveries, suppressions, token, int(anywhere.now)) == mail.rcpt_to
    assert suppressions.get(organization, mail.rcpt_to, int(anywhere.now)) == first, "the same bounce counts once"


def test_bounces_of_old_reports_do_not_count(world):
    """Who got a report may send bounces of it for ever."""
    some(world)
    world.go()
    world.now += BOUNCE_WITHIN_SECONDS + 1
    for mail in world.receiver.taken:
        token = mail.mail_from.partition("+")[2].partition("@")[0]
        assert record_bounce(Deliveries(world.store), Suppressions(world.store), token, int(world.now)) == mail.rcpt_to
    assert Suppressions(world.store).all(int(world.now)) == []


def test_bounces_do_not_bring_the_hour_up_again(tmp_path):
    """A bounce an hour later must not count as a report of that hour."""
    world = Site(tmp_path, max_per_hour=4)
    some(world)
    assert world.go().sent == 4
    world.now += 3601
    for mail in world.receiver.taken:
        record_bounce(Deliveries(world.store), Suppressions(world.store), mail.mail_from[2:18], int(world.now))
    world.ingest(passed(**domain("three.example")))
    assert world.go(day=YESTERDAY).sent == 1


def test_preview_remembers_nothing(world):
    some(world)
    world.ingest(outcome(**domain("spam.example")))
    found = list(world.run().preview())
    assert [item.domain for item in found if isinstance(item, Withheld)] == ["spam.example"]
    assert sum(len(item[1]) for item in found if not isinstance(item, Withheld)) == 4
    assert ReportedDays(world.store).planned() == {}
    assert world.go().sent == 4


def test_a_day_and_a_domain_that_are_asked_for(world):
    some(world)
    assert world.go(day=YESTERDAY, domain="one.example").sent == 1
    assert world.go().sent == 3
    assert "has not ended" in world.go(day=date(2027, 1, 17)).stopped


def test_more_sources_than_memory_are_several_reports(world, monkeypatch):
    monkeypatch.setattr(day_outcomes, "MAX_SOURCES", 2)
    world.ingest(*[passed(client_ip=f"192.0.2.{n}") for n in range(5)], passed(client_ip="192.0.2.0"))
    assert [len(planned.sources) for planned, _ in world.run().preview()] == [2]
    assert world.go().sent == 3
    assert sum(map(counted, world.receiver.taken)) == 6
    assert len({report_id(mail) for mail in world.receiver.taken}) == 3


def test_a_day_to_which_nothing_came_is_not_read_again(world, monkeypatch):
    some(world)
    world.go()
    world.now += DAY_SECONDS
    world.ingest(passed(time="2027-01-17T10:00:00.000Z"))
    read, whole = [], day_outcomes.DayView.collect

    def collect(view, *found, **more):
        read.append(view._day)
        return whole(view, *found, **more)

    monkeypatch.setattr(day_outcomes.DayView, "collect", collect)
    assert world.go().sent == 1
    assert read == [20270117]
    world.now += DAY_SECONDS
    world.ingest(outcome())
    assert world.go().sent == 1
    assert set(read[1:]) == {20270116}


def test_old_reports_are_forgotten(anywhere):
    some(anywhere)
    anywhere.go()
    anywhere.now += (LEDGER_DAYS + 1) * DAY_SECONDS
    anywhere.go()
    assert anywhere.states() == {}
    assert Deliveries(anywhere.store).mark_bounced("0" * 16, int(anywhere.now)) == (None, False)


def test_whole_day_for_people(world):
    some(world)
    world.go()
    found = whole_day_report(world.store, world.settings, YESTERDAY, "example.com")
    assert sum(row.count for row in found.rows) == 3


def test_archive(tmp_path):
    world = Site(tmp_path, archive=str(tmp_path / "archive"))
    some(world)
    world.go()
    kept = sorted((tmp_path / "archive" / "2027-01-16").iterdir())
    assert len(kept) == 3
    names = {part.get_filename() for mail in world.receiver.taken for part in parsed(mail).iter_attachments()}
    assert {path.name for path in kept} == names


def test_one_run_at_a_time(world):
    lock = RunLock(world.store)
    assert lock.take(int(world.now), "elsewhere 1")
    assert world.go().stopped == BUSY
    world.now += LEASE_SECONDS + 1
    assert world.go().stopped == ""


def test_pruning_keeps_what_is_still_needed(anywhere):
    some(anywhere)
    anywhere.go()
    later = Receiver(answers={"dmarc@example.com": DeliveryAttempt(DeliveryResult.LATER, "450")})
    anywhere.ingest(passed(time="2027-01-17T10:00:00.000Z"))
    anywhere.now += DAY_SECONDS
    anywhere.go(later)
    anywhere.now += 20 * DAY_SECONDS
    retention.prune(anywhere.store, reported_before=20270117, sent_before=int(anywhere.now))
    ledger, deliveries = ReportLedger(anywhere.store), Deliveries(anywhere.store)
    waiting = [deliveries.get(due.id) for due in deliveries.due(ReportKind.AGGREGATE, int(anywhere.now), 100)]
    assert [ledger.attachment(found.report) is not None for found in waiting] == [True]
    assert ledger.attachment(1) is None
    assert ledger.count(YESTERDAY, "x") == 0
