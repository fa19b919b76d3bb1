"""Statistics for the report page, made up."""

from datetime import UTC, datetime, timedelta

from dmarcmilter.dmarc.record_fault_kinds import FaultKind
from dmarcmilter.history.adoption_survey import DISCOVERIES, SIGNERS, TYPE_TEXTS, DifferingDomain, Share, Step, Survey
from dmarcmilter.history.statistics import (
    ACTIONS,
    RESULTS,
    AuthenticatedSender,
    Cost,
    Count,
    FailingSource,
    Moment,
    OverrideCount,
    Period,
    RefusedAuthor,
    Statistics,
)

START = datetime(2027, 1, 15, tzinfo=UTC)
HOURS = 48
COUNTED_KINDS = [kind for kind in FaultKind if kind is not FaultKind.OBSOLETE_TAG]
"""Tags that were dropped are no fault."""


def statistics(*, hours=HOURS, domain="bank.example"):
    timeline = tuple(
        Moment(START + timedelta(hours=n), 300 + 10 * (n % 24), 80 + n % 24, 60 + 9 * (n % 7)) for n in range(hours)
    )
    return Statistics(
        period=Period(START, START + timedelta(hours=max(hours, 1))),
        messages=20_000,
        octets=10**9,
        results=tuple(Count(name, 4000) for name in RESULTS),
        actions=tuple(Count(name, 5000) for name in ACTIONS),
        would=tuple(Count(name, 6000) for name in ACTIONS),
        timeline=timeline,
        refused=tuple(RefusedAuthor(f"{n}.{domain}", 100 - n, 100) for n in range(20)),
        authenticated=(AuthenticatedSender(domain, 50, 3, 2),),
        sources=(FailingSource("2001:db8::1", 7, 1),),
        overrides=(OverrideCount("local_policy", domain, "", 4),),
        cost=Cost(1000, 3000, 12.5, 60.0),
        survey=Survey(
            domains=100,
            messages=20_000,
            types=tuple(Share(name, 16, 3000) for name in TYPE_TEXTS),
            policies=tuple(Share(name, 20, 3000) for name in ("none", "quarantine", "reject")),
            addresses=(Share("rua only", 5, 6),),
            signers=tuple(Share(name, 25, 5000) for name in SIGNERS),
            faults=(Share("adkim", 3, 9),),
            fault_kinds=tuple(Share(kind, 3, 9) for kind in COUNTED_KINDS),
            reporting=(Share("rua", 50, 80), Share("ruf", 10, 20)),
            rua_vendors=(Share(domain, 25, 60),),
            ruf_vendors=(Share(domain, 5, 6),),
            third_parties=(Share(domain, 7, 8),),
            discoveries=tuple(Share(name, 33, 44) for name in DISCOVERIES),
            differing=(
                DifferingDomain(domain, 9, "result", "treewalk", domain, domain, "fail", domain, domain, "pass"),
            ),
            steps=tuple(step(day) for day in range(12)),
        ),
    )


def step(day):
    types = tuple(Share(name, 10 + number, 100 - day) for number, name in enumerate(TYPE_TEXTS))
    policies = tuple(Share(name, 20, 30) for name in ("none", "quarantine", "reject"))
    return Step(START + timedelta(days=day), 75, 600, types, policies)
