"""The chaos kit: that its account sees each kind of wrong, its nonsense is nonsense, and three faults, shortly."""

import random
import time
from dataclasses import replace

import pytest

from chaos.account import Attempt, Fate, Seen, Sent, deferrals, violations
from chaos.clients import SPOILERS, TRANSCRIPT, nonsense
from chaos.faults import FAULTS
from chaos.mail import KINDS, content
from chaos.repeating import repeating
from chaos.run import Result, markdown, run
from tests.support.mta.postfix import missing_postfix

OURS = "mx.test.example; dmarc={}"


def attempt(code, text="", *, whole=True):
    return Attempt(code, text, whole, 0.1)


PUT_OFF = attempt(451, "4.7.1 Service unavailable - try again later")
REAL = Sent("<real@x>", "DKIM pass", Fate.DELIVERED, "pass", [PUT_OFF, attempt(250, "2.0.0 Ok: queued as 4AB")])
HELD = Sent("<held@x>", "quarantine", Fate.HELD, "fail", [attempt(250, "2.0.0 Ok: queued as 4CD")])
LATER = attempt(451, "4.7.1 DMARC policy of a.example cannot be evaluated now, message 4EE; try again later")
FORGED = Sent("<forged@x>", "reject", Fate.REFUSED, "fail", [LATER, attempt(550, "5.7.1 Rejected, message 4EF")])
GOOD = Seen(
    sent=[REAL, HELD, FORGED],
    # 4AA: the worker died after its journal's line, or before.
    queue_ids={"<real@x>": ["4AA", "4AB"], "<held@x>": ["4CD"], "<forged@x>": ["4EE", "4EF"]},
    outcomes={"4AA": ["accept"], "4AB": ["accept"], "4CD": ["quarantine"], "4EE": ["tempfail"], "4EF": ["reject"]},
    delivered={"<real@x>": [OURS.format("pass")]},
    held=frozenset({"4CD"}),
    stored={"4AA": 1, "4AB": 1, "4CD": 1, "4EE": 1, "4EF": 1},
    journalled={"4AA": 1, "4AB": 1, "4CD": 1, "4EE": 1, "4EF": 1},
)


def sent(one, *attempts):
    """The run with other attempts of one message."""
    return replace(GOOD, sent=[replace(one, attempts=list(attempts)) if each is one else each for each in GOOD.sent])


def outcomes(**changes):
    return replace(GOOD, outcomes={**GOOD.outcomes, **changes})


def test_a_good_run():
    assert violations(GOOD) == []
    assert violations(outcomes(**{"4AA": []})) == []
    assert [deferrals(one) for one in GOOD.sent] == [1, 0, 1]


