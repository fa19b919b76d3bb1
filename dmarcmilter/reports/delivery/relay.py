"""Hand a message to the relay: by SMTP, with TLS if it is offered (RFC 9990 3.5), or to a sendmail program.

Expected failures are values: the server's reply, classified by what to do next.
"""

import contextlib
import re
import smtplib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Protocol

from dmarcmilter.config.schema import StartTls
from dmarcmilter.value import Value, representation_without

SECONDS = 120.0
"""Seconds to wait for one reply of the relay (RFC 5321 4.5.3.2 allows minutes). Below the lease of the run's lock."""
LOST_SECONDS = 480.0
"""Seconds that one run may lose in all to deliveries for which the relay did not reply. Beyond it, the relay has
IMPATIENT_SECONDS for each reply before the message: an address that makes the relay wait must not delay other reports.
"""
IMPATIENT_SECONDS = 5.0
"""Seconds to wait for a reply before the message, once LOST_SECONDS are used up."""
DELIVERY_SECONDS = 600.0
"""Seconds of one delivery, however slowly the relay's replies come. Beyond it the connection is closed. Less than the
lease of the run's lock."""
MAX_REPLIES = 10_000_000
"""Bytes of the relay's replies on one connection. Beyond it the connection counts as closed."""
MAX_SHOWN = 200
"""Characters kept of a reply."""
_FULL = re.compile(r"[45]\.2\.2\b")
"""Enhanced status of a full mailbox (RFC 3463 3.3). It may be emptied, and a sender may have filled it on purpose."""
_ABOUT_US = re.compile(r"5\.7\.")
"""Enhanced status of a refusal for security or policy (RFC 3463 3.8): about the sender, not the address."""
EX_TEMPFAIL = 75
_ADDRESS_REFUSED_BY_SENDMAIL = frozenset({67, 68})
"""EX_NOUSER, EX_NOHOST of sysexits.h."""
_REFUSED_BY_SENDMAIL = _ADDRESS_REFUSED_BY_SENDMAIL | {65}
"""The same with EX_DATAERR."""


class DeliveryResult(Enum):
    SENT = "sent"
    REFUSED = "refused"
    """The address, or this message to it, is refused permanently."""
    LATER = "later"
    """Refused for now; try this address later."""
    UNAVAILABLE = "unavailable"
    """The relay does not accept mail from us now."""
    UNCERTAIN = "uncertain"
    """The connection ended before the reply to the message, which may have been accepted."""


class DeliveryAttempt(Value):
    result: DeliveryResult
    detail: str = ""
    at_rcpt: bool = False
    """The address was refused, not the message."""
    after_connecting: bool = False
    """The relay had accepted the connection and MAIL FROM, so the cause may concern this report alone."""


class Mail(Value):
    mail_from: str
    """The reverse-path; empty for the null reverse-path."""
    rcpt_to: str
    message: bytes


class Transport(Protocol):
    """Sends messages. Calls `committing` right before it hands a message over: from then on the message may arrive."""

    def send(self, mail: Mail, committing: Callable[[], None]) -> DeliveryAttempt: ...

    def close(self) -> None: ...


class Relay(Value):
    host: str
    port: int
    helo: str
    starttls: StartTls = StartTls.OPPORTUNISTIC
    ca_file: str = ""
    """CA certificates that check the relay's when TLS is required; empty for the system's."""
    username: str = ""
    password: str = ""

    def __repr__(self) -> str:
        return representation_without(self, "password")


