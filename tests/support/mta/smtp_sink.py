"""The next hop: an SMTP server on loopback that keeps every message exactly as it came over the wire."""

import contextlib
import socketserver
import threading
from dataclasses import dataclass
from typing import Self

from dmarcmilter.testing.postfix_headers import Field, split_message

LINE_LIMIT = 1 << 20
"""A longer line ends the connection: no test sends one."""


@dataclass(frozen=True, slots=True)
class Delivery:
    mail_from: str
    """The MAIL command's argument, with its angle brackets and parameters."""
    rcpts: tuple[str, ...]
    data: bytes
    """CRLF lines, dots unstuffed, without the final dot."""

    @property
    def headers(self) -> list[Field]:
        """With the fields that the MTA added."""
        return split_message(self.data)[0]

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    def fields(self, name: str) -> list[str]:
        """Unfolded values of the fields of that name, top first."""
        wanted = name.lower().encode()
        values = [value for key, value in self.headers if key.lower() == wanted]
        return [value.replace(b"\r\n", b"").decode("utf-8", "surrogateescape").strip() for value in values]


class Sink:
    """Context manager; `wait(n)` returns the first n deliveries."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self._arrived = threading.Condition()
        self._server = _Server(("127.0.0.1", 0), _Session)
        self._server.sink = self
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def keep(self, delivery: Delivery) -> None:
        with self._arrived:
            self.deliveries.append(delivery)
            self._arrived.notify_all()

    def wait(self, number: int = 1, *, timeout: float = 20.0) -> list[Delivery]:
        """Until so many messages have come since the start or `clear`; AssertionError when they do not."""
        with self._arrived:
            arrived = self._arrived.wait_for(lambda: len(self.deliveries) >= number, timeout)
            assert arrived, f"{len(self.deliveries)} of {number} messages delivered in {timeout} s"
            return list(self.deliveries)

    def find(self, mark: bytes, *, timeout: float = 20.0) -> Delivery:
        """The delivery that contains the mark, for tests that share a sink; AssertionError when none comes."""

        def found() -> Delivery | None:
            return next((delivery for delivery in self.deliveries if mark in delivery.data), None)

        with self._arrived:
            delivery = self._arrived.wait_for(found, timeout)
        assert delivery, f"no message with {mark!r} delivered in {timeout} s"
        return delivery

    def clear(self) -> None:
        with self._arrived:
            self.deliveries.clear()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    sink: Sink


class _Session(socketserver.StreamRequestHandler):
    """Takes everything: the commands that Postfix's client sends, no more."""

    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # Postfix was stopped
            self._serve()

    def _serve(self) -> None:
        self._reply("220 sink ESMTP")
        sender = ""
        rcpts: list[str] = []
        while line := self.rfile.readline(LINE_LIMIT):
            verb, _, argument = line.rstrip(b"\r\n").decode("utf-8", "surrogateescape").partition(":")
            word = verb.split(" ")[0].upper()
            if word in ("EHLO", "HELO", "LHLO"):
                self._reply("250-sink", "250-8BITMIME", "250-SMTPUTF8", "250 ENHANCEDSTATUSCODES")
            elif word == "MAIL":
                sender, rcpts = argument, []
                self._reply("250 2.1.0 Ok")
            elif word == "RCPT":
                rcpts.append(argument)
                self._reply("250 2.1.5 Ok")
            elif word == "DATA":
                self._reply("354 go on")
                self.server.sink.keep(Delivery(sender, tuple(rcpts), self._data()))
                self._reply("250 2.0.0 Ok")
            else:
                self._reply("221 2.0.0 Bye" if word == "QUIT" else "250 2.0.0 Ok")

    def _reply(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    def _data(self) -> bytes:
        """OSError: the connection ended before the message did, and no server takes half of one."""
        lines = []
        while (line := self.rfile.readline(LINE_LIMIT)) != b".\r\n":
            if not line.endswith(b"\n"):
                raise ConnectionResetError
            lines.append(line.removeprefix(b"."))
        return b"".join(lines)
