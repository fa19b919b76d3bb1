"""Checks that the conf fits the MTA: its host name, its chroot, its user and its timeouts."""

import grp
import stat
from ipaddress import ip_address
from pathlib import Path

from dmarcmilter.config import account_rights
from dmarcmilter.config.account_rights import Account
from dmarcmilter.config.endpoint import Socket, parse_socket
from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.config.schema import Config
from dmarcmilter.config_check import postfix_services
from dmarcmilter.config_check.environment import Environment
from dmarcmilter.mail.overlong_lines import MAX_LINE, SPLIT_WIDTHS
from dmarcmilter.policy.rules import QuarantineAction
from dmarcmilter.postfix import socket_access
from dmarcmilter.postfix.postconf import Postfix, Service

POSTFIX_QUEUE = "/var/spool/postfix"
"""Queue directory assumed where postconf is not installed."""
MARGIN = 30.0
"""Seconds that Postfix's milter_content_timeout should exceed the DNS budget by, for the filter's other work."""
HARM = " can fill the journal with invented mail, and stop a worker"
"""What any program that connects to the milter socket can do, because libmilter trusts every packet; ends a message."""


def findings(config: Config, environment: Environment) -> list[Finding]:
    """The findings of the checks that need no connection."""
    return [*_authserv_id(config, environment), *socket_findings(config, environment), *_timeouts(config, environment)]


def _authserv_id(config: Config, environment: Environment) -> list[Finding]:
    """Check that the authserv-id is the name that the MTA gives itself."""
    own = config.identity.authserv_id.lower()
    host = (environment.postfix.hostname if environment.postfix else environment.hostname).lower()
    known = {host} | ({own} if not environment.postfix and own.startswith(host + ".") else set())
    if not own or own in known:
        return []
    name = "Postfix's myhostname" if environment.postfix else "this host's name"
    return [
        warning(
            f"[identity] authserv_id {own} is not {name} {host}: programs that trust results by the MTA's name ignore "
            "ours, and fields forged with that name stay unless remove_authserv_ids has it"
        )
    ]


def socket_findings(config: Config, environment: Environment) -> list[Finding]:
    """Check that the MTA can connect to the milter socket, and that other users cannot."""
    milter_socket = parse_socket(config.milter.socket)
    listens = environment.unit.listens if environment.unit else ()
    if listens and not any(_is_stream(listen, milter_socket) for listen in listens):
        return [_another_socket(config, listens)]
    if milter_socket.family != "unix":
        return _open_port(milter_socket)
    result = [*_chroot(milter_socket, environment), *_folder(milter_socket, environment)]
    if listens:
        return result  # the socket unit decides who may connect
    mode = int(config.milter.socket_mode, 8)
    group = config.milter.socket_group
    if mode & stat.S_IWOTH:
        result.append(warning(f"[milter] socket_mode lets every user of this machine connect: each{HARM}"))
    if not mode & (stat.S_IWGRP | stat.S_IWOTH):
        text = "[milter] socket_mode lets only the filter's own user connect"
        result.append(error(f'{text}, so mail is deferred: set socket_mode = "0660"'))
    elif group and group not in {entry.gr_name for entry in grp.getgrall()}:
        text = f"[milter] socket_group: there is no group {group!r} on this machine"
        result.append(error(f"{text}, so the filter does not start: name the group of the MTA's user"))
    elif not mode & stat.S_IWOTH:
        result += _membership(config, group or _inherited_group(milter_socket), environment)
    return result


def _is_stream(listen: str, milter_socket: Socket) -> bool:
    """Whether a ListenStream= of the socket unit is our socket (systemd.socket(5))."""
    if milter_socket.family == "unix":
        return Path(listen) == Path(milter_socket.path)
    host, _, port = listen.rpartition(":")
    return port == str(milter_socket.port) and host.strip("[]") in {"", milter_socket.host}


