"""The load: SMTP clients through Postfix (XCLIENT), which try again as an MTA does until each message has its end."""

import contextlib
import random
import re
import smtplib
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.account import Attempt, Fate, Sent
from tests.support.mta.mail_chain import SENDER, SPAMMER, ZONE, domain, signed

CLIENTS = 6
AT_ONCE = 4
"""Messages of one SMTP session at most."""
PAUSE_SECONDS = 0.12
"""Between two sessions of one client, at most: a load, not a benchmark."""
RETRY_SECONDS = 1.0
"""After a deferral. An MTA waits for minutes; what it may see is the same."""
MAX_PENDING = 80
"""Messages without an end, beyond which nothing new is sent."""
REPLY_SECONDS = 90.0
"""More than Postfix ever waits for the filter here."""

ZONE = {**ZONE, **domain("spf.example", "p=reject")}
LARGE = b"X-Filler: " + b"x" * 900 + b"\r\n"
BODY = b"Hello,\r\n\r\n.world.\r\n"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a message is, and what must become of it."""

    name: str
    author: str
    fate: Fate
    dmarc: str
    from_its_own: bool = False
    """Sent by the author's own server, so that SPF passes; else by the spammer's."""
    sign: str = ""
    """The signer's domain."""
    large: int = 0
    """Fields of a large header."""


KINDS = (
    Kind("SPF pass", "a@spf.example", Fate.DELIVERED, "pass", from_its_own=True),
    Kind("DKIM pass", "a@reject.example", Fate.DELIVERED, "pass", sign="reject.example"),
    Kind("large, DKIM pass", "a@reject.example", Fate.DELIVERED, "pass", sign="reject.example", large=300),
    Kind("no policy", "a@nopolicy.example", Fate.DELIVERED, "none"),
    Kind("forged, p=none", "a@none.example", Fate.DELIVERED, "fail"),
    Kind("forged, p=quarantine", "a@quarantine.example", Fate.HELD, "fail"),
    Kind("forged, p=reject", "a@reject.example", Fate.REFUSED, "fail"),
    Kind("forged, large", "a@reject.example", Fate.REFUSED, "fail", large=300),
    Kind("two authors", "a@reject.example, b@none.example", Fate.REFUSED, "permerror"),
)


@dataclass(slots=True)
class Waiting:
    """A message that has no end yet."""

    sent: Sent
    kind: Kind
    data: bytes
    due: float = 0.0


@dataclass(slots=True)
class Traffic:
    port: int
    seed: int
    mark: str
    sent: list[Sent] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    """Bugs of the kit."""
    _pending: deque[Waiting] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _no_more: threading.Event = field(default_factory=threading.Event)
    _gave_up: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        for number in range(CLIENTS):
            thread = threading.Thread(target=self._client, args=(random.Random(f"{self.seed}.{number}"),))  # noqa: S311
            self._threads.append(thread)
            thread.start()

    def finish(self, seconds: float) -> None:
        """Send nothing new, and wait until all has its end; what has none after so many seconds never gets one."""
        self._no_more.set()
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._gave_up.set()
        for thread in self._threads:
            thread.join(REPLY_SECONDS)
        if self.errors:
            raise self.errors[0]

    def _client(self, chance: random.Random) -> None:
        try:
            while not self._gave_up.is_set():
                batch = self._due(chance)
                if not batch and self._no_more.is_set() and self._all_ended():
                    return
                if batch:
                    self._session(batch)
                self._gave_up.wait(chance.uniform(0, PAUSE_SECONDS))
        except BaseException as error:  # noqa: BLE001  told by finish()
            self.errors.append(error)

    def _all_ended(self) -> bool:
        return all(sent.end for sent in self.sent)

    def _due(self, chance: random.Random) -> list[Waiting]:
        """New messages and those to be tried again, of one client host: they go in one session."""
        with self._lock:
            now = time.monotonic()
            again = [waiting for waiting in self._pending if waiting.due <= now]
            full = self._no_more.is_set() or len(self._pending) >= MAX_PENDING
            new = [] if full else [self._new(chance) for _ in range(chance.randint(1, AT_ONCE))]
            both = (again + new)[: 2 * AT_ONCE]
            batch = [one for one in both if one.kind.from_its_own == both[0].kind.from_its_own][:AT_ONCE]
            for one in batch:
                if one in again:
                    self._pending.remove(one)
            self._pending.extend(one for one in new if one not in batch)
            return batch

    def _new(self, chance: random.Random) -> Waiting:
        kind = chance.choice(KINDS)
        message_id = f"<{len(self.sent)}.{self.mark}@chaos.example>"
        sent = Sent(message_id, kind.name, kind.fate, kind.dmarc)
        self.sent.append(sent)
        return Waiting(sent, kind, content(kind, message_id))

    def _session(self, batch: list[Waiting]) -> None:
        """All of them in one SMTP session; what has no end is tried again in another."""
        with contextlib.ExitStack() as stack:
            session = Session(self.port, own=batch[0].kind.from_its_own, stack=stack)
            for waiting in batch:
                waiting.sent.attempts.append(session.deliver(waiting))
        with self._lock:
            for waiting in batch:
                waiting.due = time.monotonic() + RETRY_SECONDS
            self._pending.extend(waiting for waiting in batch if not waiting.sent.end)


