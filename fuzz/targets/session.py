"""Milter sessions: callbacks in any order with any octets. Each message is answered once, no forged result stays.

libmilter lets no header field come after the end of the header, and no end of message before it: out of that order
nothing may break, but the fields are not held against the answer.
"""

from collections.abc import Callable, Iterator

import Milter

from dmarcmilter.auth.forged_authentication_results import forged
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.milter.session import Session
from fuzz import mta, world
from fuzz.material import BETWEEN, message_of, parts, vectors
from fuzz.targets.message import seeds as message_seeds

OWN_ID = "mx.test.example"
IDS = (OWN_ID, "b\u00fccher.example")
MAX_STEPS = 400
OFFERS = (0x1FFFFF, 0x1FFFFF & ~Milter.P_HDR_LEADSPC, Milter.P_HDR_LEADSPC, 0)
"""Protocol steps: of a newer MTA, of some that lack a part, of an old one."""


class Driver:
    """Turns lines into callbacks, and keeps the books that the filter's answer is held against."""

    def __init__(self, zone: bytes) -> None:
        self.worker = mta.worker_context(world.zone(zone), world.receiver(Method.TREEWALK))
        self.context = mta.Context({"j": "mta.example", "i": "4XYZ"})
        self.session = Session(self.context, self.worker)
        self.leading_space = True
        self.silent = 0
        self.received: list[tuple[bytes, bytes]] = []
        self.is_judged = self.has_ended_header = False
        self.is_in_order = True

    def step(self, line: bytes) -> None:
        callback = CALLBACKS.get(line[:1])
        if callback is not None:
            answer = callback(self, line[1:])
            mta.BUGS.check()
            assert type(answer) is int
            silent = SILENCE.get(line[:1], 0) & self.silent
            assert answer in ({int(Milter.NOREPLY)} if silent else mta.ANSWERS)

    def negotiate(self, data: bytes) -> int:
        """The octet says what the MTA offers. As in callbacks.py, it is a new Session's."""
        self.session.close()
        self._forget()
        self.session = Session(self.context, self.worker)
        offered = OFFERS[data[0] % len(OFFERS)] if data else OFFERS[0]
        options = [0x1FF, offered, 0, 0]
        answer = self.session.negotiate(options)
        assert not options[1] & ~offered
        self.leading_space = bool(offered & Milter.P_HDR_LEADSPC)
        self.silent = options[1]
        return answer

    def connect(self, data: bytes) -> int:
        address = data.decode("latin-1")
        return self.session.connect("host.example", 2, (address, 25) if address else None)

    def hello(self, data: bytes) -> int:
        return self.session.hello(data.decode("utf-8", "ignore"))

    def envfrom(self, data: bytes) -> int:
        self._forget()
        self.is_judged = True
        return self.session.envfrom(*data.split(b" "))

    def envrcpt(self, data: bytes) -> int:
        return self.session.envrcpt(*data.split(b" "))

    def header(self, data: bytes) -> int:
        name, _, value = data.partition(b":")
        text = name.strip().decode("utf-8", "ignore")
        self.is_in_order &= not self.has_ended_header
        self.received.append((text.encode(), value.replace(b"\r\n", b"\n")))
        return self.session.header(text, value.replace(b"\r\n", b"\n"))

    def eoh(self, _: bytes) -> int:
        self.has_ended_header = True
        return self.session.eoh()

    def body(self, data: bytes) -> int:
        return self.session.body(data)

    def eom(self, _: bytes) -> int:
        self.context.fields = list(self.received)
        self.context.may_change = True
        before = len(self.worker.journal.records)  # type: ignore[attr-defined]
        answer = self.session.eom()
        self.context.may_change = False
        added = len(self.worker.journal.records) - before  # type: ignore[attr-defined]
        assert added == self.is_judged
        if self.is_judged:
            self._check_answer(answer)
            if answer == Milter.CONTINUE and self.is_in_order and self.has_ended_header:
                self._check_fields()
        self._forget()
        return answer

    def abort(self, _: bytes) -> int:
        answer = self.session.abort()
        self._forget()
        return answer

    def close(self, _: bytes) -> int:
        answer = self.session.close()
        self._forget()
        return answer

    def _forget(self) -> None:
        """The message has ended, in whatever way."""
        self.received = []
        self.context.reply = None
        self.is_judged = self.has_ended_header = False
        self.is_in_order = True

    def _check_answer(self, answer: int) -> None:
        record = self.worker.journal.records[-1]  # type: ignore[attr-defined]
        expected = {"reject": Milter.REJECT, "tempfail": Milter.TEMPFAIL}.get(record.action, Milter.CONTINUE)
        assert answer == expected
        assert (self.context.reply is not None) == (answer != Milter.CONTINUE)

    def _check_fields(self) -> None:
        """Ours stands on top, forged ones are gone, and all else is as it was."""
        own, *others = [value for name, value in self.context.fields if name.strip().lower() == mta.RESULTS]
        assert self.context.fields[0][1] == own
        assert own.strip().startswith(OWN_ID.encode())
        wire = [(b"" if self.leading_space else b" ") + value.replace(b"\n", b"\r\n") for value in others]
        assert not forged(wire, IDS)
        kept = [field for field in self.received if field[0].strip().lower() != mta.RESULTS]
        assert [field for field in self.context.fields if field[0].strip().lower() != mta.RESULTS] == kept


