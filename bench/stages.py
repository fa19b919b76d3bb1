"""What each stage of one message costs, in this process, with DNS answers at hand.

    make bench     this, and bench/load.py

Microseconds of wall time for one message, the best of several rounds; stages that hold others are marked so.
"""

import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from dmarcmilter import pipeline
from dmarcmilter import receiver as site
from dmarcmilter.auth import arc, dkim, spf
from dmarcmilter.config import load
from dmarcmilter.demo.sample_messages import samples, zone
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.mail import message_file
from dmarcmilter.mail.message import Envelope
from dmarcmilter.milter.transaction import Evaluating
from dmarcmilter.outcome import Outcome
from dmarcmilter.outcome_record import encoded

ROUNDS = 60
CHUNK = 65_535
BODIES = {"1 kB": 1_000, "20 kB": 20_000, "1 MB": 1_000_000}
STAGES: list[tuple[object, str, str]] = [
    (pipeline, "read", "end of headers (From, DKIM, ARC read)"),
    (pipeline, "author_domain", "  Author Domain"),
    (dkim, "read", "  DKIM-Signature fields"),
    (arc, "read", "  ARC fields"),
    (Evaluating, "body", "body canonicalized and hashed"),
    (pipeline, "process", "all stages of the pipeline (all below)"),
    (pipeline, "discover", "  policy discovery"),
    (spf, "check", "  SPF"),
    (dkim, "verify", "  DKIM signatures verified"),
    (arc, "verify", "  ARC chain verified"),
    (pipeline, "organizational_domains", "  Organizational Domains of identifiers"),
    (pipeline, "respond", "  response, Authentication-Results"),
    (Outcome, "record", "outcome as a record"),
    (Outcome, "log_line", "log line"),
]


class ZoneLookup:
    """The demonstration's zone without a wire."""

    queries = cache_hits = 0
    spent = False
    milliseconds = 0.0

    def __init__(self) -> None:
        self._texts = {name: data.get("TXT", []) for name, data in zone().items()}

    def __call__(self, name: str, rdtype: str) -> Answer:
        if rdtype == "TXT" and self._texts.get(name):
            return Answer(Status.FOUND, tuple(text.encode() for text in self._texts[name]))
        return Answer(Status.NODATA if name in self._texts else Status.NXDOMAIN)

    def within(self, seconds: float, name: str, rdtype: str) -> Answer:  # noqa: ARG002
        return self(name, rdtype)

    def start(self, name: str, rdtype: str) -> None:
        """Nothing to prefetch."""

    def close(self) -> None:
        """Nothing is open."""


def timed(owner: object, name: str, totals: Counter[str]) -> None:
    inner: Callable[..., Any] = getattr(owner, name)
    label = next(text for who, what, text in STAGES if who is owner and what == name)

    def outer(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return inner(*args, **kwargs)
        finally:
            totals[label] += time.perf_counter() - began

    setattr(owner, name, outer)


def evaluate(message: message_file.MailFile, envelope: Envelope, receiver: site.Receiver, lookup: ZoneLookup) -> bytes:
    transaction = Evaluating(envelope, lookup, receiver)  # type: ignore[arg-type]
    transaction.end_of_headers(message.headers, size=1000)
    for start in range(0, len(message.body), CHUNK):
        transaction.body(message.body[start : start + CHUNK])
    outcome, _ = transaction.end_of_message("4BENCH", "mx.example.net")
    outcome.log_line()
    return encoded(outcome.record())


def main() -> None:
    lookup = ZoneLookup()
    receiver = site.build(
        load.parse('[policy]\nmode = "monitor"\nsampling_key = "/var/lib/dmarcmilter/sampling.key"'), keep_key=False
    )
    totals: Counter[str] = Counter()
    for owner, name, _ in STAGES:
        timed(owner, name, totals)
    columns: dict[str, Counter[str]] = {}
    for size, body_bytes in BODIES.items():
        sample = samples(body="A line of text as people write it.\r\n" * (body_bytes // 36))[0]
        envelope = Envelope("", datetime.now(UTC), ip_address(sample.client_ip), "", b"mx.example", b"a@bank.example")
        parsed = message_file.parse(sample.message)
        columns[size] = best_of_rounds(lambda p=parsed, e=envelope: evaluate(p, e, receiver, lookup), totals)
    out = sys.stdout.write
    out(f"{'microseconds a message, body of':<44}" + "".join(f"{size:>10}" for size in columns) + "\n")
    for label in [*(text for _, _, text in STAGES), "whole message"]:
        out(f"{label:<44}" + "".join(f"{column[label]:>10.0f}" for column in columns.values()) + "\n")


def best_of_rounds(work: Callable[[], object], totals: Counter[str]) -> Counter[str]:
    best: Counter[str] = Counter()
    for _ in range(ROUNDS):
        totals.clear()
        began = time.perf_counter()
        work()
        totals["whole message"] = time.perf_counter() - began
        if not best or totals["whole message"] < best["whole message"]:
            best = Counter(totals)
    return Counter({label: seconds * 1e6 for label, seconds in best.items()})


if __name__ == "__main__":
    main()
