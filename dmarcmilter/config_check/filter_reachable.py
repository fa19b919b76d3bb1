"""Check that the filter answers at its milter socket: connects with the rights of Postfix's user and negotiates."""

from pathlib import Path

from dmarcmilter.config import account_rights
from dmarcmilter.config.account_rights import Account, acting_as
from dmarcmilter.config.endpoint import Socket, parse_socket
from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.health.milter_probe import ProbeError, connect, negotiate_on
from dmarcmilter.postfix.socket_access import command_to_enter, command_to_open, first_closed

SECONDS = 5.0
"""Seconds to wait for the connection, and again for the answer."""


def findings(address: str, environment: Environment) -> list[Finding]:
    """The finding on the filter at this address."""
    socket = parse_socket(address)
    has_user = environment.postfix is not None and socket.family == "unix"
    mta = account_rights.account(environment.postfix.owner) if environment.postfix and has_user else None
    try:
        # With the rights of the MTA's user, which needs access to the socket and to the folders above it.
        with acting_as(mta), connect(socket, SECONDS) as connection:
            version = negotiate_on(connection, SECONDS)
    except PermissionError:
        if mta is None or not account_rights.can_act_as(mta):
            text = f"[milter] socket: {address} is there, but the user that runs this check may not connect to it"
            return [warning(f"{text}: run the check as root")]
        # The MTA's user sees neither the socket nor that it is missing; root does.
        listens = _listens(socket)
        subject = f"{address} is there, but {mta.name}" if listens else f"{address}: {mta.name}"
        refused = error(f"[milter] socket: {subject} may not connect to it: {_command_to_connect(socket, mta)}")
        return [refused] if listens else [refused, _not_running(address)]
    except (ConnectionRefusedError, FileNotFoundError):
        return [_not_running(address)]
    except (OSError, ProbeError) as problem:
        return [
            error(f"[milter] socket: {address}: {problem}: the program that listens there is not a filter, or hangs")
        ]
    return [ok(f"[milter] socket: the filter answers at {address} (protocol {version})")]


def _not_running(address: str) -> Finding:
    text = f"[milter] socket: no program listens at {address}: the filter does not run"
    return error(f"{text}: systemctl start dmarcmilter; if it does not start: journalctl -u dmarcmilter -n 50")


def _listens(socket: Socket) -> bool:
    """Whether a program listens at the socket, tried with the rights of the user that runs this check."""
    try:
        connect(socket, SECONDS).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:
        pass  # the socket is in use; another check reports what is wrong with it
    return True


def _command_to_connect(socket: Socket, mta: Account) -> str:
    """The command that lets the MTA's user connect."""
    path = Path(socket.path)
    closed = first_closed(path, mta)
    if closed is None:
        return command_to_open(path.parent, mta)
    return command_to_enter(closed, mta, is_last=closed == path.parent)