CALLBACKS: dict[bytes, Callable[[Driver, bytes], int]] = {
    b"O": Driver.negotiate,
    b"C": Driver.connect,
    b"H": Driver.hello,
    b"M": Driver.envfrom,
    b"R": Driver.envrcpt,
    b"L": Driver.header,
    b"N": Driver.eoh,
    b"B": Driver.body,
    b"E": Driver.eom,
    b"A": Driver.abort,
    b"Q": Driver.close,
}
"""By the letters of the milter protocol."""


SILENCE = {
    b"C": Milter.P_NR_CONN,
    b"H": Milter.P_NR_HELO,
    b"M": Milter.P_NR_MAIL,
    b"R": Milter.P_NR_RCPT,
    b"L": Milter.P_NR_HDR,
    b"N": Milter.P_NR_EOH,
    b"B": Milter.P_NR_BODY,
}
"""Steps that the filter may have asked not to answer."""


def check(data: bytes) -> None:
    """Parts: a zone; NUL-separated callbacks, a letter and its data each."""
    zone, script = parts(data, 2)
    driver = Driver(zone)
    for line in script.split(b"\0", MAX_STEPS)[:MAX_STEPS]:
        driver.step(line)
    driver.close(b"")
    assert not driver.worker.in_progress
    assert all(lookup.is_closed for lookup in driver.worker.resolver.lookups)  # type: ignore[attr-defined]


def _script(line: bytes, message: bytes) -> bytes:
    """A whole session for one message."""
    client, helo, sender = [*line.split(b"\t"), b"", b"", b""][:3]
    head, _, body = message.partition(b"\r\n\r\n")
    fields = head.replace(b"\r\n ", b"\n ").replace(b"\r\n\t", b"\n\t").split(b"\r\n")
    steps = [b"O", b"C" + client, b"H" + helo, b"M<" + sender + b">", b"R<b@rcpt.example>"]
    return b"\0".join([*steps, *(b"L" + field for field in fields), b"N", b"B" + body, b"E"])


def seeds() -> Iterator[bytes]:
    for whole in message_seeds():
        line, zone, message = parts(whole, 3)
        yield zone + BETWEEN + _script(line, message)
    forged_fields = b"L" + b"\0L".join(
        b"Authentication-Results: %b; dmarc=pass" % name
        for name in (b"mx.test.example", b"other.example", b"MX.TEST.example.")
    )
    script = _script(b"192.0.2.1\tmx.example\ta@example.com", b"From: a@example.com\r\n\r\nbody").replace(
        b"\0N", b"\0" + forged_fields + b"\0N"
    )
    yield BETWEEN + script + b"\0" + script.replace(b"\0E", b"\0A") + b"\0" + script
    for vector in vectors("behaviour"):
        for one in vector.get("sequence", ()):
            yield BETWEEN + _script(b"192.0.2.1\tmx.example\ta@example.com", message_of(one)) * 2
