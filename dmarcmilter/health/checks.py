"""The checks. Each is bounded in time, changes nothing, and says in words what an operator can do something about."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from dmarcmilter.config.endpoint import parse_listen, parse_socket
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import Severity, files
from dmarcmilter.config_check import mta as advice_mta
from dmarcmilter.config_check.environment import Scene
from dmarcmilter.config_check.finding import Finding as Advice
from dmarcmilter.dns import MessageLookup, Resolver, system_nameservers
from dmarcmilter.dns.lookup import Status
from dmarcmilter.health import milter_probe, probe
from dmarcmilter.health.finding import Finding, Health
from dmarcmilter.health.milter_probe import ProbeError
from dmarcmilter.metrics import gauges
from dmarcmilter.postfix import accounts, postconf, services
from dmarcmilter.postfix.accounts import acting_as
from dmarcmilter.postfix.socket_access import first_closed

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


def milter_socket(config: Config, _scene: Scene | None = None) -> Finding:
    """A filter negotiates on the socket that the MTA uses."""
    name = "socket"
    try:
        version = milter_probe.negotiate(parse_socket(config.milter.socket), SECONDS)
    except ProbeError as error:
        fix = ": systemctl start dmarcmilter" if error.not_listening else ""
        return Finding(name, Health.DOWN, f"{config.milter.socket}: {error}{fix}")
    return Finding(name, Health.HEALTHY, f"answers, protocol version {version}")


def workers(config: Config, _scene: Scene | None = None) -> Finding:
    """As many workers as there should be, all alive: asked of the metrics endpoint, if there is one."""
    name, listen = "workers", config.metrics.listen
    if not listen:
        return Finding(name, Health.HEALTHY, "not known without [metrics] listen")
    try:
        found = probe.workers(parse_listen(listen), SECONDS)
    except ProbeError as error:
        other = "" if error.not_listening else " (another program has the address: choose another for [metrics] listen)"
        return Finding(name, Health.DEGRADED, f"{listen}: {error}{other}")
    if not found.serving:
        return Finding(name, Health.DOWN, f"none of {found.wanted} serves")
    if found.serving < found.wanted:
        return Finding(name, Health.DEGRADED, f"{found.serving} of {found.wanted} serve")
    if found.silence > SILENT_WORKER:
        return Finding(name, Health.DEGRADED, f"one has been silent for {found.silence:.0f} s")
    return Finding(name, Health.HEALTHY, f"{found.serving} of {found.wanted} serve")


def name_servers(config: Config, _scene: Scene | None = None) -> Finding:
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


def journal(config: Config, scene: Scene) -> Finding:
    """Outcomes can be written by the filter's user. When they cannot, mail flows on and they stand in the log."""
    name, directory = "journal", Path(config.history.journal)
    with acting_as(scene.account):
        if not os.path.lexists(directory):  # made with the first outcome
            directory = directory.parent
        is_folder = os.path.isdir(directory)  # noqa: PTH112  raises nothing for a folder that may not be entered
        writable = os.access(directory, os.W_OK | os.X_OK, effective_ids=True)
    if not is_folder and not first_closed(directory, scene.account):
        return Finding(name, Health.DEGRADED, f"{directory}: no such directory")
    if not is_folder or not writable:
        return Finding(name, Health.DEGRADED, f"{directory}: not writable for {_who_and_how(config, scene)}")
    free = gauges.journal(str(directory)).free
    if free is None or free < LITTLE_ROOM:
        return Finding(name, Health.DEGRADED, f"{directory}: {_megabytes(free or 0)} of room left")
    return Finding(name, Health.HEALTHY, f"writable, {_megabytes(free)} of room")


def _who_and_how(config: Config, scene: Scene) -> str:
    """Whose rights were tried, and what fixes it; other users only see that they may not."""
    if scene.account is None and os.geteuid() != 0:
        return "the user who asks: ask as root or as the filter's user"
    return f"{scene.who}, so outcomes are lost: {files.making_writable(config.history.journal, scene)}"


def filters_files(config: Config, scene: Scene) -> Finding:
    """The filter's user can use what the conf names: the conf itself, keys, lists, folders, the database."""
    name = "files"
    if scene.account is None and os.geteuid() == 0:
        return Finding(name, Health.HEALTHY, "not tried: no user of the filter is known here, name one with --user")
    if scene.account is None or not accounts.can_act_as(scene.account):
        return Finding(name, Health.HEALTHY, "not tried: ask as root")
    found = [*(files.conf_readable(scene.conf, scene) if scene.conf else ()), *files.judge(config, scene)]
    # The journal and the milter socket have checks of their own.
    return _worst_of(
        name, Health.DEGRADED, [one for one in found if not one.text.startswith("[history] journal")], "usable"
    )


def mta(config: Config, scene: Scene) -> Finding:
    """Postfix hands all the mail of others to the filter, and can reach it."""
    name, where = "mta", parse_socket(config.milter.socket)
    if scene.postfix is None:
        return Finding(name, Health.HEALTHY, "no Postfix here")
    named = any(services.names_us(one, where) for one in (scene.postfix, *scene.instances))
    # A Postfix that was named by who asks counts in any case.
    if not named and not scene.postfix.directory and not postconf.is_running(scene.postfix):
        return Finding(name, Health.HEALTHY, "Postfix does not run here")
    found = [*advice_mta.socket(config, scene), *advice_mta.judge_live(config, scene)]
    return _worst_of(name, Health.DOWN, found, "Postfix hands its mail to the filter")


def _worst_of(name: str, health: Health, found: Sequence[Advice], fine: str) -> Finding:
    """The errors among them: the first, and how many more there are."""
    errors = list(dict.fromkeys(one.text for one in found if one.severity is Severity.ERROR))
    if not errors:
        return Finding(name, Health.HEALTHY, fine)
    more = f" (and {len(errors) - 1} more: dmarcmilter config check --live)" if errors[1:] else ""
    return Finding(name, health, errors[0] + more)


def ingest(config: Config, _scene: Scene | None = None) -> Finding:
    """What is in the journal gets into the database."""
    name, state = "ingest", gauges.journal(config.history.journal)
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


CHECKS: Final[dict[str, Callable[[Config, Scene], Finding]]] = {
    "socket": milter_socket,
    "workers": workers,
    "dns": name_servers,
    "journal": journal,
    "ingest": ingest,
    "files": filters_files,
    "mta": mta,
}


def run(config: Config, scene: Scene, *, skip: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """All but those to be skipped."""
    for name, check in CHECKS.items():
        if name not in skip:
            yield check(config, scene)
