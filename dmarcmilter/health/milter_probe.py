"""A negotiation, as every MTA begins with: whoever answers it has a worker that runs our code.

The wire format is Sendmail's milter protocol: length, a letter, data.
"""

import socket
import struct
import time
from typing import Final

from dmarcmilter.config.endpoint import Socket

VERSION: Final = 6
OFFERED_ACTIONS: Final = 0x1FF
"""All that an MTA can let a filter do."""
OFFERED_STEPS: Final = 0x1FFFFF
MAX_REPLY: Final = 4096
"""Octets of an answer; ours has a hundred."""


class ProbeError(Exception):
    """No filter of ours answers there; the text says why."""

    def __init__(self, text: str, *, not_listening: bool = False) -> None:
        super().__init__(text)
        self.not_listening = not_listening
        """Nobody listens there at all."""


def no_answer(error: OSError) -> ProbeError:
    return ProbeError(
        error.strerror or str(error), not_listening=isinstance(error, ConnectionRefusedError | FileNotFoundError)
    )


def connect(where: Socket, seconds: float) -> socket.socket:
    """OSError when nobody is there."""
    if where.family != "unix":
        return socket.create_connection((where.host, where.port), seconds)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(where.path)
    except OSError:
        connection.close()
        raise
    return connection


def negotiate(where: Socket, seconds: float) -> int:
    """The protocol version that a filter agrees to."""
    try:
        with connect(where, seconds) as connection:
            connection.sendall(_packet(b"O", struct.pack("!III", VERSION, OFFERED_ACTIONS, OFFERED_STEPS)))
            version = _version(_answer(connection, time.monotonic() + seconds))
            connection.sendall(_packet(b"Q"))
    except OSError as error:
        raise no_answer(error) from None
    return version


def _version(answer: bytes) -> int:
    if answer[:1] != b"O" or len(answer) < 13:
        raise ProbeError("what answers there is no milter")
    return int.from_bytes(answer[1:5], "big")


def _packet(code: bytes, data: bytes = b"") -> bytes:
    return struct.pack("!I", 1 + len(data)) + code + data


def _answer(connection: socket.socket, until: float) -> bytes:
    length = int.from_bytes(exactly(connection, 4, until), "big")
    if not 0 < length <= MAX_REPLY:
        raise ProbeError("what answers there is no milter")
    return exactly(connection, length, until)


def exactly(connection: socket.socket, count: int, until: float) -> bytes:
    data = b""
    while len(data) < count:
        left = until - time.monotonic()
        if left <= 0:
            raise ProbeError("no answer in time")
        connection.settimeout(left)
        part = connection.recv(count - len(data))
        if not part:
            raise ProbeError("closed without an answer")
        data += part
    return data
