"""An MTA without a socket: it does what a Session tells it, with the checks that a real one has."""

import logging

import Milter

from dmarcmilter.dns.lookup import Answer
from dmarcmilter.metrics.worker_metrics import WorkerTally
from dmarcmilter.milter import failsafe
from dmarcmilter.milter.worker_context import WorkerContext
from dmarcmilter.outcome_record import OutcomeRecord
from dmarcmilter.receiver import Receiver
from tests.support.zone import Zone

RESULTS = b"authentication-results"


class Lookup:
    """A MessageLookup over a Zone."""

    milliseconds = 0.0
    cache_hits = 0
    spent = False

    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self.queries = 0
        self.is_closed = False

    def __call__(self, name: str, rdtype: str) -> Answer:
        assert not self.is_closed
        self.queries += 1
        return self._zone(name, rdtype)

    def within(self, _seconds: float, name: str, rdtype: str) -> Answer:
        return self(name, rdtype)

    def start(self, _name: str, rdtype: str) -> None:
        assert rdtype in {"TXT", "A", "AAAA", "MX"}

    def close(self) -> None:
        self.is_closed = True


class Resolver:
    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.lookups: list[Lookup] = []


class ContextOfZone(WorkerContext):
    """DNS from a table instead of a wire."""

    resolver: Resolver  # type: ignore[assignment]

    def lookup(self, _turn: object, _trace: object) -> Lookup:  # type: ignore[override]
        lookup = Lookup(self.resolver.zone)
        self.resolver.lookups.append(lookup)
        return lookup


class Journal:
    def __init__(self) -> None:
        self.records: list[OutcomeRecord] = []

    def append(self, record: OutcomeRecord) -> bool:
        self.records.append(record)
        return True


class Context:
    """What libmilter gives to a callback. `fields` is the header as it would be delivered."""

    def __init__(self, macros: dict[str, str]) -> None:
        self._macros = macros
        self.fields: list[tuple[bytes, bytes]] = []
        self.reply: tuple[str, str, str] | None = None
        self.held = False
        self.may_change = False

    def getsymval(self, name: str) -> str | None:
        if self._macros.get(name) == "\udcff":
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "as libmilter's binding does")
        return self._macros.get(name)

    def setsymlist(self, _stage: int, names: str) -> None:
        assert names.isascii()

    def chgheader(self, name: str, occurrence: int, value: str | None) -> None:
        """Deletions only; the fields below move up, as in Postfix."""
        assert self.may_change
        assert value is None
        found = [at for at, field in enumerate(self.fields) if field[0].strip().lower() == name.lower().encode()]
        assert 1 <= occurrence <= len(found)
        del self.fields[found[occurrence - 1]]

    def addheader(self, name: str, value: str, position: int) -> None:
        assert self.may_change
        assert position == 0
        assert all(" " <= char <= "~" for char in value.replace("\n\t", ""))
        self.fields.insert(0, (name.encode("ascii"), value.encode("ascii")))

    def quarantine(self, reason: str) -> None:
        assert self.may_change
        assert reason.isascii()
        assert reason.isprintable()
        self.held = True

    def setreply(self, code: str, enhanced: str, text: str) -> None:
        assert code[0] == enhanced[0]
        assert text.isascii()
        assert text.isprintable()
        assert "%" not in text.replace("%%", "")
        self.reply = code, enhanced, text


class Bugs(logging.Handler):
    """Keeps the exception that a session logs when it survives it, so that a bug ends the run and not the message."""

    def __init__(self) -> None:
        super().__init__()
        self.found: BaseException | None = None
        logging.getLogger(failsafe.__name__).addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found = record.exc_info[1]

    def check(self) -> None:
        """Raise what was kept since the last check."""
        found, self.found = self.found, None
        if found is not None:
            raise found


BUGS = Bugs()


def worker_context(zone: Zone, receiver: Receiver) -> WorkerContext:
    return ContextOfZone(
        receiver=receiver,
        resolver=Resolver(zone),  # type: ignore[arg-type]
        journal=Journal(),  # type: ignore[arg-type]
        capture=None,
        tally=WorkerTally(),
    )


ANSWERS = {int(Milter.CONTINUE), int(Milter.REJECT), int(Milter.TEMPFAIL)}
