"""The board that all processes share: sums never go backwards, whatever dies."""

import time

from dmarcmilter.metrics import metric_definitions as f
from dmarcmilter.metrics.board import MAX_WORD, ROWS, SUPERVISOR, Board, State, lone_row
from dmarcmilter.metrics.metric_definitions import FAMILIES, WORDS, MetricKind, place


def count(board, family, value=""):
    return board.totals()[place(family, value)]


def test_rows_that_were_never_counted_in_hide_none_behind_them():
    board = Board()
    first, second = board.take(), board.take()
    board.give_back(first)
    board.row(second).add(place(f.ABANDONED))
    assert count(board, f.ABANDONED) == 1


def test_more_workers_than_rows_share_the_last():
    board = Board()
    taken = [board.take() for _ in range(ROWS + 3)]
    assert SUPERVISOR not in taken
    assert taken[-4:] == [ROWS - 1] * 4
    assert len(set(taken)) == ROWS - 1
    for number in taken:
        board.give_back(number)
    again = [board.take() for _ in range(ROWS - 1)]
    assert len(set(again)) == ROWS - 1


def test_heartbeats_of_workers():
    board = Board()
    row = board.row(board.take())
    assert board.heartbeats() == []
    row.begin(4711)
    [heartbeat] = board.heartbeats()
    assert (heartbeat.pid, heartbeat.state) == (4711, State.SERVING)
    time.sleep(0.05)
    age = board.heartbeats()[0].age
    assert age >= 0.04
    written = time.monotonic()
    row.beat(State.LEAVING)
    [heartbeat] = board.heartbeats()
    assert heartbeat.state is State.LEAVING
    assert heartbeat.age <= time.monotonic() - written + 0.01


def test_numbers_out_of_range_do_not_raise():
    row = lone_row()
    row.add(0, MAX_WORD)
    row.add(0, 2)
    assert row.words[0] == 1
    row.set(0, -1)
    assert row.words[0] == 0
    row.set(0, MAX_WORD + 1)
    assert row.words[0] == MAX_WORD


def test_each_time_series_has_its_own_words():
    ends = 0
    for family in FAMILIES:
        for value in family.values:
            assert place(family, value) == ends
            ends += family.width
    assert ends == WORDS


def test_names():
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert family.name.startswith("dmarcmilter_")
        assert family.name.endswith("_total") == (family.kind is MetricKind.COUNTER)
        assert bool(family.bounds) == (family.kind is MetricKind.HISTOGRAM)
        assert family.help.endswith(".")
