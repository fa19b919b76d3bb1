"""Is the filter there? Connects as the MTA does, and begins to negotiate (libmilter's protocol 6)."""

import socket
import struct

from dmarcmilter.advice import accounts
from dmarcmilter.advice.accounts import acting_as
from dmarcmilter.advice.finding import Finding, error, ok, warning
from dmarcmilter.advice.scene import Scene
from dmarcmilter.endpoint import Socket, parse_socket

SECONDS = 5.0
VERSION = 6
ALL_ACTIONS, ALL_STEPS = 0x1FF, 0x1FFFFF
"""What Postfix offers."""
MAX_PACKET = 65_536
_HEAD = struct.Struct("!Ic")
_OFFER = struct.Struct("!III")


def judge(address: str, scene: Scene) -> list[Finding]:
    where = parse_socket(address)
    mta = accounts.account(scene.postfix.owner) if scene.postfix and where.family == "unix" else None
    try:
        # As the MTA's user, who has to have the rights to the socket and to the folders above it.
        with acting_as(mta), _connected(where) as connection:
            answer = _negotiate(connection)
    except PermissionError:
        who = mta.name if mta and accounts.can_act_as(mta) else "the user that runs this check"
        return [warning(f"[milter] socket: {address} is there, but {who} may not connect to it")]
    except (ConnectionRefusedError, FileNotFoundError):
        return [warning(f"[milter] socket: nobody listens at {address}: the filter does not run")]
    except (OSError, struct.error) as problem:
        return [error(f"[milter] socket: {address}: {problem}: who listens there is not a filter, or is stuck")]
    return [ok(f"[milter] socket: the filter answers at {address} (protocol {answer})")]


def _connected(where: Socket) -> socket.socket:
    families = {"unix": socket.AF_UNIX, "inet": socket.AF_INET, "inet6": socket.AF_INET6}
    connection = socket.socket(families[where.family], socket.SOCK_STREAM)
    connection.settimeout(SECONDS)
    # A filter that listens everywhere is asked on this machine.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(where.host, where.host)  # noqa: S104
    try:
        connection.connect(where.path if where.family == "unix" else (host, where.port))
    except OSError:
        connection.close()
        raise
    return connection


def _negotiate(connection: socket.socket) -> int:
    """The protocol version that the filter agrees to; OSError or struct.error when it is no filter."""
    connection.sendall(_HEAD.pack(1 + _OFFER.size, b"O") + _OFFER.pack(VERSION, ALL_ACTIONS, ALL_STEPS))
    length, kind = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if kind != b"O" or not _OFFER.size < length <= MAX_PACKET:
        raise OSError("it does not answer as a milter does")
    version, _, _ = _OFFER.unpack(_exactly(connection, _OFFER.size))
    connection.sendall(_HEAD.pack(1, b"Q"))
    return int(version)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise OSError("closed before an answer")
        data += part
    return data
