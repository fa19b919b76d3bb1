"""A process that ingests and is killed (SIGKILL) again and again; prints what happened as JSON.

python crashes.py URL JOURNAL SEED LINE_POINTS TIME_POINTS

LINE_POINTS children die before a line of our code that is drawn by chance, TIME_POINTS after a time that is (so also
inside SQLAlchemy, the driver and the database's library). Before each, outcomes are appended: whole ones, and
sometimes one that is torn.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from dmarcmilter.history import journal_line_reader  # noqa: E402
from dmarcmilter.history.ingest import Ingest  # noqa: E402
from dmarcmilter.history.store import Store  # noqa: E402
from tests.support import journals  # noqa: E402
from tests.support.processes import child, ended  # noqa: E402

OURS = str(ROOT / "dmarcmilter" / "history")


def ingest(url, journal):
    store = Store(url)
    Ingest(journal, store).once()
    store.close()


def dying_at(line, work, is_ours=lambda file: file.startswith(OURS)):
    """The work, but this process is killed before the line-th line of our own code."""
    passed = 0

    def local(frame, event, argument):
        nonlocal passed
        if event == "line":
            passed += 1
            if passed == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return local

    def run():
        sys.settrace(lambda frame, event, argument: local if is_ours(frame.f_code.co_filename) else None)
        work()
        sys.settrace(None)

    return run


def lines_run(work):
    """How many there are to die at: about as many as the first run has."""
    reading, writing = os.pipe()

    def run():
        passed = 0

        def local(frame, event, argument):
            nonlocal passed
            passed += event == "line"
            return local

        sys.settrace(lambda frame, event, argument: local if frame.f_code.co_filename.startswith(OURS) else None)
        work()
        sys.settrace(None)
        os.write(writing, str(passed).encode())

    assert not ended(child(run))
    return int(os.read(reading, 20))


def main(url, journal, seed, line_points, time_points):
    journal_line_reader.CHUNK = 8192  # a few outcomes: several transactions for each child
    Store(url).close()  # the driver is imported here, and not by each child
    chance, journal = random.Random(seed), Path(journal)
    written, torn, at_lines, in_time = [], 0, 0, 0

    def more():
        nonlocal torn
        name = f"20270115-179997120000{chance.randrange(3)}-17.jsonl"
        written.extend(journals.append(journal, journals.some(chance.randrange(1, 25)), name))
        if chance.random() < 0.2:
            piece = journals.lines([journals.record()])
            with (journal / name).open("ab") as file:
                file.write(piece[: chance.randrange(1, len(piece) - 2)] + b"\n")
            torn += 1

    def work():
        ingest(url, journal)

    more()
    steps = lines_run(work)
    start = time.perf_counter()
    more()
    assert not ended(child(work))
    usual = time.perf_counter() - start
    for _ in range(line_points):
        more()
        at_lines += ended(child(dying_at(chance.randrange(1, steps + 1), work)))
    for _ in range(time_points):
        more()
        pid = child(work)
        time.sleep(chance.uniform(0, usual))
        os.kill(pid, signal.SIGKILL)
        in_time += ended(pid)
    print(json.dumps({"written": written, "torn": torn, "killed_at_lines": at_lines, "killed_in_time": in_time}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
