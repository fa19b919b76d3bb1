"""The limit on the CPU time of a library."""

import re
import signal
import time

import pytest

from dmarcmilter.second_opinion.cpu_limit import CpuLimitError, cpu_limit


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_what_is_within_the_limit_goes_on_unharmed():
    before = signal.getsignal(signal.SIGVTALRM)
    with cpu_limit(5.0):
        work(0.01)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) is before


def test_waiting_does_not_count():
    with cpu_limit(0.05):
        time.sleep(0.2)


def test_a_regular_expression_is_interrupted():
    spaces = b" " * 30_000 + b"x"
    with pytest.raises(CpuLimitError), cpu_limit(0.1):
        re.sub(b"[\t ]+\r\n", b"\r\n", spaces)


@pytest.mark.slow
def test_a_library_that_catches_everything_is_interrupted_again():
    def stubborn():
        try:
            work(5.0)
        except BaseException:
            work(5.0)

    with pytest.raises(CpuLimitError), cpu_limit(0.1):
        stubborn()
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
