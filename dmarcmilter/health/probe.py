"""GET /healthz of our own endpoint: it knows the workers."""

import json
import time
from dataclasses import dataclass
from typing import Final

from dmarcmilter.config.endpoint import Socket
from dmarcmilter.health.milter_probe import ProbeError, connect, no_answer

MAX_ANSWER: Final = 65_536
REQUEST: Final = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Workers:
    serving: int
    wanted: int
    silence: float
    """Seconds since the sign of life of the one that is silent longest."""


def workers(where: Socket, seconds: float) -> Workers:
    """ProbeError when there is no such answer."""
    try:
        _, _, body = _exchange(where, time.monotonic() + seconds).partition(b"\r\n\r\n")
        found = json.loads(body)
        return Workers(int(found["workers"]["serving"]), int(found["wanted"]), float(found["silence"]))
    except OSError as error:
        raise no_answer(error) from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise ProbeError("what answers there is not ours") from None


def _exchange(where: Socket, until: float) -> bytes:
    data = b""
    with connect(where, until - time.monotonic()) as connection:
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
