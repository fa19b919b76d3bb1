"""Checks of each service of Postfix: it hands all mail of others to the filter, whole, and no other mail."""

import errno
from ipaddress import ip_address

from dmarcmilter.config import account_rights
from dmarcmilter.config.endpoint import Socket
from dmarcmilter.config.finding import Finding, Severity, error, ok, warning
from dmarcmilter.config.schema import Config
from dmarcmilter.postfix import socket_access
from dmarcmilter.postfix.postconf import (
    MailOrigin,
    Postfix,
    Service,
    leads_to,
    milter_address,
    milter_name,
    milter_option,
    milter_words,
)

PROTOCOL = 6
"""Lowest milter_protocol that the filter works with; Postfix and libmilter have it since 2009.

Older ones drop the space after the colon of header fields, so that signatures with simple canonicalization
(RFC 6376 3.4.1) fail and good mail is refused."""
NO_MILTERS = "no_milters"
"""Word of receive_override_options with which a service uses no milters."""
DEFAULT_ACTIONS = {
    "tempfail": (True, "while the filter is down mail is deferred, and comes again"),
    "accept": (False, "while the filter is down mail is delivered unfiltered, forgeries too"),
    "reject": (False, "while the filter is down good mail is refused for good"),
    "quarantine": (False, "while the filter is down all mail lands in the hold queue"),
    "shutdown": (True, "while the filter is down clients are disconnected, and come again"),
}
"""Values of milter_default_action (postconf(5)): whether it neither loses nor lets through mail, and what it does."""


def is_named(service: Service, milter_socket: Socket, postfix: Postfix) -> bool:
    """Whether the service's smtpd_milters leads to our socket."""
    return any(_leads_to_us(milter, service, milter_socket, postfix) for milter in service.milters)


def _leads_to_us(milter: str, service: Service, milter_socket: Socket, postfix: Postfix) -> bool:
    """Whether a milter's address, as the service sees it, is that of our socket."""
    return leads_to(milter, milter_socket, postfix.queue_directory, chrooted=service.chrooted)


def names_us(postfix: Postfix, milter_socket: Socket) -> bool:
    """Whether any of its services names our socket, or seems to be meant to."""
    all_services = (*postfix.services, *postfix.own)
    return any(
        is_named(service, milter_socket, postfix) or _misspelled(service, milter_socket) for service in all_services
    )


def findings(config: Config, milter_socket: Socket, postfix: Postfix) -> list[Finding]:
    """Check that each service hands the mail of others to the filter, and no other mail."""
    result = [finding for service in postfix.services for finding in _public(config, service, milter_socket, postfix)]
    result += [finding for service in postfix.own for finding in _own(config, service, milter_socket, postfix)]
    result += _non_smtpd(config, milter_socket, postfix)
    if not postfix.services:
        result.append(error("Postfix: no smtpd in master.cf takes mail from others"))
    return result


# --- services for mail from others


def _public(config: Config, service: Service, milter_socket: Socket, postfix: Postfix) -> list[Finding]:
    """Check a service that receives mail from others."""
    if not is_named(service, milter_socket, postfix):
        return [error(_not_named(config, service, milter_socket, postfix))]
    findings = [
        *_bypasses(service, postfix),
        *_connection(service, milter_socket, postfix),
        *_deviations(service, milter_socket, postfix),
    ]
    if findings:
        return findings
    words = [milter_name(word) for word in milter_words(service.settings.get("smtpd_milters", ""))]
    others = [word for word in words if not _leads_to_us(word, service, milter_socket, postfix)]
    note = f" (beside {', '.join(others)}: milters that change messages have to come after ours)" if others else ""
    return [ok(f"Postfix: smtpd_milters of {service.name} names our socket{note}")]


def _not_named(config: Config, service: Service, milter_socket: Socket, postfix: Postfix) -> str:
    """Why the service's mail does not reach our socket, and the command that changes it."""
    address, name = config.milter.socket, service.name
    misspelled = _misspelled(service, milter_socket)
    right = milter_address(milter_socket, postfix.queue_directory, chrooted=service.chrooted)
    if not right:
        text = f"Postfix: {_in_chroot(service, postfix)}, where no path leads to {address}, so mail is not filtered"
        return f"{text}: {command_to_share(milter_socket, service, postfix)}"
    fix = _change(service, "smtpd_milters", _with_ours(service, right, misspelled), postfix)
    if misspelled and service.chrooted:
        path = misspelled.partition(":")[2]
        inner = f"{postfix.queue_directory}/{path.lstrip('/')}"
        return (
            f"Postfix: {_in_chroot(service, postfix)}, so that {misspelled} leads to {inner} and its mail never "
            f"reaches the filter at {address}: {fix}"
        )
    if misspelled:
        return (
            f"Postfix: smtpd_milters of {name} has {misspelled}, which is below {postfix.queue_directory} or another "
            f"path than {address}: its mail never reaches the filter: {fix}"
        )
    now = ", ".join(service.milters) or "nothing"
    return (
        f"Postfix: smtpd_milters of {name} is {now}, not our socket {address}: its mail never reaches the filter: {fix}"
    )


