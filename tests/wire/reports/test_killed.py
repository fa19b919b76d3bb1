"""A run of reports that is killed anywhere is taken up by the next: the same reports, and nothing sent twice.

More rounds than here: `python tests/support/report_crashes.py FOLDER SEED ROUNDS`, and `judge` on what it prints.
"""

import json
import subprocess
import sys
from collections import Counter

from tests.support.paths import TESTS

ROUNDS = 60


def judge(story):
    """How many rounds were killed, and how many deliveries are uncertain; AssertionError for a broken promise."""
    whole, *rounds = story["rounds"]
    expected = {tuple(found) for found in whole["arrived"]}
    assert len(expected) == len(whole["arrived"]) == 6
    counts = Counter()
    for number, one in enumerate(rounds):
        taken = [tuple(found) for found in one["arrived"]]
        states = {(report, address): state for report, address, state in one["states"]}
        assert set(states) == expected, f"round {number}: other reports"
        assert set(states.values()) <= {"sent", "uncertain"}
        assert len(set(taken)) == len(taken), f"round {number}: sent twice"
        missing = expected - set(taken)
        uncertain = {found for found, state in states.items() if state == "uncertain"}
        assert missing <= uncertain, f"round {number}: lost, and nobody knows"
        assert len(uncertain) <= 1, "one is on its way at a time"
        counts.update(killed=one["killed"], uncertain=len(uncertain), arrived_uncertain=len(uncertain - missing))
    return counts


def test_killed_anywhere(tmp_path):
    script = TESTS / "support" / "report_crashes.py"
    done = subprocess.run(
        [sys.executable, script, tmp_path, "7", str(ROUNDS)], capture_output=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    counts = judge(json.loads(done.stdout))
    assert counts["killed"] > ROUNDS * 0.6
    assert counts["uncertain"] > ROUNDS / 20, "hardly a round was killed between message and answer: nothing was tried"
