"""Journal lines of each version of the program so far, and what today's readers make of them.

tests/golden/journal-v1 has for each shape of the record a journal (`NAME.jsonl`), written by the code of its time; what
explain, replay, the database, statistics, hold reasons and reports make of it (`NAME.expected.json`, frozen: nothing
may change it); and the explanation's sentences (`NAME.en.txt`, `NAME.ja.txt`, which follow the catalogues' wording).

`python -m tests.support.golden_journals` writes the expected files of a new journal, and the sentences of all; it never
overwrites an expected file.
"""

import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from dmarcmilter import outcome_record
from dmarcmilter.cli.held_messages import HeldMessage
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.explain import as_text, as_values, explain, replay
from dmarcmilter.explain import replay_comparison as replayed
from dmarcmilter.explain.replay import Terms
from dmarcmilter.explain.replay_comparison import ReplayTally, Span
from dmarcmilter.history import hold_reasons as heldby
from dmarcmilter.history import migrations as schema
from dmarcmilter.history import outcome_reader as reader
from dmarcmilter.history import statistics as stats
from dmarcmilter.history.day_number import date_of_number
from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.store import Store, rows
from dmarcmilter.postfix.hold_queue import Held
from dmarcmilter.reasons import Language
from dmarcmilter.reports.aggregate import day_outcomes as stored
from dmarcmilter.reports.failure import incident as failure
from tests.support import outcomes

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "journal-v1"
NAMES = sorted(path.stem for path in FOLDER.glob("[0-9]*.jsonl"))
SPAN = Span(datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))
ENTRY = {"name": "n", "action": "reject", "from_domain": ["example.com"], "recipient": ["b@example.net"]}
TERMS = {
    "enforce": Terms(outcomes.RULES, Method.TREEWALK, honor_pct=True, suffixes=outcomes.SUFFIXES),
    "monitor": Terms(outcomes.rules(mode="monitor"), Method.TREEWALK, honor_pct=True, suffixes=outcomes.SUFFIXES),
    "lenient": Terms(
        outcomes.rules(
            mailing_list_traces="ignore",
            temperror="tempfail",
            trusted_sealers=["hop.example", "list.example"],
            mailing_lists=["list.example"],
            forwarder_names=["a.example"],
            on_missing="accept",
            quarantine_action="header",
        ),
        Method.PSL,
        honor_pct=False,
        suffixes=outcomes.SUFFIXES,
        asks_recipients=True,
    ),
    "strict": Terms(
        outcomes.rules(on_unsigned_duplicate="quarantine", overrides=[ENTRY], rollout_percent=50),
        Method.TREEWALK,
        honor_pct=True,
        suffixes=outcomes.SUFFIXES,
    ),
}


def lines_of(name):
    return (FOLDER / f"{name}.jsonl").read_bytes().splitlines()


def expected(name):
    values = json.loads((FOLDER / f"{name}.expected.json").read_text(encoding="utf-8"))
    for report in values["reports"]:
        if report["group"]:
            report["group"]["rows"] = _in_order(report["group"]["rows"])
    return values


def as_json(record):
    """A record that a reader gives out, as plain JSON values."""
    return json.loads(msgspec.json.encode(record))


def read(line):
    """One line, as the readers take it."""
    return outcome_record.decoded(line)


