"""A milter client: delivers messages to a milter as Postfix does, and tells what would become of them.

    with MilterClient("unix:/run/dmarcmilter/dmarcmilter.sock") as client:
        verdict = client.deliver(message, client_ip="192.0.2.1", helo="mx.example", mail_from="a@b.example")

Messages from one SMTP client share a milter connection; another client address or name opens a new one.
"""

import contextlib
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Self

from dmarcmilter.testing.milter_connection import MilterConnection
from dmarcmilter.testing.milter_protocol import ACCEPTED, Event, FinalReply, MilterAction, MilterError, Protocol
from dmarcmilter.testing.postfix_headers import Field, HeaderEdit, apply_edits, as_queued, split_message
from dmarcmilter.testing.smtp_envelope import SmtpEnvelope, connect_payload, macro_values, path_payload, to_bytes
from dmarcmilter.value import Value

__all__ = ["Event", "MilterAction", "MilterClient", "MilterError", "SmtpEnvelope", "Verdict"]

CHUNK = 65_535
"""Bytes of the body in one packet, as libmilter's MTAs send it."""


class Verdict(Value):
    """The result of one message: the reply to the SMTP client, and the message that is delivered if it is accepted."""

    action: MilterAction
    reply: tuple[int, str]
    stage: Event
    """The event that got this answer."""
    queue_id: str
    quarantine: str | None
    headers: tuple[Field, ...]
    """The delivered header fields, top first, with the MTA's own Received field; folds as CRLF."""
    added: tuple[Field, ...]
    deleted: tuple[Field, ...]
    edits: tuple[HeaderEdit, ...]
    """The filter's requests in their order."""
    refused: tuple[str | bytes, ...]
    """Recipients that the filter refused."""
    rcpts_added: tuple[str, ...] = ()
    rcpts_deleted: tuple[str, ...] = ()
    """Both as the filter wrote them."""

    def fields(self, name: str) -> list[str]:
        """Unfolded values of the delivered fields of that name, top first."""
        wanted = name.lower().encode()
        values = [value for key, value in self.headers if key.lower() == wanted]
        return [value.replace(b"\r\n", b"").decode("utf-8", "surrogateescape").strip() for value in values]


