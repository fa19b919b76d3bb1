"""Handing a message to the relay: by SMTP, with TLS where there is any (RFC 9990 3.5), or to a sendmail program.

Expected trouble is a value: what the server said, sorted by what is to be done next.
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
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import BinaryIO, Protocol

from dmarcmilter.config.schema import StartTls

SECONDS = 120.0
"""For one answer of the relay (RFC 5321 4.5.3.2 allows minutes); the run's lock is held for longer than all of them."""
LOST_SECONDS = 480.0
"""Seconds that one run waits in vain for answers about single addresses, all together. Beyond it the relay has
IMPATIENT_SECONDS for each answer before the message: its owner must not keep others waiting by an address that makes
the relay wait."""
IMPATIENT_SECONDS = 5.0
DELIVERY_SECONDS = 600.0
"""Seconds of one delivery, however slowly the relay's answers come; less than the lease of the run's lock."""
MAX_REPLIES = 10_000_000
"""Bytes of the relay's answers on one connection; it counts as closed then."""
MAX_SHOWN = 200
FIRST_RETRY = 900
LONGEST_RETRY = 12 * 3600
GIVE_UP_AFTER = 4 * 86_400
"""Seconds since the report was made: as long as mail is usually tried (RFC 5321 4.5.4.1)."""
LEAST_ATTEMPTS = 8
"""Attempts before a report is given up, however long it waited for its turn or for the end of a suppression."""

_FULL = re.compile(r"[45]\.2\.2\b")
"""Enhanced status of a full mailbox (RFC 3463 3.3): it may have room again, and a sender may have filled it."""
_ABOUT_US = re.compile(r"5\.7\.")
"""Enhanced status of a refusal for security or policy (RFC 3463 3.8): of who sends, not of the address."""
EX_TEMPFAIL = 75
_ADDRESS_REFUSED_BY_SENDMAIL = frozenset({67, 68})
"""EX_NOUSER, EX_NOHOST of sysexits.h."""
_REFUSED_BY_SENDMAIL = _ADDRESS_REFUSED_BY_SENDMAIL | {65}
"""And EX_DATAERR."""


class Result(Enum):
    SENT = "sent"
    REFUSED = "refused"
    """The address, or this message for it, is not taken, now or ever."""
    LATER = "later"
    """This address later."""
    UNAVAILABLE = "unavailable"
    """The relay does not work for us now: nothing else is tried either."""
    UNCERTAIN = "uncertain"
    """The connection ended before the answer to the message: it may have been taken."""


@dataclass(frozen=True, slots=True)
class Attempt:
    result: Result
    detail: str = ""
    at_rcpt: bool = False
    """The address was refused, and not a message."""
    after_connecting: bool = False
    """The relay took the connection and our address: what ended it may be of this report alone."""


@dataclass(frozen=True, slots=True)
class Mail:
    mail_from: str
    """Empty: the null reverse-path."""
    rcpt_to: str
    message: bytes


class Transport(Protocol):
    """`committing` is called right before the message itself is handed over: from then on it may arrive."""

    def send(self, mail: Mail, committing: Callable[[], None]) -> Attempt: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Relay:
    host: str
    port: int
    helo: str
    starttls: StartTls = StartTls.OPPORTUNISTIC
    ca_file: str = ""
    """Certificates that the relay's is checked by when TLS is required; empty: the system's."""
    username: str = ""
    password: str = field(default="", repr=False)


class SmtpRelay:
    """One connection for a whole run, opened again when it was lost."""

    def __init__(
        self, relay: Relay, *, seconds: float = SECONDS, lost_seconds: float = LOST_SECONDS,
        delivery_seconds: float = DELIVERY_SECONDS,
    ) -> None:  # fmt: skip
        self._relay = relay
        self._seconds = seconds
        self._lost_seconds = lost_seconds
        self._delivery_seconds = delivery_seconds
        self._lost = 0.0
        """Seconds that deliveries took for which the relay did not answer."""
        self._connection: smtplib.SMTP | None = None

    def send(self, mail: Mail, committing: Callable[[], None]) -> Attempt:
        began = time.monotonic()
        watch = threading.Timer(self._delivery_seconds, self._cut)
        watch.daemon = True
        watch.start()
        try:
            attempt = self._send(mail, committing)
        finally:
            watch.cancel()
        if attempt.after_connecting or attempt.result is Result.UNCERTAIN:
            self._lost += time.monotonic() - began
        return attempt

    def _send(self, mail: Mail, committing: Callable[[], None]) -> Attempt:
        try:
            connection = self._connected()
        except (OSError, smtplib.SMTPException, ssl.SSLError) as error:
            self._drop()
            return Attempt(Result.UNAVAILABLE, _words(error))
        _set_timeout(connection, self._patience())
        try:
            refusal = _envelope(connection, mail)
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            return Attempt(Result.UNAVAILABLE, _words(error), after_connecting=True)
        if refusal:
            self._reset()
            return refusal
        _set_timeout(connection, self._seconds)
        committing()
        try:
            code, text = connection.data(mail.message)
        except smtplib.SMTPDataError as error:  # the DATA command itself was refused: nothing was handed over
            self._reset()
            return _sorted(error.smtp_code, error.smtp_error)
        except (OSError, smtplib.SMTPException) as error:
            self._drop()
            return Attempt(Result.UNCERTAIN, _words(error))
        return Attempt(Result.SENT, _text(text)) if code == 250 else _sorted(code, text)

    def close(self) -> None:
        if self._connection:
            _set_timeout(self._connection, min(self._seconds, IMPATIENT_SECONDS))
            try:
                self._connection.quit()
            except (OSError, smtplib.SMTPException):
                self._connection.close()
        self._connection = None

    def _drop(self) -> None:
        """Without QUIT: a relay that did not answer would not answer that either."""
        if self._connection:
            self._connection.close()
        self._connection = None

    def _cut(self) -> None:
        """End the connection under a delivery that takes too long. Called in a thread of its own."""
        sock = self._connection.sock if self._connection else None
        if sock is not None:
            # Of the plain class: that of ssl would change what the other thread is reading with.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _patience(self) -> float:
        """Seconds to wait for each answer before the message."""
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
        # SMTPNotSupportedError, if it is required and not offered, is trouble of the relay like any other.
        context = ssl.create_default_context(cafile=self._relay.ca_file or None)
        if mode is StartTls.OPPORTUNISTIC:
            # Without a rule that asks for it, an unchecked certificate is better than none (RFC 7435).
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection.starttls(context=context)
        connection.ehlo_or_helo_if_needed()


