"""The board of counters that processes share."""

import os
import signal
import time

from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.board import SUPERVISOR, Board
from dmarcmilter.metrics.metric_definitions import place
from tests.support.processes import child, ended


def count(board, family, value=""):
    return board.totals()[place(family, value)]


def test_rows_of_processes_are_summed():
    board = Board()
    board.row(SUPERVISOR).add(place(f.ABANDONED))
    for _ in range(3):
        row = board.row(board.take())
        assert not ended(child(lambda row=row: [row.add(place(f.ABANDONED)) for _ in range(1000)]))
    assert count(board, f.ABANDONED) == 3001


def test_a_killed_worker_leaves_its_counts_and_its_successor_goes_on():
    board = Board()
    number = board.take()

    def work():
        row = board.row(number)
        row.begin(os.getpid())
        row.set(place(f.IN_PROGRESS), 7)
        while True:
            row.add(place(f.ABANDONED))

    before = 0
    for _ in range(5):
        pid = child(work)
        while count(board, f.ABANDONED) < before + 1000:
            time.sleep(0.001)
        assert [heartbeat.pid for heartbeat in board.heartbeats()] == [pid]
        assert count(board, f.IN_PROGRESS) == 7
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        board.give_back(number)
        reached = count(board, f.ABANDONED)
        assert reached >= before + 1000
        assert board.heartbeats() == []
        assert count(board, f.IN_PROGRESS) == 0
        assert board.take() == number
        before = reached
