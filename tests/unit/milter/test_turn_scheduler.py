import itertools
import threading
import time

from dmarcmilter.milter import turn_scheduler
from dmarcmilter.milter.turn_scheduler import MAX_RETURNS, Turn, Turns


def started(work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_free_turn_is_had_at_once():
    shared = Turns()
    turn = Turn(shared)
    turn.take()
    turn.take()
    turn.give()
    turn.give()
    other = Turn(shared)
    other.take()
    assert not shared._waiting
    assert shared.holds(other._waiter)


def order_of(shared, holder, waiters):
    """The order in which `waiters`, turns with their names, go on when `holder` has given the turn away.

    They begin to wait one after the other.
    """
    order, threads = [], []

    def work(turn, name):
        turn.take()
        order.append(name)
        turn.give()

    for number, (turn, name) in enumerate(waiters):
        threads.append(started(lambda turn=turn, name=name: work(turn, name)))
        while len(shared._waiting) + len(shared._returning) <= number:
            time.sleep(0.0005)
    holder.give()
    for thread in threads:
        thread.join(60)
    assert not shared._waiting
    assert not shared._returning
    return order


def test_those_who_wait_come_in_their_order():
    shared = Turns()
    holder = Turn(shared)
    holder.take()
    assert order_of(shared, holder, [(Turn(shared), number) for number in range(3)]) == [0, 1, 2]


def lend(turn):
    turn.take()
    turn.lend()


def queue_of_three(shared, before):
    """The order in which three messages go on: two that wait, then one that returns from DNS. `before`: its past."""
    holder, returning = Turn(shared), Turn(shared)
    before(returning)
    holder.take()
    return order_of(shared, holder, [(Turn(shared), "first"), (Turn(shared), "second"), (returning, "third")])


def test_a_message_that_waited_for_dns_comes_before_those_that_have_not_begun():
    assert queue_of_three(Turns(), lend) == ["third", "first", "second"]


def test_only_its_next_turn_comes_first():
    def end(turn):
        turn.take()
        turn.lend()
        turn.take()
        turn.give()

    assert queue_of_three(Turns(), end) == ["first", "second", "third"]


def test_messages_that_return_all_the_time_do_not_keep_others_waiting(monkeypatch):
    """A sender's messages may need a hundred answers each, and so return a hundred times."""
    monkeypatch.setattr(turn_scheduler, "PATIENCE", 60)  # none takes the turn away while the others come
    shared = Turns()
    holder, returning = Turn(shared), [Turn(shared) for _ in range(3 * MAX_RETURNS)]
    for turn in returning:
        lend(turn)
    holder.take()
    waiters = [(turn, "returning") for turn in returning]
    order = order_of(shared, holder, [*waiters, (Turn(shared), "first"), (Turn(shared), "second")])
    assert order.index("first") == MAX_RETURNS
    assert order.index("second") == 2 * MAX_RETURNS + 1
    assert len(order) == 3 * MAX_RETURNS + 2


def test_a_message_that_ended_while_it_waited_for_dns_does_not_come_first_with_the_next():
    def end(turn):
        turn.take()
        turn.lend()
        turn.give()

    assert queue_of_three(Turns(), end) == ["first", "second", "third"]


def test_a_message_that_had_lost_the_turn_does_not_come_first():
    """A large body loses it again and again, and would keep all others waiting."""
    shared = Turns()

    def lose(turn):
        turn.take()
        other = Turn(shared)
        other.take()  # after PATIENCE
        turn.lend()
        other.give()

    assert queue_of_three(shared, lose) == ["first", "second", "third"]


def test_who_keeps_it_too_long_loses_it_once():
    """A message whose MTA stalls holds nobody up for longer than PATIENCE, and nobody after that."""
    shared = Turns()
    stalled = Turn(shared)
    stalled.take()
    began = time.monotonic()
    second = Turn(shared)
    second.take()
    assert time.monotonic() - began >= turn_scheduler.PATIENCE
    assert shared.holds(second._waiter), "it ran without a turn instead of taking it away"
    second.give()
    stalled.give()  # long lost: takes nothing from anybody
    third = Turn(shared)
    third.take()
    assert shared.holds(third._waiter)


def test_who_lost_it_gives_nothing_away_of_others():
    shared = Turns()
    stalled, second = Turn(shared), Turn(shared)
    stalled.take()
    second.take()  # after PATIENCE
    stalled.give()
    assert shared.holds(second._waiter)
    second.give()
    assert shared._holder is None


def test_nobody_waits_longer_than_the_limit(monkeypatch):
    """However busy the others are: every message goes on."""
    monkeypatch.setattr(turn_scheduler, "LONGEST_WAIT", 0.1)

    class Passing(Turns):
        """Hands change all the time, but never to the one who waits."""

        _passed = property(lambda self: next(numbers), lambda self, number: None)

    numbers = itertools.count()
    shared = Passing()
    holder = shared.take()
    waiting = Turn(shared)
    began = time.monotonic()
    waiting.take()
    assert time.monotonic() - began >= 0.1
    assert not shared._waiting
    assert shared.holds(holder), "it has taken the turn away"


def test_many_threads_all_come_through():
    shared = Turns()
    done = []

    def work():
        turn = Turn(shared)
        for _ in range(50):
            turn.take()
            turn.take()
            turn.give()
        done.append(1)

    threads = [started(work) for _ in range(16)]
    for thread in threads:
        thread.join(60)
    assert len(done) == 16
    assert not shared._waiting


def test_one_who_was_called_too_late_stops_waiting_all_the_same():
    """Called right after his patience ended, he finds the turn with another, who saw it unused: that is no error."""
    shared = Turns()
    holder = shared.take()
    late, impatient = turn_scheduler._Waiter(), turn_scheduler._Waiter()
    shared._waiting.extend((late, impatient))
    before = shared._passed
    shared.give(holder)
    assert shared._stops_waiting(impatient, shared._passed, 0.1)
    assert shared._stops_waiting(late, before, 0.0)
    assert shared.holds(impatient)


def test_impatient_threads_meet_no_error(monkeypatch):
    monkeypatch.setattr(turn_scheduler, "PATIENCE", 0.0002)
    monkeypatch.setattr(turn_scheduler, "LONGEST_WAIT", 0.001)
    shared = Turns()
    done = []

    def work():
        turn = Turn(shared)
        end = time.monotonic() + 0.7
        while time.monotonic() < end:
            turn.take()
            turn.lend()
            turn.take()
            turn.give()
        done.append(1)

    threads = [started(work) for _ in range(40)]
    for thread in threads:
        thread.join(60)
    assert len(done) == 40