class _Conversation(smtplib.SMTP):
    def __init__(self, owner: SmtpRelay, relay: Relay, seconds: float) -> None:
        """Connects. The owner has it before that, so that it can cut it at any time."""
        self.sock = None
        owner._connection = self  # noqa: SLF001  one unit
        super().__init__(relay.host, relay.port, relay.helo, timeout=seconds)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _WholeLines(self.sock.makefile("rb"))
        return super().getreply()


class _WholeLines:
    """Lines of the relay. One without its end is none, where smtplib would take it for a whole one."""

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


def _envelope(connection: smtplib.SMTP, mail: Mail) -> Attempt | None:
    """MAIL and RCPT; None: both were taken."""
    options = [f"SIZE={len(mail.message)}"] if connection.has_extn("size") else []
    code, text = connection.mail(mail.mail_from, options)
    if code == 552:  # RFC 1870 6.1: too large, whoever it is for
        return Attempt(Result.REFUSED, _text(text))
    if code == 452:  # RFC 1870 6.1: no room for so much now
        return Attempt(Result.LATER, _text(text))
    if code != 250:
        return Attempt(Result.UNAVAILABLE, f"MAIL: {code} {_text(text)}")
    code, text = connection.rcpt(mail.rcpt_to)
    return None if code in {250, 251} else _sorted(code, text, at_rcpt=True)


def _sorted(code: int, text: bytes | str, *, at_rcpt: bool = False) -> Attempt:
    """RFC 5321 4.2.1; 421: the server closes, whatever was asked."""
    detail = f"{code} {_text(text)}"
    if code == 421:
        return Attempt(Result.UNAVAILABLE, detail, after_connecting=True)
    if at_rcpt and (code == 552 or _FULL.match(_text(text))):
        return Attempt(Result.LATER, detail)
    about_address = at_rcpt and not _ABOUT_US.match(_text(text))
    return Attempt(Result.REFUSED if 500 <= code <= 599 else Result.LATER, detail, about_address)


def _text(text: bytes | str) -> str:
    words = text.decode("ascii", "replace") if isinstance(text, bytes) else text
    return "".join(char if " " <= char <= "~" else "?" for char in " ".join(words.split()))[:MAX_SHOWN]


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {_text(str(error))}"


class Sendmail:
    """A sendmail program (Postfix, Sendmail, Exim and msmtp bring one)."""

    def __init__(self, program: str, *, seconds: float = SECONDS) -> None:
        self._program = program
        self._seconds = seconds

    def send(self, mail: Mail, committing: Callable[[], None]) -> Attempt:
        if not Path(self._program).is_file():
            return Attempt(Result.UNAVAILABLE, f"{self._program} does not exist")
        command = [self._program, "-i", "-f", mail.mail_from or "<>", "--", mail.rcpt_to]
        committing()
        try:
            # Addresses are dot-atoms that begin with no hyphen (reports.destinations), and no shell reads them.
            done = subprocess.run(  # noqa: S603
                command,
                input=mail.message.replace(b"\r\n", b"\n"),
                capture_output=True,
                timeout=self._seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            return Attempt(Result.UNCERTAIN, _words(error))
        except OSError as error:
            return Attempt(Result.UNAVAILABLE, _words(error))
        if done.returncode == 0:
            return Attempt(Result.SENT)
        detail = f"exit status {done.returncode} {_text(done.stderr)}"
        if done.returncode == EX_TEMPFAIL:
            return Attempt(Result.LATER, detail)
        if done.returncode in _REFUSED_BY_SENDMAIL:
            return Attempt(Result.REFUSED, detail, done.returncode in _ADDRESS_REFUSED_BY_SENDMAIL)
        return Attempt(Result.UNAVAILABLE, detail)

    def close(self) -> None:
        """Nothing is kept open."""


def retry_seconds(attempts: int) -> int:
    """How long to wait after so many attempts."""
    return min(FIRST_RETRY << min(attempts, 16), LONGEST_RETRY)
