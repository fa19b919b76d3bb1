"""Does the conf fit the MTA: its host name, its chroot, its user, its timeouts?"""

import grp
import stat
from ipaddress import ip_address
from pathlib import Path

from dmarcmilter.config.endpoint import Socket, parse_socket
from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.policy.types import QuarantineAction
from dmarcmilter.postfix import accounts, services, socket_access
from dmarcmilter.postfix.accounts import Account
from dmarcmilter.postfix.postconf import Postfix, Service

POSTFIX_QUEUE = "/var/spool/postfix"
"""Queue directory assumed where postconf is not installed."""
MARGIN = 30.0
"""Seconds for the filter's own work, out of those that the MTA waits at the end of a message."""
UNASKED = " can fill the journal with mail that never was, and stop a worker"
"""The harm that any program can do at the milter socket: libmilter trusts every packet."""


def findings(config: Config, environment: Environment) -> list[Finding]:
    return [*_authserv_id(config, environment), *socket_findings(config, environment), *_patience(config, environment)]


def _authserv_id(config: Config, environment: Environment) -> list[Finding]:
    mine = config.identity.authserv_id.lower()
    host = (environment.postfix.hostname if environment.postfix else environment.hostname).lower()
    known = {host} | ({mine} if not environment.postfix and mine.startswith(host + ".") else set())
    if not mine or mine in known:
        return []
    who = "Postfix's myhostname" if environment.postfix else "this host's name"
    return [
        warning(
            f"[identity] authserv_id {mine} is not {who} {host}: programs that trust results by the MTA's name ignore "
            "ours, and fields forged with that name stay unless remove_authserv_ids has it"
        )
    ]


def socket_findings(config: Config, environment: Environment) -> list[Finding]:
    """Can the MTA connect to the milter socket, and no other user?"""
    where = parse_socket(config.milter.socket)
    listens = environment.unit.listens if environment.unit else ()
    if listens and not any(_is_stream(one, where) for one in listens):
        return [_another_socket(config, listens)]
    if where.family != "unix":
        return _open_port(where)
    found = [*_chroot(where, environment), *_folder(where, environment)]
    if listens:
        return found  # the socket unit decides who may connect
    mode = int(config.milter.socket_mode, 8)
    wanted = config.milter.socket_group
    if mode & stat.S_IWOTH:
        found.append(warning(f"[milter] socket_mode lets every user of this machine connect: each{UNASKED}"))
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        text = "[milter] socket_mode lets only the filter's own user connect"
        found.append(error(f'{text}, so mail is deferred: set socket_mode = "0660"'))
    elif wanted and wanted not in {entry.gr_name for entry in grp.getgrall()}:
        text = f"[milter] socket_group: there is no group {wanted!r} on this machine"
        found.append(error(f"{text}, so the filter does not start: name the group of the MTA's user"))
    elif not mode & stat.S_IWOTH:
        found += _membership(config, wanted or _inherited_group(where), environment)
    return found


def _is_stream(listen: str, where: Socket) -> bool:
    """Whether that ListenStream= of the socket unit is our socket (systemd.socket(5))."""
    if where.family == "unix":
        return Path(listen) == Path(where.path)
    host, _, port = listen.rpartition(":")
    return port == str(where.port) and host.strip("[]") in {"", where.host}


def _another_socket(config: Config, listens: tuple[str, ...]) -> Finding:
    own = f"unix:{listens[-1]}" if listens[-1].startswith("/") else ""
    return error(
        f"[milter] socket is {config.milter.socket}, and dmarcmilter.socket, which is enabled, listens at "
        f"{', '.join(listens)}: the filter listens there only: "
        + (f'set socket = "{own}", or ' if own else "")
        + "systemctl edit dmarcmilter.socket ([Socket], ListenStream= and the path), then restart both units"
    )


def _open_port(where: Socket) -> list[Finding]:
    """The milter protocol has no login: every client is taken for the MTA."""
    if ip_address(where.host).is_loopback:
        return []
    text = f"[milter] socket is at {where.host} and not on this machine alone: only the MTA may reach port {where.port}"
    return [warning(f"{text} (use a firewall); any other client{UNASKED}")]


def _chroot(where: Socket, environment: Environment) -> list[Finding]:
    """Debian's smtpd runs in a chroot, from where it cannot reach a path outside of the queue directory."""
    if environment.postfix is None:
        if not Path(POSTFIX_QUEUE).is_dir() or Path(where.path).is_relative_to(POSTFIX_QUEUE):
            return []
        text = f"[milter] socket is outside {POSTFIX_QUEUE}: a Postfix smtpd that runs chrooted cannot reach it"
        return [warning(text)]
    for postfix in relevant(where, environment):
        queue = postfix.queue_directory
        closed = [one for one in postfix.services if _is_shut_out(one, where, postfix)]
        if closed:
            text = (
                f"[milter] socket is outside {queue}: Postfix's {closed[0].name}, which runs chrooted, cannot reach it"
            )
            return [error(f"{text}: {services.inside(where, closed[0], postfix)}")]
    return []