def content(kind: Kind, message_id: str) -> bytes:
    lines = [
        f"From: {kind.author}",
        "To: <rcpt@rcpt.example>",
        f"Message-ID: {message_id}",
        "Date: Sun, 22 Nov 2026 08:00:00 +0000",
        "Subject: chaos",
    ]
    header = "".join(f"{line}\r\n" for line in lines).encode() + LARGE * kind.large
    message = header + b"\r\n" + BODY
    return signed(message, kind.sign) if kind.sign else message


class Session:
    """One SMTP session as another host. A refusal before the message holds for each message of the session."""

    def __init__(self, port: int, *, own: bool, stack: contextlib.ExitStack) -> None:
        self._client = smtplib.SMTP(local_hostname="proxy.example", timeout=REPLY_SECONDS)
        stack.callback(self._client.close)
        address, helo = (SENDER, "mx.spf.example") if own else (SPAMMER, "spammer.example")
        self._sender = "a@spf.example" if own else "bounce@spammer.example"
        self._broken: Attempt | None = None
        self._open = [
            lambda: self._client.connect("127.0.0.1", port),
            lambda: self._client.docmd("EHLO proxy.example"),
            lambda: self._client.docmd(f"XCLIENT ADDR={address} NAME=[UNAVAILABLE] PORT=40000"),
            lambda: self._client.docmd(f"EHLO {helo}"),
        ]

    def deliver(self, waiting: Waiting) -> Attempt:
        opening, self._open = self._open, []
        self._broken = self._broken or self._refusal(opening)
        if self._broken:
            return self._broken
        refusal = self._refusal(
            [
                lambda: self._client.docmd(f"MAIL FROM:<{self._sender}>"),
                lambda: self._client.docmd("RCPT TO:<rcpt@rcpt.example>"),
                lambda: self._client.docmd("DATA"),
            ]
        )
        if refusal:
            # So that the next message may begin anew; a connection that is gone is gone for it, too.
            self._broken = self._refusal([lambda: self._client.docmd("RSET")])
            return refusal
        attempt = self._told(lambda: self._whole(waiting.data), whole=True)
        self._broken = attempt if attempt.code in (0, 421) else None
        return attempt

    def _whole(self, data: bytes) -> tuple[int, bytes]:
        self._client.send(re.sub(rb"(?m)^\.", b"..", data) + b".\r\n")
        return self._client.getreply()

    def _refusal(self, steps: list[Callable[[], tuple[int, bytes]]]) -> Attempt | None:
        for step in steps:
            attempt = self._told(step, whole=False)
            if attempt.code == 0 or attempt.code >= 400:
                return attempt
        return None

    @staticmethod
    def _told(step: Callable[[], tuple[int, bytes]], *, whole: bool) -> Attempt:
        start = time.monotonic()
        try:
            code, text = step()
        except (OSError, smtplib.SMTPException) as error:
            code, text = 0, str(error).encode()
        # smtplib's word for a reply that is none
        return Attempt(max(0, code), text.decode("utf-8", "replace"), whole, time.monotonic() - start)
