"""Journal files for tests, from outcomes that tests/support/outcomes.py makes."""

import itertools
import json
from datetime import timedelta

from dmarcmilter.auth.results import DkimResult, DkimWord
from dmarcmilter.mail.domain import Domain
from tests.support import outcomes
from tests.support.outcomes import RECEIVED_AT, recorded

DAY = 20270115
NAME = "20270115-1799971200000-17.jsonl"

_numbers = itertools.count()


def kinds():
    """Records of very different outcomes."""
    fails = outcomes.evidence(spf=outcomes.spf("pass esp.example"), dkim=[outcomes.dkim("pass list.example")])
    return {
        "reject": outcomes.outcome(fails),
        "quarantine": outcomes.outcome(fails, outcomes.message("List-Id: <a.list.example>")),
        "monitored": outcomes.outcome(fails, rules=outcomes.rules(mode="monitor")),
        "sampled out": outcomes.outcome(outcomes.evidence(record="v=DMARC1; p=reject; pct=0"), draw=50),
        "pass": outcomes.outcome(
            outcomes.evidence(
                dkim=[DkimResult(DkimWord.PASS, Domain("example.com"), "s1", "rsa-sha256")],
                record="v=DMARC1; p=reject; rua=mailto:a@example.com; ruf=mailto:f@example.com; adkim=x",
            )
        ),
        "no record": outcomes.outcome(outcomes.evidence(record="", spf=outcomes.spf("pass other.org"))),
        "no author": outcomes.outcome(outcomes.evidence(problem="missing")),
        "temperror": outcomes.outcome(outcomes.evidence(failed=["_dmarc.example.com"])),
        "arc": outcomes.outcome(
            outcomes.evidence(
                arc=outcomes.arc("pass", [("hop.example", "hop.example; dmarc=pass header.from=example.com")])
            ),
            rules=outcomes.rules(trusted_sealers=["hop.example"]),
        ),
        "null sender": outcomes.outcome(
            outcomes.evidence(spf=outcomes.spf("pass mta.example helo")), mail_from_domain=None
        ),
    }


KINDS = {name: recorded(outcome) for name, outcome in kinds().items()}


def record(kind="reject", **changes):
    """A record with a queue id of its own."""
    return KINDS[kind] | {"queue_id": f"Q{next(_numbers)}"} | changes


def some(count):
    """Records of all kinds in turn, some alike and some not."""
    names = itertools.islice(itertools.cycle(KINDS), count)
    return [record(name, helo=f"h{number % 7}.example") for number, name in enumerate(names)]


def at(minutes):
    when = RECEIVED_AT + timedelta(minutes=minutes)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(records):
    """Lines without spaces, as the journal itself writes them."""
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)


def append(folder, records, name=NAME):
    folder.mkdir(exist_ok=True)
    with (folder / name).open("ab") as file:
        file.write(lines(records))
    return [found["queue_id"] for found in records]
