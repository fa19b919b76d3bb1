"""Health checks of the filter's processes: milter socket, workers, name servers, ingest.

Each check is bounded in time, changes nothing, and names a problem in words that an operator can act on. Checks with
the rights of the filter's user and of Postfix are in `config_check.files_and_mta_health`.
"""

from typing import Final

from dmarcmilter.config.endpoint import parse_listen, parse_socket
from dmarcmilter.config.schema import Config
from dmarcmilter.dns.lookup import Status
from dmarcmilter.dns.message_lookup import MessageLookup
from dmarcmilter.dns.resolver import Resolver, system_nameservers
from dmarcmilter.health import milter_probe, workers_probe
from dmarcmilter.health.check_result import CheckResult, Health
from dmarcmilter.health.milter_probe import ProbeError
from dmarcmilter.metrics import gauges
from dmarcmilter.reasons import text_of

SECONDS: Final = 5.0
"""Seconds to wait for one answer; monitoring systems give up after about ten."""
KNOWN_NAME: Final = "com"
"""Name that each name server is asked for: every resolver finds it from the root on. No TXT record is an answer too."""
LATE_INGEST: Final = 300.0
"""Seconds after which an ingest that has not looked counts as stopped; it looks each second and notes it every ten."""
SILENT_WORKER: Final = 30.0
"""Seconds after which a worker without a heartbeat counts as stuck; a heartbeat comes every two."""


def milter_socket(config: Config) -> CheckResult:
    """Does a filter negotiate on the socket that the MTA uses?"""
    name = "socket"
    try:
        version = milter_probe.negotiate(parse_socket(config.milter.socket), SECONDS)
    except ProbeError as error:
        fix = ": systemctl start dmarcmilter" if error.not_listening else ""
        return CheckResult(name, Health.DOWN, f"{config.milter.socket}: {error}{fix}")
    return CheckResult(name, Health.HEALTHY, f"answers, protocol version {version}")


def workers(config: Config) -> CheckResult:
    """Do all workers serve, by what the metrics endpoint says (if one is configured)?"""
    name, listen = "workers", config.metrics.listen
    if not listen:
        return CheckResult(name, Health.HEALTHY, "not known without [metrics] listen")
    try:
        answer = workers_probe.workers(parse_listen(listen), SECONDS)
    except ProbeError as error:
        other = "" if error.not_listening else " (another program has the address: choose another for [metrics] listen)"
        return CheckResult(name, Health.DEGRADED, f"{listen}: {error}{other}")
    if not answer.serving:
        return CheckResult(name, Health.DOWN, f"none of {answer.wanted} serves")
    if answer.serving < answer.wanted:
        return CheckResult(name, Health.DEGRADED, f"{answer.serving} of {answer.wanted} serve")
    if answer.silence > SILENT_WORKER:
        return CheckResult(name, Health.DEGRADED, f"one has been silent for {answer.silence:.0f} s")
    return CheckResult(name, Health.HEALTHY, f"{answer.serving} of {answer.wanted} serve")


def name_servers(config: Config) -> CheckResult:
    """Does each name server answer? Without any, no message can be evaluated."""
    servers = config.dns.servers() or tuple(system_nameservers())
    silent = [(host, port, reason) for host, port in servers if (reason := _reason_for_silence(host, port))]
    text = ", ".join(f"{host} port {port}: {reason}" for host, port, reason in silent)
    if len(silent) == len(servers):
        return CheckResult("dns", Health.DOWN, f"no name server answers ({text})")
    if silent:
        return CheckResult("dns", Health.DEGRADED, text)
    return CheckResult("dns", Health.HEALTHY, f"{len(servers)} of {len(servers)} name servers answer")


def _reason_for_silence(host: str, port: int) -> str:
    """Why the name server gave no answer; empty: it answered."""
    lookup = MessageLookup(Resolver([(host, port)], timeout=SECONDS), SECONDS, 1)
    try:
        answer = lookup(KNOWN_NAME, "TXT")
    finally:
        lookup.close()
    return text_of(answer.reason) if answer.status is Status.FAILED else ""


def ingest(config: Config) -> CheckResult:
    """Does `history ingest` run, so that the journal gets into the database?"""
    name, state = "ingest", gauges.journal(config.history.journal)
    if state.unread is None:
        return CheckResult(name, Health.DEGRADED, f"{config.history.journal} cannot be read")
    if state.ingest_age is None:
        never = Health.DEGRADED if state.unread else Health.HEALTHY
        return CheckResult(name, never, f"has never run; {megabytes(state.unread)} in the journal")
    unread = f"{megabytes(state.unread)} not taken in"
    if state.ingest_age > LATE_INGEST:
        return CheckResult(name, Health.DEGRADED, f"last looked {state.ingest_age:.0f} s ago, {unread}")
    return CheckResult(name, Health.HEALTHY, f"looked {state.ingest_age:.0f} s ago, {unread}")


def megabytes(count: int) -> str:
    """A number of bytes, for a sentence."""
    return f"{count / 1_048_576:.1f} MiB"
