"""Whether the conf fits the MTA in front: its name, its chroot, its user, how long it waits."""

import grp
import stat
from ipaddress import ip_address
from pathlib import Path

from dmarcmilter.advice import accounts
from dmarcmilter.advice.finding import Finding, ok, warning
from dmarcmilter.advice.postfix import Postfix, Service, names
from dmarcmilter.advice.scene import Scene
from dmarcmilter.endpoint import Socket, parse_socket
from dmarcmilter.settings import Config

POSTFIX_QUEUE = "/var/spool/postfix"
"""Where there is no postconf to ask."""
PROTOCOL = 6
"""Of Postfix and libmilter since 2009; older ones cannot replace header fields as we do."""
MARGIN = 30.0
"""Seconds left to the filter's own work, of those that the MTA waits at the end of a message."""
DEFAULT_ACTIONS = {
    "tempfail": (True, "while the filter is down mail is deferred, and comes again"),
    "accept": (False, "while the filter is down mail is delivered unjudged, forgeries too"),
    "reject": (False, "while the filter is down good mail is refused for good"),
    "quarantine": (False, "while the filter is down all mail lands in the hold queue"),
    "shutdown": (True, "while the filter is down clients are disconnected, and come again"),
}
"""Of milter_default_action (postconf(5)): whether no mail is lost or let through by it, and what happens."""


UNASKED = " can fill the journal with mail that never was, and stop a worker"
"""What a stranger at the milter socket can do: libmilter trusts the MTA's packets."""


def judge(config: Config, scene: Scene) -> list[Finding]:
    return [*_authserv_id(config, scene), *_socket(config, scene), *_patience(config, scene)]


def _authserv_id(config: Config, scene: Scene) -> list[Finding]:
    mine = config.identity.authserv_id.lower()
    host = (scene.postfix.hostname if scene.postfix else scene.hostname).lower()
    known = {host} | ({mine} if not scene.postfix and mine.startswith(host + ".") else set())
    if not mine or mine in known:
        return []
    who = "Postfix's myhostname" if scene.postfix else "this host's name"
    return [
        warning(
            f"[identity] authserv_id {mine} is not {who} {host}: whoever trusts results by the MTA's name does not "
            "believe ours, and fields forged with that name stay unless remove_authserv_ids has it"
        )
    ]


def _socket(config: Config, scene: Scene) -> list[Finding]:
    where = parse_socket(config.milter.socket)
    if where.family != "unix":
        return _open_port(where)
    found = _chroot(where, scene.postfix)
    mode = int(config.milter.socket_mode, 8)
    wanted = config.milter.socket_group
    if mode & stat.S_IWOTH:
        found.append(f"[milter] socket_mode lets every user of this machine connect{UNASKED}")
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        found.append("[milter] socket_mode lets nobody but the filter's own user connect")
    elif wanted and wanted not in {entry.gr_name for entry in grp.getgrall()}:
        found.append(f"[milter] socket_group: there is no group {wanted!r} on this machine")
    elif not mode & stat.S_IWOTH:
        found += _membership(wanted or _inherited_group(where), scene)
    return [warning(text) for text in found]


def _open_port(where: Socket) -> list[Finding]:
    """The protocol has no login: whoever connects is taken for the MTA."""
    if ip_address(where.host).is_loopback:
        return []
    text = f"[milter] socket is at {where.host} and not on this machine alone: only the MTA may reach port {where.port}"
    return [warning(f"{text} (a firewall's work), for whoever else connects{UNASKED}")]


def _chroot(where: Socket, postfix: Postfix | None) -> list[str]:
    """Debian's smtpd runs in a chroot, where a path outside of the queue directory leads to nothing."""
    if postfix is None:
        services, queue = [], POSTFIX_QUEUE if Path(POSTFIX_QUEUE).is_dir() else ""
    else:
        services, queue = [one.name for one in postfix.services if one.chrooted], postfix.queue_directory
        queue = queue if services else ""
    if not queue or Path(where.path).is_relative_to(queue):
        return []
    which = f"Postfix's {services[0]}, which runs chrooted," if services else "a Postfix smtpd that runs chrooted"
    return [f"[milter] socket is outside {queue}: {which} cannot reach it"]