def _in_chroot(service: Service, postfix: Postfix) -> str:
    """The start of a message about a service that cannot see our socket."""
    return f"{service.name} runs in a chroot in {postfix.queue_directory}"


def command_to_share(milter_socket: Socket, service: Service, postfix: Postfix) -> str:
    """The commands that bring the socket into the chroot, or the service out of it."""
    name = milter_socket.path.rpartition("/")[2]
    queue = postfix.queue_directory
    return (
        f'set [milter] socket = "unix:{queue}/dmarcmilter/{name}" and {postfix.postconf} -e '
        f"'smtpd_milters = unix:dmarcmilter/{name}', or run it outside of the chroot: {postfix.postconf} -F "
        f"'{service.name}/chroot=n' && {postfix.reload}"
    )


def _misspelled(service: Service, milter_socket: Socket) -> str:
    """The entry that has our socket's name but leads elsewhere, as a path outside of the chroot does; empty: none."""
    if milter_socket.family != "unix":
        return ""
    name = milter_socket.path.rpartition("/")[2]
    paths = [milter for milter in service.milters if milter.startswith("unix:")]
    same_name = [milter for milter in paths if milter.rpartition("/")[2].endswith(name)]
    same_path = [milter for milter in same_name if milter.partition(":")[2] == milter_socket.path]
    return next(iter((*same_path, *same_name)), "")


def _with_ours(service: Service, right: str, misspelled: str) -> str:
    """The service's smtpd_milters with our socket, in place of the misspelled entry if there is one."""
    words = list(milter_words(service.settings.get("smtpd_milters", ""))) or list(service.milters)
    for index, word in enumerate(words):
        if misspelled and milter_name(word) == misspelled:
            words[index] = word.replace(misspelled, right)
            return ",".join(words)
    return ",".join([*words, right])


def _change(service: Service, name: str, value: str, postfix: Postfix) -> str:
    """The command that sets a parameter of the service: in master.cf if it is set there, else in main.cf."""
    if name not in service.overridden:
        return f"{postfix.postconf} -e '{name} = {value}' && {postfix.reload}"
    return _override(service, name, value, postfix)


def _override(service: Service, name: str, value: str, postfix: Postfix) -> str:
    """The command that sets a parameter of the service in master.cf."""
    return f"{postfix.postconf} -P '{service.name}/{name}={value}' && {postfix.reload}"


def _bypasses(service: Service, postfix: Postfix) -> list[Finding]:
    """Check for settings because of which a service that names our socket still does not hand us all its mail."""
    findings = []
    if proxy := service.settings.get("smtpd_proxy_filter", ""):
        fix = _change(service, "smtpd_proxy_filter", "", postfix)
        findings.append(
            error(
                f"Postfix: {service.name} hands its mail to smtpd_proxy_filter {proxy}: milters then see neither "
                f"header nor body (MILTER_README), so it is unfiltered: {fix}, and use content_filter for {proxy}"
            )
        )
    options = service.settings.get("receive_override_options", "").replace(",", " ").split()
    if NO_MILTERS in options:
        rest = ",".join(option for option in options if option != NO_MILTERS)
        fix = _change(service, "receive_override_options", rest, postfix)
        findings.append(
            error(
                f"Postfix: receive_override_options of {service.name} has no_milters, so its mail is unfiltered: {fix}"
            )
        )
    if maps := service.settings.get("smtpd_milter_maps", ""):
        findings.append(
            warning(
                f"Postfix: smtpd_milter_maps ({maps}) replaces smtpd_milters for some clients of {service.name}: "
                f"mail of those with DISABLE there, or without our socket, is unfiltered"
            )
        )
    return findings


def _connection(service: Service, milter_socket: Socket, postfix: Postfix) -> list[Finding]:
    """Check that the service can connect, with Postfix's rights if this process may take them."""
    milter = next(milter for milter in service.milters if _leads_to_us(milter, service, milter_socket, postfix))
    account = account_rights.account(postfix.owner)
    problem = socket_access.connect_as(account, milter, service, postfix)
    if account is None or problem in {0, socket_access.CANNOT_TRY, errno.ENOENT, errno.ECONNREFUSED}:
        return []  # running_filter reports that no program listens
    fate = _fate_without_filter(service)
    text = f"Postfix: {service.name} cannot connect to {milter} as user {account.name}, so its mail is {fate}"
    if problem in {errno.EACCES, errno.EPERM}:
        return [error(f"{text}: {socket_access.why_refused(account, milter, service, postfix)}")]
    return [error(f"{text}: {errno.errorcode.get(problem, problem)}")]


