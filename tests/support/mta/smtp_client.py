"""An SMTP client that pretends to be another one (Postfix's XCLIENT) and changes no octet of the message."""

import re
import socket
import time
from collections.abc import Sequence
from typing import BinaryIO

TIMEOUT = 60.0
# Postfix names the queue file in its last reply, whether it took the message or not (in the log then).
_QUEUED = re.compile(r"queued as (\w+)")


def queue_id(text: str) -> str:
    """From the text of the reply to an accepted message."""
    match = _QUEUED.search(text)
    assert match, f"no queue id in {text!r}"
    return match[1]


def submit(
    port: int,
    *,
    client_ip: str = "192.0.2.1",
    helo: str = "client.example",
    mail_from: str = "sender@client.example",
    rcpts: Sequence[str] = ("rcpt@rcpt.example",),
    data: bytes,
    mail_args: str = "BODY=8BITMIME",
    login: str | None = None,
    source: str = "",
) -> tuple[int, str]:
    """The reply that ended the message: the last one, or the first refusal on the way.

    Addresses are without angle brackets, an empty `mail_from` is the null reverse-path. `login` is the SASL name.
    `source` is the address to connect from, for a server that does not know XCLIENT; `client_ip` is unused then.
    """
    here = (source, 0) if source else None
    connecting = socket.create_connection(("127.0.0.1", port), TIMEOUT, here)
    with connecting as connection, connection.makefile("rb") as stream:
        session = _Session(connection, stream)
        refusal = session.hello(helo) if source else session.greet(client_ip, helo, login)
        for command in (
            f"MAIL FROM:<{mail_from}> {mail_args}".rstrip(),
            *(f"RCPT TO:<{rcpt}>" for rcpt in rcpts),
            "DATA",
        ):
            refusal = refusal or session.refused(command)
        reply = refusal or session.send_message(data)
        session.command("QUIT")
        return reply


class _Session:
    def __init__(self, connection: socket.socket, stream: BinaryIO) -> None:
        self._connection, self._stream = connection, stream

    def greet(self, client_ip: str, helo: str, login: str | None) -> tuple[int, str] | None:
        address = f"IPV6:{client_ip}" if ":" in client_ip else client_ip
        identity = f" LOGIN={login}" if login else ""
        refusal = self._refusal(self._reply()) or self.refused("EHLO proxy.example")
        refusal = refusal or self.refused(f"XCLIENT ADDR={address} NAME=[UNAVAILABLE] PORT=40000{identity}")
        return refusal or self.refused(f"EHLO {helo}")

    def hello(self, helo: str) -> tuple[int, str] | None:
        return self._refusal(self._reply()) or self.refused(f"EHLO {helo}")

    def refused(self, line: str) -> tuple[int, str] | None:
        return self._refusal(self.command(line))

    def command(self, line: str) -> tuple[int, str]:
        self._connection.sendall(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return self._reply()

    def send_message(self, data: bytes) -> tuple[int, str]:
        stuffed = re.sub(rb"(?m)^\.", b"..", data)
        end = b".\r\n" if data.endswith(b"\r\n") or not data else b"\r\n.\r\n"
        self._connection.sendall(stuffed + end)
        return self._reply()

    @staticmethod
    def _refusal(reply: tuple[int, str]) -> tuple[int, str] | None:
        return reply if reply[0] >= 400 else None

    def _reply(self) -> tuple[int, str]:
        lines = []
        while line := self._stream.readline(4096):
            lines.append(line.decode("utf-8", "surrogateescape").rstrip("\r\n"))
            if line[3:4] != b"-":
                break
        assert lines, "the server closed the connection"
        return int(lines[-1][:3]), "\n".join(line[4:] for line in lines)


def wait_for_port(port: int, *, timeout: float) -> bool:
    """Whether an SMTP server greets there in time."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                if connection.recv(4) == b"220 ":
                    return True
        except OSError:
            pass
        time.sleep(0.05)
    return False