class MilterClient:
    """The milter side of an MTA: one connection for each SMTP client, any number of messages on it."""

    def __init__(self, address: str, *, timeout: float = 30.0) -> None:
        self.address, self.timeout = address, timeout
        self._connection: MilterConnection | None = None
        self._peer: tuple[str, str | None] | None = None
        self._helo: str | None = None
        self._session_reply: FinalReply | None = None
        self._numbers = count(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def connection(self) -> MilterConnection:
        """The negotiated connection, for packets that no MTA would send."""
        if self._connection is None:
            self._connection = MilterConnection(self.address, self.timeout)
            self._connection.negotiate()
        return self._connection

    def deliver(self, message: bytes, **envelope: Any) -> Verdict:
        """Deliver one message; keywords as in SmtpEnvelope. MilterError when the milter breaks the protocol."""
        with self._dropped_on_error():
            transaction = self._transaction(message, SmtpEnvelope(**envelope))
            verdict = transaction.run(self._session_reply)
            self._end_transaction()
        return verdict

    def abort(self, message: bytes, after: Event, **envelope: Any) -> None:
        """Begin to deliver a message, and abort when all of that event (every field, the whole body) was sent."""
        with self._dropped_on_error():
            for event, step in self._transaction(message, SmtpEnvelope(**envelope)).steps:
                step()
                if event is after:
                    break
            self._end_transaction()

    def close(self) -> None:
        """Send QUIT and close the connection."""
        if self._connection is None:
            return
        with contextlib.suppress(MilterError):  # the filter may have closed first
            self._connection.send(b"Q")
        self._drop()

    def _transaction(self, message: bytes, envelope: SmtpEnvelope) -> "_Transaction":
        queue_id = envelope.queue_id or f"4T{next(self._numbers):06X}"
        if self._connection and self._peer and self._peer != envelope.peer:
            self.close()
        connection = self.connection
        values = macro_values(envelope, queue_id)
        if self._peer is None:
            connection.begin()
            connection.macros(Event.CONNECT, values)
            self._session_reply = connection.tell(Event.CONNECT, connect_payload(envelope))
            self._peer = envelope.peer
        if self._session_reply is None and envelope.helo not in (None, self._helo):
            connection.macros(Event.HELO, values)
            self._session_reply = connection.tell(Event.HELO, to_bytes(envelope.helo or "") + b"\0")
            self._helo = envelope.helo
        return _Transaction(connection, message, envelope, queue_id, values)

    def _end_transaction(self) -> None:
        """Send ABORT: Postfix ends every transaction so, also after the end of the message."""
        if self._session_reply is None:
            self.connection.send(b"A")

    @contextlib.contextmanager
    def _dropped_on_error(self) -> Iterator[None]:
        try:
            yield
        except MilterError:
            self._drop()
            raise

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = self._peer = self._helo = self._session_reply = None


class _Transaction:
    """From MAIL to the end of the message: one method for each step; each returns the reply that ends it, or None."""

    def __init__(
        self,
        connection: MilterConnection,
        message: bytes,
        envelope: SmtpEnvelope,
        queue_id: str,
        macros: Mapping[str, str],
    ) -> None:
        self._connection, self._envelope, self._queue_id = connection, envelope, queue_id
        self._values = dict(macros)
        fields, self._body = split_message(message)
        self._fields = [as_queued(field) for field in fields]
        self._refused: list[str | bytes] = []
        self.steps = (
            (Event.MAIL, self._mail),
            (Event.RCPT, self._rcpts),
            (Event.DATA, self._data),
            (Event.HEADER, self._header),
            (Event.EOH, self._eoh),
            (Event.BODY, self._chunks),
            (Event.EOM, self._eom),
        )
        connection.begin()

    def run(self, session_reply: FinalReply | None) -> Verdict:
        if session_reply:
            return self._verdict(Event.CONNECT, session_reply)
        for event, step in self.steps:
            reply = step()
            if reply:
                return self._verdict(event, reply)
        raise MilterError("the end of the message was not answered")

    def _verdict(self, stage: Event, reply: FinalReply) -> Verdict:
        requests = self._connection.requests
        headers, added, deleted = apply_edits(self._fields, requests.edits)
        return Verdict(
            action=reply.action,
            reply=(reply.code, reply.text),
            stage=stage,
            queue_id=self._queue_id,
            quarantine=requests.quarantine,
            headers=tuple(headers),
            added=tuple(added),
            deleted=tuple(deleted),
            edits=tuple(requests.edits),
            refused=tuple(self._refused),
            rcpts_added=tuple(requests.rcpts_added),
            rcpts_deleted=tuple(requests.rcpts_deleted),
        )

    def _mail(self) -> FinalReply | None:
        # Postfix has no queue id before the first recipient was accepted.
        self._connection.macros(Event.MAIL, {**self._values, "i": ""})
        arguments = b"".join(argument.encode() + b"\0" for argument in self._envelope.mail_args)
        return self._connection.tell(Event.MAIL, path_payload(self._envelope.mail_from) + arguments)

    def _rcpts(self) -> FinalReply | None:
        reply = None
        for number, rcpt in enumerate(self._envelope.rcpts):
            known = self._values["i"] if number > len(self._refused) else ""
            values = {**self._values, "i": known, "{rcpt_addr}": to_bytes(rcpt).decode("utf-8", "replace")}
            self._connection.macros(Event.RCPT, values)
            reply = self._connection.tell(Event.RCPT, path_payload(rcpt))
            if reply and reply.action in (MilterAction.ACCEPT, MilterAction.DISCARD):
                return reply
            if reply:
                self._refused.append(rcpt)
        return reply if len(self._refused) == len(self._envelope.rcpts) else None

    def _data(self) -> FinalReply | None:
        self._connection.macros(Event.DATA, self._values)
        return self._connection.tell(Event.DATA)

    def _header(self) -> FinalReply | None:
        exact = bool(self._connection.protocol & Protocol.LEADING_SPACE)
        for name, value in self._fields:
            text = value if exact else value.removeprefix(b" ")
            reply = self._connection.tell(Event.HEADER, name + b"\0" + text.replace(b"\r\n", b"\n") + b"\0")
            if reply:
                return reply
        return None

    def _eoh(self) -> FinalReply | None:
        self._connection.macros(Event.EOH, self._values)
        return self._connection.tell(Event.EOH)

    def _chunks(self) -> FinalReply | None:
        for start in range(0, len(self._body), CHUNK):
            reply = self._connection.tell(Event.BODY, self._body[start : start + CHUNK])
            if reply:
                return reply
        return None

    def _eom(self) -> FinalReply | None:
        self._connection.macros(Event.EOM, self._values)
        return self._connection.tell(Event.EOM) or ACCEPTED