def _is_shut_out(service: Service, where: Socket, postfix: Postfix) -> bool:
    is_outside = not Path(where.path).is_relative_to(postfix.queue_directory)
    # A folder may be mounted into the chroot as well.
    return service.chrooted and is_outside and not services.is_named(service, where, postfix)


def _folder(where: Socket, environment: Environment) -> list[Finding]:
    """May Postfix's user enter the folders above the socket, as far as they exist?"""
    mta = _mta(where, environment)
    if mta is None or not accounts.can_act_as(mta):
        return []
    path = Path(where.path)
    top = next((one.queue_directory for one in relevant(where, environment)), "")
    closed = socket_access.first_closed(path, mta, top=top if path.is_relative_to(top or "/nowhere") else "")
    if closed is None:
        return []
    fix = socket_access.entering(closed, mta, is_last=closed == path.parent)
    text = (
        f"[milter] socket: Postfix's user {mta.name} may not enter {closed}, so it cannot connect and mail is deferred"
    )
    return [error(f"{text}: {fix}")]


def _mta(where: Socket, environment: Environment) -> Account | None:
    """The user of the Postfix that connects to the filter."""
    instances = relevant(where, environment)
    return accounts.account(instances[0].owner) if instances else None


def _inherited_group(where: Socket) -> str:
    """Group that the socket inherits from a folder with the set-group-ID bit (inode(7)); empty: no such bit."""
    try:
        folder = Path(where.path).parent.stat()
        return grp.getgrgid(folder.st_gid).gr_name if folder.st_mode & stat.S_ISGID else ""
    except (OSError, KeyError):
        return ""


def _membership(config: Config, wanted: str, environment: Environment) -> list[Finding]:
    """Is the MTA's user in the socket's group?"""
    where = parse_socket(config.milter.socket)
    mta = _mta(where, environment)
    group = wanted or (environment.account.group_name if environment.account else "")
    if mta is None or not group or group in mta.group_names:
        return []
    text = f"[milter] socket_mode lets only the group {group} connect, and Postfix's user {mta.name} is not in it"
    return [error(f"{text}, so mail is deferred: {_joining(group, mta, where, environment)}")]


def _joining(group: str, mta: Account, where: Socket, environment: Environment) -> str:
    """The command that lets the MTA connect. It never adds the MTA to a group like root or mail, which gives more."""
    own = environment.account
    opened = socket_access.opening(Path(where.path).parent, mta)
    if own is not None and own.uid != 0 and own.gid != 0 and group == own.group_name:
        return f"usermod -aG {group} {mta.name} && postfix reload, or {opened}"
    return opened


def _patience(config: Config, environment: Environment) -> list[Finding]:
    found = []
    patience = environment.postfix.content_timeout if environment.postfix else None
    if patience is not None and config.dns.message_budget + MARGIN > patience:
        found.append(
            f"[dns] message_budget ({config.dns.message_budget:g} s) is too close to Postfix's milter_content_timeout "
            f"({patience:g} s): Postfix stops waiting while the filter still waits for DNS"
        )
    stop = environment.unit.stop_seconds if environment.unit else None
    if stop is not None and config.milter.drain_timeout >= stop:
        found.append(
            f"[milter] drain_timeout ({config.milter.drain_timeout:g} s) is not below the unit's TimeoutStopSec "
            f"({stop:g} s): systemd kills the filter in the middle of messages"
        )
    return [warning(text) for text in found]


def live_findings(config: Config, environment: Environment) -> list[Finding]:
    """Does Postfix hand its mail to the filter, can it connect, and what does it do while the filter is down?"""
    where = parse_socket(config.milter.socket)
    found: list[Finding] = []
    for postfix in relevant(where, environment):
        found += [*services.findings(config, where, postfix), *_common(postfix), *_redirection(config, postfix)]
    return found or [ok("Postfix: no postconf here, its side is not checked")]


def relevant(where: Socket, environment: Environment) -> list[Postfix]:
    """The instances of Postfix that name our socket; if none does, the main one, which should."""
    instances = [postfix for postfix in (environment.postfix, *environment.instances) if postfix is not None]
    return [postfix for postfix in instances if services.names_us(postfix, where)] or instances[:1]


def _redirection(config: Config, postfix: Postfix) -> list[Finding]:
    """Without original recipients Postfix treats an alias of the mailbox as the mailbox, and deletes both as one."""
    is_used = config.policy.quarantine_action is QuarantineAction.REDIRECT
    if not is_used or postfix.main.get("enable_original_recipient", "yes") != "no":
        return []
    text = "enable_original_recipient = no: quarantined mail to an alias of [quarantine] mailbox vanishes"
    fix = f"{postfix.postconf} -e 'enable_original_recipient = yes' && {postfix.reload}"
    return [error(f"{text}: run {fix}")]


def _common(postfix: Postfix) -> list[Finding]:
    fix = f"{postfix.postconf} -e '{{}}' && {postfix.reload}"
    return [
        services.protocol(postfix.protocol, "milter_protocol", fix.format(f"milter_protocol = {services.PROTOCOL}")),
        services.default_action(
            postfix.default_action, "milter_default_action", fix.format("milter_default_action = tempfail")
        ),
    ]
