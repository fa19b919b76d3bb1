"""Runs of `dmarcmilter report run` that are killed (SIGKILL) again and again; prints what arrived as JSON.

python reportcrashes.py FOLDER SEED ROUNDS

In each round the same store and spool are reported by a process that is killed before a line of our code, at a time,
or when so many messages have arrived, each drawn by chance, and then by one that is not. A real SMTP server counts
what arrives. The first round is whole.
"""

import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from dmarcmilter.cli import report_setup  # noqa: E402
from dmarcmilter.config import load as configuration  # noqa: E402
from dmarcmilter.history import migrations, outcome_rows  # noqa: E402
from dmarcmilter.history.outcome_writer import Advance, Writer  # noqa: E402
from dmarcmilter.history.store import Store  # noqa: E402
from dmarcmilter.outcome_record import encoded  # noqa: E402
from dmarcmilter.reports.failure.incident import Observed, incident_of  # noqa: E402
from dmarcmilter.reports.failure.incident_spool import IncidentSpool  # noqa: E402
from dmarcmilter.reports.failure.redaction import Redaction  # noqa: E402
from dmarcmilter.reports.run import RunRequest  # noqa: E402
from dmarcmilter.testing.name_server import NameServer  # noqa: E402
from tests.support import history_crashes  # noqa: E402
from tests.support.mta.smtp_sink import Sink  # noqa: E402
from tests.support.outcomes import fields  # noqa: E402
from tests.support.report_outcomes import outcome, passed  # noqa: E402

history_crashes.OURS = str(ROOT / "dmarcmilter")
BEFORE_YESTERDAY = datetime.now(UTC).date() - timedelta(days=2)
"""Settled whenever this runs."""
ZONE = {"*._report._dmarc.vendor.example": {"TXT": ["v=DMARC1"]}}


def about(name, **changes):
    policy = {"domain": name, "rua": [f"mailto:dmarc@{name}"], "organizational_domain": name}
    return {"author_domain": name, "policy": policy | changes}


def prepare(folder):
    """A store and a spool as they are before each round."""
    pristine = folder / "pristine"
    pristine.mkdir()
    store = Store(f"sqlite:///{pristine}/history.db")
    migrations.migrate(store)
    when = {"time": f"{BEFORE_YESTERDAY}T08:00:00.000Z"}
    two = about("two.example", rua=["mailto:dmarc@two.example", "mailto:two@vendor.example"])
    found = [passed(**when, **about(name)) for name in ("one.example", "three.example")] + [passed(**when, **two)]
    Writer(store).write([outcome_rows.parse(encoded(record)) for record in found], Advance(b"1", "1", 0, 1, 0))
    store.close()
    spool = IncidentSpool(str(pristine / "failures"))
    now = datetime.now(UTC).isoformat()
    for number, name in enumerate(("one.example", "two.example")):
        failed = outcome(time=now, **about(name, ruf=[f"mailto:ruf@{name}"]))
        observed = Observed(fields(f"From: a@{name}"), "a@b.example")
        spool.put(incident_of(failed, observed, Redaction(b"k"), f"incident{number}"))
    return pristine


def conf(folder, dns, sink):
    (folder / "list.dat").write_text("com\nexample\n", encoding="utf-8")
    return configuration.parse(
        f'[dns]\nnameservers = ["127.0.0.1:{dns.port}"]\n[dmarc]\npsl_file = "{folder}/list.dat"\n'
        f'[history]\ndatabase = "sqlite:///{folder}/now/history.db"\n'
        f'[reports]\nenabled = true\nemail = "dmarc@receiver.example"\nrelay = "127.0.0.1:{sink.port}"\n'
        f'archive = "{folder}/now/archive"\n[reports.failure]\nenabled = true\nspool = "{folder}/now/failures"\n'
    )


def silent(work):
    def run():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        assert work() == 0

    return run


def killed_at_a_time(work, seconds):
    pid = history_crashes.child(work)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return history_crashes.ended(pid)


def killed_at_an_arrival(work, sink, number):
    """When so many messages have come, and the answer to the last is on its way."""
    pid = history_crashes.child(work)
    while len(sink.deliveries) < number and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0001)
    os.kill(pid, signal.SIGKILL)
    return history_crashes.ended(pid)


def states(folder):
    # Closed here: a connection that the server's thread tidied up could leave SQLite locked in the next child.
    with closing(sqlite3.connect(folder / "now" / "history.db")) as database:
        sql = """SELECT r.report_id, coalesce(d.address, d.uri), d.state FROM report_deliveries d
            JOIN reports r ON r.id = d.report"""
        return database.execute(sql).fetchall()


def arrived(sink, start):
    """Report and address of what came, in its order."""
    return [
        (found.fields("message-id")[0].strip("<>").partition("@")[0], found.rcpts[0].strip("<>"))
        for found in sink.deliveries[start:]
    ]


def main(folder, seed, rounds):
    chance = random.Random(seed)
    pristine = prepare(folder)
    with NameServer(ZONE) as dns, Sink() as sink:
        config = conf(folder, dns, sink)
        work = silent(lambda: report_setup.send_due(config, RunRequest(day=BEFORE_YESTERDAY)))

        def renewed():
            shutil.rmtree(folder / "now", ignore_errors=True)
            shutil.copytree(pristine, folder / "now")

        renewed()
        lines = history_crashes.lines_run(work)
        renewed()
        began = time.perf_counter()
        assert not history_crashes.ended(history_crashes.child(work))
        usual = time.perf_counter() - began
        time.sleep(0.1)
        story = [{"killed": False, "arrived": arrived(sink, len(sink.deliveries) // 2), "states": states(folder)}]
        for number in range(rounds):
            renewed()
            start = len(sink.deliveries)
            if number % 3 == 0:
                killed = killed_at_a_time(work, chance.uniform(0, usual))
            elif number % 3 == 1:
                killed = killed_at_an_arrival(work, sink, start + chance.randrange(1, 7))
            else:
                killed = history_crashes.ended(
                    history_crashes.child(history_crashes.dying_at(chance.randrange(1, lines + 1), work))
                )
            assert not history_crashes.ended(history_crashes.child(work))
            time.sleep(0.01)  # the server's own threads
            story.append({"killed": killed, "arrived": arrived(sink, start), "states": states(folder)})
    print(json.dumps({"rounds": story, "usual": usual, "lines": lines}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