def _inherited_group(where: Socket) -> str:
    """A socket gets the group of its folder where that has the set-group-ID bit (inode(7)); empty: it has not."""
    try:
        folder = Path(where.path).parent.stat()
        return grp.getgrgid(folder.st_gid).gr_name if folder.st_mode & stat.S_ISGID else ""
    except (OSError, KeyError):
        return ""


def _membership(wanted: str, scene: Scene) -> list[str]:
    """Whether the MTA's user is in the socket's group."""
    mta = accounts.account(scene.postfix.owner) if scene.postfix else None
    group = wanted or (scene.account.group_name if scene.account else "")
    if mta is None or not group or group in mta.group_names:
        return []
    text = f"[milter] socket_mode lets only the group {group} connect, and Postfix's user {mta.name} is not in it"
    return [f"{text}: usermod -aG {group} {mta.name}, or set socket_group to a group of {mta.name}"]


def _patience(config: Config, scene: Scene) -> list[Finding]:
    found = []
    patience = scene.postfix.content_timeout if scene.postfix else None
    if patience is not None and config.dns.message_budget + MARGIN > patience:
        found.append(
            f"[dns] message_budget ({config.dns.message_budget:g} s) is too near to Postfix's milter_content_timeout "
            f"({patience:g} s): Postfix gives the filter up while it still waits for DNS"
        )
    stop = scene.unit.stop_seconds if scene.unit else None
    if stop is not None and config.milter.drain_timeout >= stop:
        found.append(
            f"[milter] drain_timeout ({config.milter.drain_timeout:g} s) is not below the unit's TimeoutStopSec "
            f"({stop:g} s): systemd kills the filter in the middle of messages"
        )
    return [warning(text) for text in found]


def judge_live(config: Config, scene: Scene) -> list[Finding]:
    """Whether Postfix hands its mail to us, and what it does without us."""
    postfix = scene.postfix
    if postfix is None:
        return [ok("Postfix: no postconf here, its side is not checked")]
    return [*_named(config, postfix), *_protocol(postfix), _default_action(postfix)]


def _named(config: Config, postfix: Postfix) -> list[Finding]:
    where = parse_socket(config.milter.socket)
    found = []
    for service in postfix.services:
        if _names_us(service, where, postfix):
            found.append(ok(f"Postfix: smtpd_milters of {service.name} names our socket"))
        else:
            now = ", ".join(service.milters) or "nothing"
            found.append(
                warning(
                    f"Postfix: smtpd_milters of {service.name} is {now}, not our socket {config.milter.socket}: "
                    "its mail never reaches the filter"
                )
            )
    return found or [warning("Postfix: no smtpd in master.cf takes mail from others")]


def _names_us(service: Service, where: Socket, postfix: Postfix) -> bool:
    return any(names(one, where, postfix.queue_directory, chrooted=service.chrooted) for one in service.milters)


def _protocol(postfix: Postfix) -> list[Finding]:
    version = postfix.protocol.split()[:1]
    if version and version[0].isdigit() and int(version[0]) >= PROTOCOL:
        return [ok(f"Postfix: milter_protocol is {version[0]}")]
    return [warning(f"Postfix: milter_protocol is {postfix.protocol or 'empty'}; the filter needs {PROTOCOL}")]


def _default_action(postfix: Postfix) -> Finding:
    word = postfix.default_action.split()[0] if postfix.default_action else "tempfail"
    good, meaning = DEFAULT_ACTIONS.get(word, (False, "not a word that is known here"))
    text = f"Postfix: milter_default_action is {word}: {meaning}"
    return ok(text) if good else warning(text)
