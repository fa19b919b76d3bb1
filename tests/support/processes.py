"""Work in a process of its own."""

import os
import signal
import sys


def child(work):
    """Run in a process of its own; its id."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def ended(pid):
    """Killed or not; anything else is a failure of its own."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in {0, -signal.SIGKILL}, status
    return status == -signal.SIGKILL