class SmtpRelay:
    """One connection for a whole run, opened again after it was lost."""

    def __init__(
        self,
        relay: Relay,
        *,
        seconds: float = SECONDS,
        lost_seconds: float = LOST_SECONDS,
        delivery_seconds: float = DELIVERY_SECONDS,
    ) -> None:
        self._relay = relay
        self._seconds = seconds
        self._lost_seconds = lost_seconds
        self._delivery_seconds = delivery_seconds
        self._lost = 0.0
        """Seconds lost to deliveries for which the relay did not reply."""
        self._connection: smtplib.SMTP | None = None

    def send(self, mail: Mail, committing: Callable[[], None]) -> DeliveryAttempt:
        began = time.monotonic()
        watch = threading.Timer(self._delivery_seconds, self._cut)
        watch.daemon = True
        watch.start()
        try:
            attempt = self._send(mail, committing)
        finally:
            watch.cancel()
        if attempt.after_connecting or attempt.result is DeliveryResult.UNCERTAIN:
            self._lost += time.monotonic() - began
        return attempt

    def _send(self, mail: Mail, committing: Callable[[], None]) -> DeliveryAttempt:
        try:
            connection = self._connected()
        except (OSError, smtplib.SMTPException, ssl.SSLError) as error:
            self._drop()
            return DeliveryAttempt(DeliveryResult.UNAVAILABLE, _error_text(error))
        _set_timeout(connection, self._patience())
        try:
            refusal = _envelope(connection, mail)
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            return DeliveryAttempt(DeliveryResult.UNAVAILABLE, _error_text(error), after_connecting=True)
        if refusal:
            self._reset()
            return refusal
        _set_timeout(connection, self._seconds)
        committing()
        try:
            code, text = connection.data(mail.message)
        except smtplib.SMTPDataError as error:  # DATA itself was refused: nothing was handed over
            self._reset()
            return _classified(error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            return DeliveryAttempt(DeliveryResult.UNCERTAIN, _error_text(error))
        return DeliveryAttempt(DeliveryResult.SENT, _text(text)) if code == 250 else _classified(code, text)

    def close(self) -> None:
        if self._connection:
            _set_timeout(self._connection, min(self._seconds, IMPATIENT_SECONDS))
            try:
                self._connection.quit()
            except (OSError, smtplib.SMTPException):
                self._connection.close()
        self._connection = None

    def _drop(self) -> None:
        """Close without QUIT: a relay that did not reply would not reply to that either."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _cut(self) -> None:
        """End the connection of a delivery that takes too long. Called in another thread."""
        sock = self._connection.sock if self._connection else None
        if sock is not None:
            # The method of the plain class: that of ssl would change the object that the other thread reads from.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _patience(self) -> float:
        """Seconds to wait for each reply before the message."""
        return self._seconds if self._lost < self._lost_seconds else min(self._seconds, IMPATIENT_SECONDS)

    def _reset(self) -> None:
        if self._connection:
            try:
                self._connection.rset()
            except (OSError, smtplib.SMTPException):
                self._drop()

    def _connected(self) -> smtplib.SMTP:
        connection = self._connection
        if connection is None:
            relay = self._relay
            connection = _Conversation(self, relay, self._seconds)
            connection.ehlo_or_helo_if_needed()
            self._secure(connection)
            if relay.username:
                connection.login(relay.username, relay.password)
        return connection

    def _secure(self, connection: smtplib.SMTP) -> None:
        mode = self._relay.starttls
        if mode is StartTls.NEVER or (mode is StartTls.OPPORTUNISTIC and not connection.has_extn("starttls")):
            return
        # If TLS is required and not offered, SMTPNotSupportedError counts as a failure of the relay like any other.
        context = ssl.create_default_context(cafile=self._relay.ca_file or None)
        if mode is StartTls.OPPORTUNISTIC:
            # Opportunistic: encryption with an unchecked certificate is better than none (RFC 7435).
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection.starttls(context=context)
        connection.ehlo_or_helo_if_needed()


class _Conversation(smtplib.SMTP):
    """An SMTP connection that can be cut while it connects."""

    def __init__(self, owner: SmtpRelay, relay: Relay, seconds: float) -> None:
        """Connects. The owner knows the object before, so that it can cut the connection at any time."""
        self.sock = None
        owner._connection = self  # noqa: SLF001  one unit
        super().__init__(relay.host, relay.port, relay.helo, timeout=seconds)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _WholeLines(self.sock.makefile("rb"))
        return super().getreply()


class _WholeLines:
    """Lines of the relay. One without its end counts as the end of the connection; smtplib would take it as whole."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MAX_REPLIES

    def readline(self, size: int) -> bytes:
        line = self._file.readline(size)
        self._left -= len(line)
        return line if self._left >= 0 and (line.endswith(b"\n") or len(line) >= size) else b""

    def close(self) -> None:
        self._file.close()


def _set_timeout(connection: smtplib.SMTP, seconds: float) -> None:
    if connection.sock is not None:
        connection.sock.settimeout(seconds)


def _envelope(connection: smtplib.SMTP, mail: Mail) -> DeliveryAttempt | None:
    """Send MAIL and RCPT; None if both were accepted."""
    options = [f"SIZE={len(mail.message)}"] if connection.has_extn("size") else []
    code, text = connection.mail(mail.mail_from, options)
    if code == 552:  # RFC 1870 6.1: too large, for any recipient
        return DeliveryAttempt(DeliveryResult.REFUSED, _text(text))
    if code == 452:  # RFC 1870 6.1: no room for this size now
        return DeliveryAttempt(DeliveryResult.LATER, _text(text))
    if code != 250:
        return DeliveryAttempt(DeliveryResult.UNAVAILABLE, f"MAIL: {code} {_text(text)}")
    code, text = connection.rcpt(mail.rcpt_to)
    return None if code in {250, 251} else _classified(code, text, at_rcpt=True)


def _classified(code: int, text: bytes | str, *, at_rcpt: bool = False) -> DeliveryAttempt:
    """What a negative reply means (RFC 5321 4.2.1). After 421 the server closes the connection."""
    detail = f"{code} {_text(text)}"
    if code == 421:
        return DeliveryAttempt(DeliveryResult.UNAVAILABLE, detail, after_connecting=True)
    if at_rcpt and (code == 552 or _FULL.match(_text(text))):
        return DeliveryAttempt(DeliveryResult.LATER, detail)
    about_address = at_rcpt and not _ABOUT_US.match(_text(text))
    return DeliveryAttempt(
        DeliveryResult.REFUSED if 500 <= code <= 599 else DeliveryResult.LATER, detail, about_address
    )


def _text(text: bytes | str) -> str:
    reply = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return "".join(char if " " <= char <= "~" else "?" for char in " ".join(reply.split()))[:MAX_SHOWN]


def _error_text(error: Exception) -> str:
    return f"{type(error).__name__}: {_text(str(error))}"


class Sendmail:
    """A sendmail program (Postfix, Sendmail, Exim and msmtp have one)."""

    def __init__(self, program: str, *, seconds: float = SECONDS) -> None:
        self._program = program
        self._seconds = seconds

    def send(self, mail: Mail, committing: Callable[[], None]) -> DeliveryAttempt:
        if not Path(self._program).is_file():
            return DeliveryAttempt(DeliveryResult.UNAVAILABLE, f"{self._program} does not exist")
        command = [self._program, "-i", "-f", mail.mail_from or "<>", "--", mail.rcpt_to]
        committing()
        try:
            # Addresses are dot-atoms that begin with no hyphen (destination_verification), and no shell reads them.
            done = subprocess.run(  # noqa: S603
                command,
                input=mail.message.replace(b"\r\n", b"\n"),
                capture_output=True,
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return DeliveryAttempt(DeliveryResult.UNCERTAIN, _error_text(error))
        except OSError as error:
            return DeliveryAttempt(DeliveryResult.UNAVAILABLE, _error_text(error))
        if done.returncode == 0:
            return DeliveryAttempt(DeliveryResult.SENT)
        detail = f"exit status {done.returncode} {_text(done.stderr)}"
        if done.returncode == EX_TEMPFAIL:
            return DeliveryAttempt(DeliveryResult.LATER, detail)
        if done.returncode in _REFUSED_BY_SENDMAIL:
            return DeliveryAttempt(DeliveryResult.REFUSED, detail, done.returncode in _ADDRESS_REFUSED_BY_SENDMAIL)
        return DeliveryAttempt(DeliveryResult.UNAVAILABLE, detail)

    def close(self) -> None:
        """Nothing to close."""
