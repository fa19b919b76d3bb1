"""An ingest that follows the journal in a thread, with short waits."""

import threading
import time

from dmarcmilter.history import ingest


def following(reader):
    """Start the thread; return the event that stops it, and the thread."""
    stop = threading.Event()
    thread = threading.Thread(target=reader.follow, args=(stop,), daemon=True)
    thread.start()
    return stop, thread


def waited_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "in vain"
        time.sleep(0.02)


def shorten_waits(monkeypatch):
    monkeypatch.setattr(ingest, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(ingest, "FIRST_WAIT_SECONDS", 0.05)
    monkeypatch.setattr(ingest, "LONGEST_WAIT_SECONDS", 0.1)
