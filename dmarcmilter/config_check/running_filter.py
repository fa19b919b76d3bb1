"""Is the filter there? Connects as the MTA does, and begins to negotiate (libmilter's protocol 6)."""

import socket
import struct
from pathlib import Path

from dmarcmilter.config.endpoint import Socket, parse_socket
from dmarcmilter.config_check.environment import Scene
from dmarcmilter.config_check.finding import Finding, error, ok, warning
from dmarcmilter.postfix import accounts
from dmarcmilter.postfix.accounts import Account, acting_as
from dmarcmilter.postfix.socket_access import entering, first_closed, opening

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
        if mta is None or not accounts.can_act_as(mta):
            text = f"[milter] socket: {address} is there, but the user that runs this check may not connect to it"
            return [warning(f"{text}: run the check as root")]
        # The MTA's user sees neither the socket nor that it is missing; root does.
        listens = _listens(where)
        there = f"{address} is there, but {mta.name}" if listens else f"{address}: {mta.name}"
        refused = error(f"[milter] socket: {there} may not connect to it: {_opened(where, mta)}")
        return [refused] if listens else [refused, _not_running(address)]
    except (ConnectionRefusedError, FileNotFoundError):
        return [_not_running(address)]
    except (OSError, struct.error) as problem:
        return [error(f"[milter] socket: {address}: {problem}: who listens there is not a filter, or is stuck")]
    return [ok(f"[milter] socket: the filter answers at {address} (protocol {answer})")]


def _not_running(address: str) -> Finding:
    text = f"[milter] socket: nobody listens at {address}: the filter does not run"
    return error(f"{text}: systemctl start dmarcmilter; if it does not start: journalctl -u dmarcmilter -n 50")


def _listens(where: Socket) -> bool:
    """Whether a program listens there, asked with the rights of the user that runs this check."""
    try:
        _connected(where).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        pass  # the socket is in use; what is wrong with it is told elsewhere
    return True


def _opened(where: Socket, mta: Account) -> str:
    """What lets the MTA's user in."""
    path = Path(where.path)
    closed = first_closed(path, mta)
    return entering(closed, mta, is_last=closed == path.parent) if closed else opening(path.parent, mta)


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
