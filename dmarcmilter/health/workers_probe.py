"""Probe the metrics endpoint: GET /healthz, which says how many workers serve."""

import json
import time
from typing import Final

from dmarcmilter.config.endpoint import Socket
from dmarcmilter.health.milter_probe import ProbeError, connect, no_answer
from dmarcmilter.value import Value

MAX_ANSWER: Final = 65_536
"""Longest answer accepted, in bytes. A longer one is not from this filter."""
REQUEST: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Workers(Value):
    serving: int
    wanted: int
    silence: float
    """Seconds since the last heartbeat of the worker that has been silent longest."""


def workers(address: Socket, seconds: float) -> Workers:
    """The state of the workers; ProbeError when the endpoint does not say it."""
    try:
        _, _, body = _exchange(address, time.monotonic() + seconds).partition(b"\r\n\r\n")
        answer = json.loads(body)
        return Workers(int(answer["workers"]["serving"]), int(answer["wanted"]), float(answer["silence"]))
    except OSError as error:
        raise no_answer(error) from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ProbeError("what answers there is not ours") from None


def _exchange(address: Socket, until: float) -> bytes:
    data = b""
    with connect(address, until - time.monotonic()) as connection:
        connection.sendall(REQUEST)
        while len(data) <= MAX_ANSWER:
            left = until - time.monotonic()
            if left <= 0:
                raise ProbeError("no answer in time")
            connection.settimeout(left)
            part = connection.recv(MAX_ANSWER)
            if not part:
                return data
            data += part
    raise ProbeError("what answers there is not ours")
