"""The checks. Each is bounded in time, changes nothing, and says in words what an operator can do something about."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from dmarcmilter.endpoint import parse_listen, parse_socket
from dmarcmilter.health import asking, milterprobe
from dmarcmilter.health.finding import Finding, Health
from dmarcmilter.health.milterprobe import ProbeError
from dmarcmilter.lookup import Status
from dmarcmilter.metrics import outside
from dmarcmilter.resolver import MessageLookup, Resolver, system_nameservers
from dmarcmilter.settings import Config

SECONDS: Final = 5.0
"""For one answer: monitoring gives up after ten or so."""
ASKED: Final = "com"
"""A name that every resolver can follow from the root on. It has no TXT records, which is an answer, too."""
LITTLE_ROOM: Final = 100 * 1_048_576
"""Octets: some 80,000 outcomes."""
LATE_INGEST: Final = 300.0
"""Seconds; it looks each second, and says so every ten."""
SILENT_WORKER: Final = 30.0
"""Seconds; a sign comes every two."""


def milter_socket(config: Config) -> Finding:
    """A filter negotiates on the socket that the MTA uses."""
    name = "socket"
    try:
        version = milterprobe.negotiate(parse_socket(config.milter.socket), SECONDS)
    except ProbeError as error:
        return Finding(name, Health.DOWN, f"{config.milter.socket}: {error}")
    return Finding(name, Health.HEALTHY, f"answers, protocol version {version}")


def workers(config: Config) -> Finding:
    """As many workers as there should be, all alive: asked of the metrics endpoint, if there is one."""
    name, listen = "workers", config.metrics.listen
    if not listen:
        return Finding(name, Health.HEALTHY, "not known without [metrics] listen")
    try:
        found = asking.workers(parse_listen(listen), SECONDS)
    except ProbeError as error:
        return Finding(name, Health.DEGRADED, f"{listen}: {error}")
    if not found.serving:
        return Finding(name, Health.DOWN, f"none of {found.wanted} serves")
    if found.serving < found.wanted:
        return Finding(name, Health.DEGRADED, f"{found.serving} of {found.wanted} serve")
    if found.silence > SILENT_WORKER:
        return Finding(name, Health.DEGRADED, f"one has been silent for {found.silence:.0f} s")
    return Finding(name, Health.HEALTHY, f"{found.serving} of {found.wanted} serve")


def name_servers(config: Config) -> Finding:
    """Each name server answers; without any, no message can be judged."""
    servers = config.dns.servers() or tuple(system_nameservers())
    silent = [(host, port, why) for host, port in servers if (why := _why_silent(host, port))]
    text = ", ".join(f"{host} port {port}: {why}" for host, port, why in silent)
    if len(silent) == len(servers):
        return Finding("dns", Health.DOWN, f"no name server answers ({text})")
    if silent:
        return Finding("dns", Health.DEGRADED, text)
    return Finding("dns", Health.HEALTHY, f"{len(servers)} of {len(servers)} name servers answer")


def _why_silent(host: str, port: int) -> str:
    lookup = MessageLookup(Resolver([(host, port)], timeout=SECONDS), SECONDS, 1)
    try:
        answer = lookup(ASKED, "TXT")
    finally:
        lookup.close()
    return answer.reason if answer.status is Status.FAILED else ""


def journal(config: Config) -> Finding:
    """Outcomes can be written. When they cannot, mail flows on and they stand in the log."""
    name, directory = "journal", Path(config.history.journal)
    if not directory.exists():  # made with the first outcome
        directory = directory.parent
    if not directory.is_dir():
        return Finding(name, Health.DEGRADED, f"{directory}: no such directory")
    if not os.access(directory, os.W_OK | os.X_OK):
        return Finding(name, Health.DEGRADED, f"{directory}: not writable for the user who asks")
    free = outside.journal(str(directory)).free
    if free is None or free < LITTLE_ROOM:
        return Finding(name, Health.DEGRADED, f"{directory}: {_megabytes(free or 0)} of room left")
    return Finding(name, Health.HEALTHY, f"writable, {_megabytes(free)} of room")


def ingest(config: Config) -> Finding:
    """What is in the journal gets into the database."""
    name, state = "ingest", outside.journal(config.history.journal)
    if state.unread is None:
        return Finding(name, Health.DEGRADED, f"{config.history.journal} cannot be read")
    if state.ingest_age is None:
        never = Health.DEGRADED if state.unread else Health.HEALTHY
        return Finding(name, never, f"has never run; {_megabytes(state.unread)} in the journal")
    unread = f"{_megabytes(state.unread)} not taken in"
    if state.ingest_age > LATE_INGEST:
        return Finding(name, Health.DEGRADED, f"last looked {state.ingest_age:.0f} s ago, {unread}")
    return Finding(name, Health.HEALTHY, f"looked {state.ingest_age:.0f} s ago, {unread}")


def _megabytes(octets: int) -> str:
    return f"{octets / 1_048_576:.1f} MiB"


CHECKS: Final[dict[str, Callable[[Config], Finding]]] = {
    "socket": milter_socket,
    "workers": workers,
    "dns": name_servers,
    "journal": journal,
    "ingest": ingest,
}


def run(config: Config, *, skip: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """All but those to be skipped."""
    for name, check in CHECKS.items():
        if name not in skip:
            yield check(config)