def _another_socket(config: Config, listens: tuple[str, ...]) -> Finding:
    """The finding that systemd hands the filter another socket than the conf says."""
    suggestion = f"unix:{listens[-1]}" if listens[-1].startswith("/") else ""
    return error(
        f"[milter] socket is {config.milter.socket}, and dmarcmilter.socket, which is enabled, listens at "
        f"{', '.join(listens)}: the filter listens there only: "
        + (f'set socket = "{suggestion}", or ' if suggestion else "")
        + "systemctl edit dmarcmilter.socket ([Socket], ListenStream= and the path), then restart both units"
    )


def _open_port(milter_socket: Socket) -> list[Finding]:
    """Warn about a port that other machines can reach: the milter protocol has no login, so any client is trusted."""
    if ip_address(milter_socket.host).is_loopback:
        return []
    text = f"[milter] socket is at {milter_socket.host}, which other machines may reach"
    advice = f"let only the MTA reach port {milter_socket.port} (use a firewall)"
    return [warning(f"{text}: {advice}; any other client{HARM}")]


def _chroot(milter_socket: Socket, environment: Environment) -> list[Finding]:
    """Check that a chrooted smtpd, as Debian's is, can reach the socket: only paths in the queue directory."""
    if environment.postfix is None:
        if not Path(POSTFIX_QUEUE).is_dir() or Path(milter_socket.path).is_relative_to(POSTFIX_QUEUE):
            return []
        text = f"[milter] socket is outside {POSTFIX_QUEUE}: a Postfix smtpd that runs chrooted cannot reach it"
        return [warning(text)]
    for postfix in relevant(milter_socket, environment):
        queue = postfix.queue_directory
        shut_out = [service for service in postfix.services if _is_shut_out(service, milter_socket, postfix)]
        if shut_out:
            service = shut_out[0]
            text = f"[milter] socket is outside {queue}: Postfix's {service.name}, which runs chrooted, cannot reach it"
            return [error(f"{text}: {postfix_services.command_to_share(milter_socket, service, postfix)}")]
    return []


def _is_shut_out(service: Service, milter_socket: Socket, postfix: Postfix) -> bool:
    """Whether the chroot of a service keeps it from the socket."""
    is_outside = not Path(milter_socket.path).is_relative_to(postfix.queue_directory)
    # A folder outside of the chroot may be mounted into it as well.
    return service.chrooted and is_outside and not postfix_services.is_named(service, milter_socket, postfix)


def _folder(milter_socket: Socket, environment: Environment) -> list[Finding]:
    """Check that Postfix's user may enter the existing folders above the socket."""
    mta = _mta(milter_socket, environment)
    if mta is None or not account_rights.can_act_as(mta):
        return []
    path = Path(milter_socket.path)
    top = next((postfix.queue_directory for postfix in relevant(milter_socket, environment)), "")
    closed = socket_access.first_closed(path, mta, top=top if path.is_relative_to(top or "/nowhere") else "")
    if closed is None:
        return []
    fix = socket_access.command_to_enter(closed, mta, is_last=closed == path.parent)
    text = (
        f"[milter] socket: Postfix's user {mta.name} may not enter {closed}, so it cannot connect and mail is deferred"
    )
    return [error(f"{text}: {fix}")]


def _mta(milter_socket: Socket, environment: Environment) -> Account | None:
    """The user of the Postfix that connects to the filter."""
    instances = relevant(milter_socket, environment)
    return account_rights.account(instances[0].owner) if instances else None


def _inherited_group(milter_socket: Socket) -> str:
    """Group that the socket inherits from a folder with the set-group-ID bit (inode(7)); empty: no such bit."""
    try:
        folder = Path(milter_socket.path).parent.stat()
        return grp.getgrgid(folder.st_gid).gr_name if folder.st_mode & stat.S_ISGID else ""
    except (OSError, KeyError):
        return ""


def _membership(config: Config, socket_group: str, environment: Environment) -> list[Finding]:
    """Check that the MTA's user is in the socket's group."""
    milter_socket = parse_socket(config.milter.socket)
    mta = _mta(milter_socket, environment)
    group = socket_group or (environment.account.group_name if environment.account else "")
    if mta is None or not group or group in mta.group_names:
        return []
    text = f"[milter] socket_mode lets only the group {group} connect, and Postfix's user {mta.name} is not in it"
    return [error(f"{text}, so mail is deferred: {_command_to_admit(group, mta, milter_socket, environment)}")]