def _fate_without_filter(service: Service) -> str:
    """What becomes of the service's mail while it cannot reach the filter."""
    action = _first_word(service.settings.get("milter_default_action", ""))
    return {"accept": "delivered unfiltered", "reject": "refused", "quarantine": "put on hold"}.get(action, "deferred")


def _first_word(text: str) -> str:
    """The action in a value of milter_default_action; by default Postfix's own default."""
    return text.split(maxsplit=1)[0].lower() if text.split() else "tempfail"


def _deviations(service: Service, milter_socket: Socket, postfix: Postfix) -> list[Finding]:
    """Check what the entry for our socket, or master.cf, sets differently from main.cf, which has its own check."""
    words = milter_words(service.settings.get("smtpd_milters", ""))
    ours = next((word for word in words if _leads_to_us(milter_name(word), service, milter_socket, postfix)), "")
    findings: list[Finding] = []
    for parameter, option in (("milter_default_action", "default_action"), ("milter_protocol", "protocol")):
        value = milter_option(ours, option)
        place = f"{option} of our entry in smtpd_milters of {service.name}"
        if not value and parameter in service.overridden:
            value, place = service.settings[parameter], f"{parameter} of {service.name}"
        if value:
            fix = _change(service, "smtpd_milters", milter_name(ours), postfix)
            if not milter_option(ours, option):
                fix = f"{postfix.postconf} -PX '{service.name}/{parameter}' && {postfix.reload}"
            findings.append(
                default_action(value, place, fix) if option == "default_action" else protocol(value, place, fix)
            )
    return [finding for finding in findings if finding.severity is not Severity.OK]


def protocol(value: str, place: str, fix: str) -> Finding:
    """The finding on a milter_protocol that is set at `place`; `fix`: the command that changes it."""
    version = value.split()[:1]
    if version and version[0].isdigit() and int(version[0]) >= PROTOCOL:
        return ok(f"Postfix: {place} is {version[0]}")
    return error(f"Postfix: {place} is {value or 'empty'}; the filter needs {PROTOCOL}, else DKIM fails: {fix}")


def default_action(value: str, place: str, fix: str) -> Finding:
    """The finding on a milter_default_action that is set at `place`; `fix`: the command that changes it."""
    action = _first_word(value)
    is_good, meaning = DEFAULT_ACTIONS.get(action, (False, "not an action that is known here"))
    text = f"Postfix: {place} is {action}: {meaning}"
    return ok(text) if is_good else warning(f"{text}: {fix}")


# --- services for other mail


def _own(config: Config, service: Service, milter_socket: Socket, postfix: Postfix) -> list[Finding]:
    """Check that a service for own users or a content filter does not inherit our socket from main.cf."""
    if not is_named(service, milter_socket, postfix):
        return []
    rest = ",".join(
        word
        for word in milter_words(service.settings.get("smtpd_milters", ""))
        if not _leads_to_us(milter_name(word), service, milter_socket, postfix)
    )
    fix = _override(service, "smtpd_milters", rest, postfix)
    if service.kind is MailOrigin.SUBMISSION:
        text = f"Postfix: {service.name} hands the filter the mail of your own users"
        if config.ignore.authenticated:
            return [
                warning(f"{text}; those who log in are not evaluated, but deferred while the filter is down: {fix}")
            ]
        return [error(f"{text}, which is evaluated like mail of others, as [ignore] authenticated is false: {fix}")]
    text = f"Postfix: {service.name}, where a content filter hands mail back, names our socket, too"
    return [_mail_from_loopback(config, text, fix)]


def _non_smtpd(config: Config, milter_socket: Socket, postfix: Postfix) -> list[Finding]:
    """Check that non_smtpd_milters, for mail of programs on this machine, does not name our socket."""
    words = milter_words(postfix.main.get("non_smtpd_milters", ""))

    def ours(word: str) -> bool:
        # cleanup(8) uses it, which may be chrooted or not.
        milter, queue = milter_name(word), postfix.queue_directory
        return any(leads_to(milter, milter_socket, queue, chrooted=chrooted) for chrooted in (True, False))

    if not any(map(ours, words)):
        return []
    rest = ",".join(word for word in words if not ours(word))
    fix = f"{postfix.postconf} -e 'non_smtpd_milters = {rest}' && {postfix.reload}"
    return [
        _mail_from_loopback(config, "Postfix: non_smtpd_milters has our socket: mail of this machine's programs", fix)
    ]


def _mail_from_loopback(config: Config, text: str, fix: str) -> Finding:
    """The finding on mail of others that Postfix hands to the filter as if it came from 127.0.0.1."""
    if any(ip_address("127.0.0.1") in network for network in config.ignore.parsed()):
        return warning(f"{text}; it is left alone, as [ignore] networks has 127.0.0.1: {fix}")
    return error(
        f"{text}; it is evaluated with the client address 127.0.0.1, so SPF fails and good mail is refused: {fix}"
    )