WRONG = {
    "no end": (sent(REAL, PUT_OFF), "has no end; last: 451"),
    "never tried": (sent(REAL), "never tried"),
    "no reply": (sent(REAL, attempt(0), *REAL.attempts[1:]), "got no reply"),
    "real mail refused": (sent(REAL, attempt(550, "Rejected, message 4AB")), "must not be: 550"),
    "real mail refused once": (sent(REAL, attempt(554, "no", whole=False), REAL.attempts[1]), "must not be: 554"),
    "refused, and delivered": (sent(REAL, attempt(550, "Rejected, message 4AB")), "delivered all the same"),
    "refused, and held": (replace(GOOD, held=frozenset({"4CD", "4EF"})), "held all the same"),
    "forgery accepted": (sent(FORGED, LATER, attempt(250, "queued as 4EF")), "a forgery was accepted"),
    "forgery delivered": (
        replace(GOOD, delivered={**GOOD.delivered, "<forged@x>": [OURS.format("fail")]}),
        "delivered all the same",
    ),
    "delivered twice": (replace(GOOD, delivered={"<real@x>": [OURS.format("pass")] * 2}), "2 copies delivered"),
    "lost": (replace(GOOD, delivered={}), "0 copies delivered, 0 held, expected 1 and 0"),
    "held mail delivered": (
        replace(GOOD, delivered={**GOOD.delivered, "<held@x>": [OURS.format("fail")]}),
        "1 copies delivered, 1 held, expected 0 and 1",
    ),
    "hold forgotten": (replace(GOOD, held=frozenset()), "0 copies delivered, 0 held, expected 0 and 1"),
    "unjudged": (replace(GOOD, delivered={"<real@x>": [""]}), "without our result dmarc=pass: none at all"),
    "another result": (replace(GOOD, delivered={"<real@x>": [OURS.format("fail")]}), "our result dmarc=pass"),
    "accepted without an outcome": (outcomes(**{"4AB": []}), "answered 250 as 4AB, outcomes: none"),
    "refused without an outcome": (outcomes(**{"4EF": []}), "answered 550 as 4EF, outcomes: none"),
    "deferred without an outcome": (outcomes(**{"4EE": []}), "answered 451 as 4EE, outcomes: none"),
    "another outcome": (outcomes(**{"4AB": ["reject"]}), "outcomes: reject; expected accept"),
    "two outcomes": (outcomes(**{"4AB": ["accept", "accept"]}), "2 outcomes of 4AB"),
    "two outcomes of what was put off": (outcomes(**{"4AA": ["accept"] * 2}), "2 outcomes of 4AA"),
    "outcome of nothing": (outcomes(**{"4ZZ": ["accept"]}), "outcome of 4ZZ, which Postfix does not know"),
    "final without a queue id": (sent(FORGED, attempt(550, "5.7.1 no")), "under no queue id"),
    "mail of nobody": (replace(GOOD, delivered={**GOOD.delivered, "<who@x>": [""]}), "nobody sent it"),
    "history lacks one": (replace(GOOD, stored={**GOOD.stored, "4AB": 0}), "1 outcomes in the journal, 0 in"),
    "history has one twice": (replace(GOOD, stored={**GOOD.stored, "4AB": 2}), "1 outcomes in the journal, 2 in"),
    "history invents": (replace(GOOD, stored={**GOOD.stored, "4QQ": 1}), "0 outcomes in the journal, 1 in"),
}


@pytest.mark.parametrize("name", WRONG)
def test_each_wrong_is_seen(name):
    seen, told = WRONG[name]
    assert any(told in problem for problem in violations(seen)), violations(seen)


def test_every_kind_of_mail_has_its_own_judgement():
    assert {kind.fate for kind in KINDS} == set(Fate)
    for kind in KINDS:
        message = content(kind, "<1@x>")
        assert message.count(b"\r\nMessage-ID: <1@x>\r\n") == 1
        assert message.startswith(b"DKIM-Signature:") == bool(kind.sign)


def test_nonsense():
    for seed in range(200):
        assert nonsense(random.Random(seed)) != b"".join(TRANSCRIPT)
        assert nonsense(random.Random(seed)) == nonsense(random.Random(seed))
    assert all(spoil(TRANSCRIPT[1], random.Random(3)) != TRANSCRIPT[1] for spoil in SPOILERS)


def test_repeating_tells_what_went_wrong():
    counted = []
    with repeating(lambda: counted.append(1), 0.01):
        time.sleep(0.1)
    assert len(counted) > 2
    with pytest.raises(ZeroDivisionError), repeating(lambda: 1 / 0, 0.01):
        pass


def test_names_and_table():
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    row = Result(FAULTS[0], 5, 3, 1, 1, 2, 7, 0, 1.25, 0, (), ())
    assert markdown([row]).splitlines()[2] == "| none | 5 | 3 | 1 | 1 | 2 | 7 | 0 | 1.2 s | 0 | 0 |"


@pytest.mark.skipif(bool(missing_postfix()), reason=missing_postfix())
@pytest.mark.parametrize("name", ["kill-worker", "kill-supervisor", "dns-stopped"])
def test_fault(name):
    [fault] = [fault for fault in FAULTS if fault.name == name]
    # So short a run shows gross faults only, and may kill a worker that has no message; `make chaos` runs longer.
    result = run(replace(fault, felt=lambda stand: stand.traffic.sent), seconds=2.0, seed=1)
    assert result.violations == ()
    assert result.sent > 20
    assert result.deferred + result.deaths > 0
    assert result.delivered + result.held + result.refused == result.sent