def told(name):
    """What every reader makes of one journal."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder) / "journal"
        directory.mkdir()
        (directory / "20270115-1-1.jsonl").write_bytes((FOLDER / f"{name}.jsonl").read_bytes())
        store = Store(f"sqlite:///{folder}/h.db")
        schema.migrate(store)
        ingest = Ingest(directory, store)
        ingest.once()
        values = {
            "ingest": [ingest.counts.outcomes, ingest.counts.unreadable],
            "lines": [_line(line, store) for line in lines_of(name)],
            "held": _held(directory, lines_of(name)),
            "replay": {word: _replay(directory, store, terms) for word, terms in TERMS.items()},
            "statistics": _statistics(store),
            "reports": _reports(store),
            "failure_reports": [_failure(read(line)) for line in lines_of(name)],
        }
        store.close()
    return json.loads(json.dumps(values, default=str))


def _line(line, store):
    record = read(line)
    explained = as_values(explain(record))
    queue_id = json.loads(line)["queue_id"]
    with store.reading() as connection:
        [again] = reader.of_queue_id(connection, queue_id)
        columns = _columns(connection, queue_id)
    assert as_values(explain(again)) == explained, "the database gives what the journal gives"
    judged = {word: _judged(record, terms) for word, terms in TERMS.items()}
    assert judged == {word: _judged(again, terms) for word, terms in TERMS.items()}
    return {
        "queue_id": queue_id,
        "sentences": {section: [one["code"] for one in part] for section, part in explained.items()},
        "conf": [one["conf"] for part in explained.values() for one in part if "conf" in one],
        "replay": judged,
        "columns": columns,
    }


def _columns(connection, queue_id):
    """Every value of its rows in the database but numbers of rows, digests and details."""
    [outcome] = rows(connection, "SELECT * FROM outcomes WHERE queue_id = :queue_id", queue_id=queue_id)
    [verdict] = rows(connection, "SELECT * FROM verdicts WHERE id = :id", id=outcome.verdict_id)
    [client] = rows(connection, "SELECT * FROM clients WHERE id = :id", id=outcome.client_id)
    policies = rows(connection, "SELECT * FROM policies WHERE id = :id", id=verdict.policy_id)
    values = {
        "outcome": outcome._asdict(),
        "verdict": verdict._asdict(),
        "client": client._asdict(),
        "policy": policies[0]._asdict() if policies else {},
    }
    for table in ("signatures", "overrides"):
        parts = rows(connection, f"SELECT * FROM {table} WHERE verdict_id = :id ORDER BY position", id=verdict.id)
        values |= {f"{table} {row.position}": row._asdict() for row in parts}
    left_out = {"id", "digest", "detail", "verdict_id", "client_id", "policy_id"}
    return {
        name: {column: value for column, value in row.items() if column not in left_out} for name, row in values.items()
    }


def _judged(record, terms):
    judgement = replay.decide_again(record, terms)
    decision = judgement.decision
    words = decision and [decision.action, decision.disposition, decision.would_action, decision.would_disposition]
    return [words, list(judgement.gaps)]


def _held(directory, lines):
    """Why each message is on hold, of those that are."""
    arrived = {}
    for line in map(json.loads, lines):
        arrived[line["queue_id"]] = datetime.fromisoformat(line["time"]) + timedelta(minutes=1)
    return {
        queue_id: HeldMessage(Held(queue_id, arrived[queue_id], 1000, 1), record).values()
        for queue_id, record in heldby.in_journal(directory, arrived).items()
    }


def _replay(directory, store, terms):
    counted = []
    for source in ("journal", "database"):
        tally = ReplayTally(terms)
        if source == "journal":
            replayed.of_journal(sorted(directory.iterdir()), SPAN, tally, lambda _: None)
        else:
            with store.reading() as connection:
                replayed.of_store(connection, SPAN, tally, lambda _: None)
        counted.append(
            {
                "messages": tally.messages,
                "unreadable": tally.unreadable,
                "done": _changes(tally.done),
                "would": _changes(tally.would),
                "domains": {name: _changes(domain.messages) for name, domain in sorted(tally.domains.items())},
                "gaps": dict(sorted(tally.gaps.items())),
            }
        )
    assert counted[0] == counted[1]
    return counted[0]


def _changes(counter):
    return {" to ".join(change): count for change, count in sorted(counter.items())}


def _statistics(store):
    period = stats.Period(SPAN.since, SPAN.until)
    with store.reading() as connection:
        gathered = stats.gather(connection, period, outcomes.SUFFIXES, by=None)
    values = msgspec.to_builtins(gathered, builtin_types=(datetime,))
    del values["timeline"]
    values["survey"]["steps"] = len(values["survey"]["steps"])
    return values


def _reports(store):
    groups = []
    days = [row.day for row in store.query("SELECT DISTINCT day FROM outcomes ORDER BY day")]
    for day in days:
        with stored.day_view(store, date_of_number(day)) as view:
            for domain in view.domains():
                collected = view.collect(domain, beyond_reported=False)
                group = collected and msgspec.to_builtins(collected.group, builtin_types=(datetime,))
                if group:
                    group["rows"] = _in_order(json.loads(json.dumps(group["rows"], default=str)))
                groups.append({"day": day, "domain": domain, "group": group})
    return groups


def _in_order(rows_of_report):
    """The rows of a report in an order of their own: that in the report follows from how the program names its types.

    Without the entry of an override, which no report has.
    """
    for row in rows_of_report:
        row["reasons"] = [{key: value for key, value in one.items() if key != "entry"} for one in row["reasons"]]
    return sorted(rows_of_report, key=lambda row: json.dumps(row, sort_keys=True))


def _failure(record):
    """Whether a failure report is asked for, and what is kept for it."""
    observed = failure.Observed(mail_from="a@bounce.example")
    unwanted = failure.reason_not_to_report(record, observed, on_none=True)
    return unwanted or as_json(failure.reported_part(record))


def texts(name, language):
    """The explanation of each line of a journal."""
    parts = [
        f"{json.loads(line)['queue_id']}\n{as_text(explain(read(line), language), language)}" for line in lines_of(name)
    ]
    return "\n\n".join(parts) + "\n"


def write():
    """The expected files that are not there yet, and all sentences."""
    for name in NAMES:
        path = FOLDER / f"{name}.expected.json"
        if not path.exists():
            path.write_text(json.dumps(told(name), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        for language in Language:
            (FOLDER / f"{name}.{language}.txt").write_text(texts(name, language), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(write())
