"""Probe the milter socket: connect and negotiate as an MTA does. An answer comes from a worker that runs our code.

The wire format is Sendmail's milter protocol: length, a letter, data.
"""

import socket
import struct
import time
from typing import Final

from dmarcmilter.config.endpoint import Socket

VERSION: Final = 6
"""Protocol version offered: that of Postfix and libmilter since 2009."""
OFFERED_ACTIONS: Final = 0x1FF
"""Every change that an MTA can allow a filter."""
OFFERED_STEPS: Final = 0x1FFFFF
"""Every step of the protocol, as Postfix offers them."""
MAX_REPLY: Final = 4096
"""Longest reply accepted, in bytes; ours has about a hundred. A longer one is not from a milter."""


class ProbeError(Exception):
    """The filter does not answer at this address; the text says why."""

    def __init__(self, text: str, *, not_listening: bool = False) -> None:
        super().__init__(text)
        self.not_listening = not_listening
        """No program listens at the address."""


def no_answer(error: OSError) -> ProbeError:
    is_refused = isinstance(error, ConnectionRefusedError | FileNotFoundError)
    return ProbeError(error.strerror or str(error), not_listening=is_refused)


def connect(address: Socket, seconds: float) -> socket.socket:
    """A connection to the address; OSError when there is none. A filter that listens everywhere is probed locally."""
    if address.family != "unix":
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
        return socket.create_connection((host, address.port), seconds)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(seconds)
    try:
        connection.connect(address.path)
    except OSError:
        connection.close()
        raise
    return connection


def negotiate(address: Socket, seconds: float) -> int:
    """Connect and negotiate; the protocol version that the filter agrees to."""
    try:
        with connect(address, seconds) as connection:
            return negotiate_on(connection, seconds)
    except OSError as error:
        raise no_answer(error) from None


def negotiate_on(connection: socket.socket, seconds: float) -> int:
    """The protocol version that the filter on this connection agrees to; ProbeError or OSError if it is no filter."""
    connection.sendall(_packet(b"O", struct.pack("!III", VERSION, OFFERED_ACTIONS, OFFERED_STEPS)))
    version = _version(_reply(connection, time.monotonic() + seconds))
    connection.sendall(_packet(b"Q"))
    return version


def _version(reply: bytes) -> int:
    if reply[:1] != b"O" or len(reply) < 13:
        raise ProbeError("what answers there is no milter")
    return int.from_bytes(reply[1:5], "big")


def _packet(code: bytes, data: bytes = b"") -> bytes:
    return struct.pack("!I", 1 + len(data)) + code + data


def _reply(connection: socket.socket, until: float) -> bytes:
    length = int.from_bytes(_exactly(connection, 4, until), "big")
    if not 0 < length <= MAX_REPLY:
        raise ProbeError("what answers there is no milter")
    return _exactly(connection, length, until)


def _exactly(connection: socket.socket, count: int, until: float) -> bytes:
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