def _command_to_admit(group: str, mta: Account, milter_socket: Socket, environment: Environment) -> str:
    """The command that lets the MTA connect. Never adds it to a group like root or mail, which has further rights."""
    filters_account = environment.account
    command = socket_access.command_to_open(Path(milter_socket.path).parent, mta)
    if filters_account is None or filters_account.uid == 0 or filters_account.gid == 0:
        return command
    if group != filters_account.group_name:
        return command
    return f"usermod -aG {group} {mta.name} && postfix reload, or {command}"


def _timeouts(config: Config, environment: Environment) -> list[Finding]:
    """Check that Postfix and systemd wait longer for the filter than the filter may take."""
    texts = []
    content_timeout = environment.postfix.content_timeout if environment.postfix else None
    if content_timeout is not None and config.dns.message_budget + MARGIN > content_timeout:
        texts.append(
            f"[dns] message_budget ({config.dns.message_budget:g} s) is too close to Postfix's milter_content_timeout "
            f"({content_timeout:g} s): Postfix stops waiting while the filter still waits for DNS"
        )
    stop = environment.unit.stop_seconds if environment.unit else None
    if stop is not None and config.milter.drain_timeout >= stop:
        texts.append(
            f"[milter] drain_timeout ({config.milter.drain_timeout:g} s) is not below the unit's TimeoutStopSec "
            f"({stop:g} s): systemd kills the filter in the middle of messages"
        )
    return [warning(text) for text in texts]


def live_findings(config: Config, environment: Environment) -> list[Finding]:
    """Check that Postfix hands its mail to the filter and can connect, and what it does while the filter is down."""
    milter_socket = parse_socket(config.milter.socket)
    result: list[Finding] = []
    for postfix in relevant(milter_socket, environment):
        result += [
            *postfix_services.findings(config, milter_socket, postfix),
            *_main_settings(postfix),
            *_redirection(config, postfix),
            *_line_limits(postfix),
        ]
    return result or [ok("Postfix: no postconf here, so its settings are not checked")]


def relevant(milter_socket: Socket, environment: Environment) -> list[Postfix]:
    """The instances of Postfix that name our socket; if none does, the main instance, which should."""
    instances = [postfix for postfix in (environment.postfix, *environment.instances) if postfix is not None]
    return [postfix for postfix in instances if postfix_services.names_us(postfix, milter_socket)] or instances[:1]


def _redirection(config: Config, postfix: Postfix) -> list[Finding]:
    """Check that Postfix keeps original recipients; else mail redirected from an alias of the mailbox is deleted."""
    redirects = config.policy.quarantine_action is QuarantineAction.REDIRECT
    if not redirects or postfix.main.get("enable_original_recipient", "yes") != "no":
        return []
    text = "enable_original_recipient = no: quarantined mail to an alias of [quarantine] mailbox vanishes"
    fix = f"{postfix.postconf} -e 'enable_original_recipient = yes' && {postfix.reload}"
    return [error(f"{text}: run {fix}")]


def _line_limits(postfix: Postfix) -> list[Finding]:
    """Check that Postfix splits over-long lines only where the filter expects it when it reads From."""
    expected = {"0", *map(str, SPLIT_WIDTHS)}  # 0: never
    return [
        warning(
            f"{name} = {limit}: Postfix splits a long From field where the filter does not expect it, so readers may "
            f"see another author: run {postfix.postconf} -e '{name} = {MAX_LINE}' && {postfix.reload}"
        )
        for name in ("smtp_line_length_limit", "lmtp_line_length_limit")
        if (limit := postfix.main.get(name, str(MAX_LINE))) not in expected
    ]


def _main_settings(postfix: Postfix) -> list[Finding]:
    """Check the milter settings of main.cf, which apply to all services."""
    fix = f"{postfix.postconf} -e '{{}}' && {postfix.reload}"
    return [
        postfix_services.protocol(
            postfix.protocol, "milter_protocol", fix.format(f"milter_protocol = {postfix_services.PROTOCOL}")
        ),
        postfix_services.default_action(
            postfix.default_action, "milter_default_action", fix.format("milter_default_action = tempfail")
        ),
    ]
