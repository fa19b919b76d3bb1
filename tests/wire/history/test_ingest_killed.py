"""An ingest that is killed at any point loses no outcome and doubles none."""

import json
import subprocess
import sys

import pytest

from dmarcmilter.history.ingest import Ingest
from dmarcmilter.history.store import Store
from tests.support import databases
from tests.support.paths import TESTS
from tests.support.stored_outcomes import assert_whole, queue_ids


@pytest.fixture
def journal(tmp_path):
    return tmp_path / "journal"


@pytest.mark.parametrize(("kind", "line_points", "time_points"), [("sqlite", 150, 60), ("postgresql", 80, 40)])
def test_killed_at_any_point_nothing_is_lost_or_doubled(kind, line_points, time_points, tmp_path, journal):
    url = databases.new_url(kind, tmp_path)
    script = TESTS / "support" / "history_crashes.py"
    done = subprocess.run(
        [sys.executable, script, url, journal, "7", str(line_points), str(time_points)],
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    story = json.loads(done.stdout)
    assert story["killed_at_lines"] > line_points * 0.5
    # How many depends on the machine's load while the time was measured.
    assert story["killed_in_time"] > 0
    store = Store(url)
    Ingest(journal, store).once()
    assert queue_ids(store) == sorted(story["written"])
    assert databases.ask(store, "SELECT sum(outcomes), sum(unreadable) FROM journal_files") == [
        (len(story["written"]), story["torn"])
    ]
    assert_whole(store)
    store.close()
