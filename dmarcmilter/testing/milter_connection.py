"""One connection of an MTA to a milter: packets, negotiation, macros, answers and requests (protocol version 6)."""

import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from dmarcmilter.testing.milter_protocol import (
    ACCEPTED,
    ALL_ACTIONS,
    FINAL,
    MACROS,
    OFFERED,
    OTHER_EDITS,
    PACKET_LIMIT,
    RECIPIENT_EDITS,
    VERSION,
    Event,
    FinalReply,
    MilterError,
    Protocol,
    own_reply,
)
from dmarcmilter.testing.postfix_headers import Edit, HeaderEdit


@dataclass(slots=True)
class Requests:
    """The changes that the filter asked for at the end of one message."""

    edits: list[HeaderEdit] = field(default_factory=list)
    quarantine: str | None = None
    rcpts_added: list[str] = field(default_factory=list)
    rcpts_deleted: list[str] = field(default_factory=list)


class MilterConnection:
    """A connection to a milter. `tell` sends an event, and waits for the answer where one was negotiated."""

    def __init__(self, address: str, timeout: float) -> None:
        self._socket = _connect(address, timeout)
        self._stream = self._socket.makefile("rb")
        self._wanted: dict[int, list[str]] = {}
        self._skipped: Event | None = None
        self.actions, self.protocol = 0, Protocol.NONE
        self.requests = Requests()

    def send(self, code: bytes, payload: bytes = b"") -> None:
        self.send_bytes(struct.pack("!I", len(payload) + 1) + code + payload)

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, for packets that no MTA would send."""
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise MilterError(f"write: {error}") from error

    def receive(self) -> tuple[bytes, bytes]:
        (length,) = struct.unpack("!I", self._read(4))
        if not 1 <= length <= PACKET_LIMIT:
            raise MilterError(f"packet of {length} bytes")
        packet = self._read(length)
        return packet[:1], packet[1:]

    def _read(self, count: int) -> bytes:
        try:
            data = self._stream.read(count)
        except OSError as error:
            raise MilterError(f"read: {error}") from error
        if len(data) < count:
            raise MilterError("the filter closed the connection")
        return data

    def negotiate(self) -> None:
        self.send(b"O", struct.pack("!III", VERSION, ALL_ACTIONS, OFFERED))
        code, payload = self.receive()
        if code != b"O" or len(payload) < 12:
            raise MilterError(f"negotiation answered with {code!r}")
        version, self.actions, protocol = struct.unpack("!III", payload[:12])
        if version > VERSION or self.actions & ~ALL_ACTIONS or protocol & ~OFFERED:
            raise MilterError(f"negotiated what was not offered: {version} {self.actions:#x} {protocol:#x}")
        self.protocol = Protocol(protocol)
        rest = payload[12:]
        while len(rest) > 4:
            names, _, after = rest[4:].partition(b"\0")
            self._wanted[struct.unpack("!I", rest[:4])[0]] = names.decode("ascii").replace(",", " ").split()
            rest = after

    def begin(self) -> None:
        """Begin a new message: no event is skipped, no change is requested."""
        self._skipped, self.requests = None, Requests()

    def macros(self, event: Event, values: Mapping[str, str]) -> None:
        """Send the macros of an event, also when the event itself is not wanted, as Postfix does."""
        number, names = MACROS[event]
        wanted = self._wanted.get(number, names.split())
        pairs = [f"{name}\0{values[name]}\0" for name in wanted if values.get(name)]
        self.send(b"D", event.code + "".join(pairs).encode())

    def tell(self, event: Event, payload: bytes = b"") -> FinalReply | None:
        """Send an event; None when the transaction goes on."""
        code, unwanted, unanswered = event.value
        if self.protocol & unwanted or self._skipped is event:
            return None
        self.send(code, payload)
        if self.protocol & unanswered:
            return None
        while True:
            answer, data = self.receive()
            if answer == b"p" or (event is Event.EOM and self._request(answer, data)):
                continue
            return self._meaning(event, answer, data)

    def _meaning(self, event: Event, answer: bytes, data: bytes) -> FinalReply | None:
        if answer == b"y":
            return own_reply(data)
        if data:
            raise MilterError(f"answer {answer!r} with {len(data)} bytes of data")
        if answer == b"c":
            return ACCEPTED if event is Event.EOM else None
        if answer == b"s" and self.protocol & Protocol.SKIP and event is not Event.EOM:
            self._skipped = event
            return None
        if answer not in FINAL:
            raise MilterError(f"unexpected answer {answer!r} to {event.name}")
        return FINAL[answer]

    def _request(self, code: bytes, data: bytes) -> bool:
        """Keep a modification request; False when the packet is none."""
        if code == b"q":
            self.requests.quarantine = data.rstrip(b"\0").decode("utf-8", "replace")
            return True
        if code in RECIPIENT_EDITS:
            if not self.actions & RECIPIENT_EDITS[code]:
                raise MilterError(f"modification {code!r} was not negotiated")
            paths = self.requests.rcpts_added if code == b"+" else self.requests.rcpts_deleted
            paths.append(data.rstrip(b"\0").decode("utf-8", "replace"))
            return True
        if code in OTHER_EDITS:
            raise MilterError(f"modification {code!r} is not expected of this filter")
        if code not in {edit.value for edit in Edit}:
            return False
        kind = Edit(code)
        index = 0 if kind is Edit.ADD else struct.unpack("!I", data[:4])[0]
        parts = (data if kind is Edit.ADD else data[4:]).split(b"\0")
        if len(parts) != 3 or not parts[0] or parts[2]:
            raise MilterError(f"malformed modification {code!r} {data!r}")
        space = b"" if self.protocol & Protocol.LEADING_SPACE or (kind is Edit.CHANGE and not parts[1]) else b" "
        self.requests.edits.append(HeaderEdit(kind, index, parts[0], space + parts[1]))
        return True

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def _connect(address: str, timeout: float) -> socket.socket:
    family, _, rest = address.partition(":")
    if family == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(rest)
        except OSError:
            connection.close()
            raise
        return connection
    port, _, host = rest.partition("@")
    connection = socket.create_connection((host.strip("[]") or "127.0.0.1", int(port)), timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
