"""What a worker counts of its messages and of its resolver."""

import threading

import pytest

from dmarcmilter.auth.results import DkimWord
from dmarcmilter.dns.observer import AnswerWord, NoObserver, Origin
from dmarcmilter.mail.message import UNCLEANABLE
from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.board import State, lone_row
from dmarcmilter.metrics.metric_definitions import LATENCIES, SkipReason, place
from dmarcmilter.metrics.worker_metrics import WorkerTally
from dmarcmilter.outcome import Effort
from dmarcmilter.policy.rules import Mode
from dmarcmilter.value import replace
from tests.support import outcomes
from tests.support.worker_counters import counted, observed

EFFORT = Effort(
    dns_queries=4,
    dns_milliseconds=40.0,
    milliseconds=2.0,
    header_milliseconds=0.4,
    body_milliseconds=11_000.0,
    dns_spent=True,
)
FAILING = outcomes.evidence(
    record="v=DMARC1; p=reject",
    spf=outcomes.spf("softfail bounce.example.net"),
    dkim=[outcomes.dkim("fail example.com"), outcomes.dkim("fail example.com")],
)
FAILED = replace(outcomes.outcome(FAILING), effort=EFFORT)
PASSED = outcomes.outcome(outcomes.evidence(spf=outcomes.spf("pass example.com")))
AUTHORLESS = outcomes.outcome(outcomes.evidence(problem="several-domains"))
UNKNOWN = outcomes.outcome(
    outcomes.evidence(dkim=[outcomes.dkim("temperror example.com")], spf=outcomes.spf("temperror example.com"))
)


def judged(outcome, *, written=True):
    return lambda tally: tally.evaluated(outcome, journal_seconds=0.003, written=written)


def test_a_message_that_fails():
    assert counted(judged(FAILED)) == {
        ("messages_total", "fail"): 1,
        ("dispositions_total", "reject"): 1,
        ("actions_total", "reject"): 1,
        ("would_actions_total", "reject"): 1,
        ("spf_results_total", "softfail"): 1,
        ("dkim_results_total", "fail"): 2,
        ("arc_results_total", "none"): 1,
        ("dns_budget_spent_total", ""): 1,
    }


def test_monitor_mode_shows_what_would_be():
    found = counted(judged(outcomes.outcome(FAILING, rules=outcomes.rules(mode=Mode.MONITOR))))
    assert found["actions_total", "accept"] == 1
    assert found["would_actions_total", "reject"] == 1
    assert sum(number for (name, _), number in found.items() if name == "overrides_total") == 1


def test_a_message_without_author_domain():
    found = counted(judged(AUTHORLESS))
    assert found["messages_total", "permerror"] == 1
    assert found["author_problems_total", "several-domains"] == 1


def test_temperror_by_what_was_kept_from_us():
    found = counted(judged(UNKNOWN))
    assert found["messages_total", "temperror"] == 1
    assert found["temperrors_total", "spf"] == 1
    assert found["temperrors_total", "dkim_key"] == 1
    assert found["dkim_results_total", DkimWord.TEMPERROR] == 1


@pytest.mark.parametrize("limit", ["max_header_fields", "max_header_bytes", UNCLEANABLE])
def test_headers_beyond_a_limit(limit):
    outcome = replace(PASSED, message=replace(PASSED.message, truncated=limit))
    assert counted(judged(outcome))["header_limits_total", limit] == 1


def test_an_outcome_that_is_not_in_the_journal():
    assert ("journal_failures_total", "") not in counted(judged(PASSED))
    assert counted(judged(PASSED, written=False))["journal_failures_total", ""] == 1


def test_messages_that_are_not_judged():
    found = counted(
        lambda tally: tally.skipped(SkipReason.NETWORK),
        lambda tally: tally.abandoned(),
        lambda tally: tally.failed("eom"),
        lambda tally: tally.failed("no such callback"),
    )
    assert found == {
        ("ignored_total", "network"): 1,
        ("abandoned_total", ""): 1,
        ("internal_errors_total", "eom"): 1,
        ("internal_errors_total", "other"): 1,
    }


def test_histograms():
    tally = WorkerTally()
    judged(FAILED)(tally)
    assert observed(tally, f.STAGES, "header") == (0, 400)
    assert observed(tally, f.STAGES, "body") == (LATENCIES.index(30.0), 11_000_000)
    assert observed(tally, f.STAGES, "judgement") == (LATENCIES.index(0.0025), 2000)
    assert observed(tally, f.STAGES, "journal") == (LATENCIES.index(0.005), 3000)
    assert observed(tally, f.DNS_WAIT) == (LATENCIES.index(0.05), 40_000)
    size = FAILED.message.size
    assert observed(tally, f.MESSAGE_BYTES) == (0, size)


def test_beyond_the_last_bound():
    tally = WorkerTally()
    judged(replace(FAILED, effort=replace(EFFORT, milliseconds=99_000.0)))(tally)
    assert observed(tally, f.STAGES, "judgement") == (len(LATENCIES), 99_000_000)


def test_a_clock_that_jumps_back_is_no_error():
    tally = WorkerTally()
    judged(replace(FAILED, effort=replace(EFFORT, milliseconds=-5.0)))(tally)
    assert observed(tally, f.STAGES, "judgement") == (0, 0)


def test_threads_lose_nothing():
    tally = WorkerTally(lone_row())
    threads = [threading.Thread(target=lambda: [judged(FAILED)(tally) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.row.words[place(f.VERDICTS, "fail")] == 1600
    assert tally.row.words[place(f.DKIM, "fail")] == 3200


def test_connections_are_added_up_from_what_libmilter_tells():
    tally = WorkerTally()
    for told in ((3, 1), (3, 3), (10, 4)):
        tally.beat(State.SERVING, told, (5, 600))
    assert tally.row.words[place(f.CONNECTIONS_OPENED)] == 10
    assert tally.row.words[place(f.CONNECTIONS)] == 6
    assert tally.row.words[place(f.CACHE_ENTRIES)] == 5


def test_unwatched_takes_what_a_tally_takes():
    for observer in (NoObserver(), WorkerTally()):
        observer.asked(Origin.CACHE)
        observer.ended(AnswerWord.TCP, 1.0)
        observer.strays(3)
