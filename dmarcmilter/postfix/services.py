"""Postfix's services one by one: does the mail of others reach the filter whole, and only that?"""

import errno
from ipaddress import ip_address

from dmarcmilter.config.endpoint import Socket
from dmarcmilter.config.finding import Finding, error, ok, warning
from dmarcmilter.config.schema import Config
from dmarcmilter.postfix import accounts, socket_access
from dmarcmilter.postfix.postconf import (
    Kind,
    Postfix,
    Service,
    milter_name,
    milter_option,
    milter_words,
    names,
    spelled,
)

PROTOCOL = 6
"""milter_protocol of Postfix and libmilter since 2009. With an older one header fields come without the space behind
their colon, so that signatures over them as they are (RFC 6376 3.4.1) fail and good mail is refused."""
NO_MILTERS = "no_milters"
DEFAULT_ACTIONS = {
    "tempfail": (True, "while the filter is down mail is deferred, and comes again"),
    "accept": (False, "while the filter is down mail is delivered unfiltered, forgeries too"),
    "reject": (False, "while the filter is down good mail is refused for good"),
    "quarantine": (False, "while the filter is down all mail lands in the hold queue"),
    "shutdown": (True, "while the filter is down clients are disconnected, and come again"),
}
"""Of milter_default_action (postconf(5)): whether no mail is lost or let through by it, and what happens."""


def is_named(service: Service, where: Socket, postfix: Postfix) -> bool:
    """Whether the service's smtpd_milters leads to our socket."""
    return any(_leads(one, service, where, postfix) for one in service.milters)


def _leads(milter: str, service: Service, where: Socket, postfix: Postfix) -> bool:
    return names(milter, where, postfix.queue_directory, chrooted=service.chrooted)


def names_us(postfix: Postfix, where: Socket) -> bool:
    """Whether any of its services does, or seems to be meant to."""
    return any(is_named(one, where, postfix) or _meant(one, where) for one in (*postfix.services, *postfix.own))


def findings(config: Config, where: Socket, postfix: Postfix) -> list[Finding]:
    """Does each service hand the mail of others, and only that, to the filter?"""
    result = [finding for service in postfix.services for finding in _public(config, service, where, postfix)]
    result += [finding for service in postfix.own for finding in _own(config, service, where, postfix)]
    result += _not_by_smtp(config, where, postfix)
    if not postfix.services:
        result.append(error("Postfix: no smtpd in master.cf takes mail from others"))
    return result


# --- services for mail from others


def _public(config: Config, service: Service, where: Socket, postfix: Postfix) -> list[Finding]:
    if not is_named(service, where, postfix):
        return [error(_not_named(config, service, where, postfix))]
    findings = [*_kept_away(service, postfix), *_reached(service, where, postfix), *_settings(service, where, postfix)]
    if any(one.severity is not ok("").severity for one in findings):
        return findings
    words = [milter_name(word) for word in milter_words(service.settings.get("smtpd_milters", ""))]
    before = [word for word in words if not _leads(word, service, where, postfix)]
    place = f" (beside {', '.join(before)}: what changes messages has to stand after ours)" if before else ""
    return [*findings, ok(f"Postfix: smtpd_milters of {service.name} names our socket{place}")]


def _not_named(config: Config, service: Service, where: Socket, postfix: Postfix) -> str:
    address, name = config.milter.socket, service.name
    meant = _meant(service, where)
    right = spelled(where, postfix.queue_directory, chrooted=service.chrooted)
    if not right:
        text = f"Postfix: {_outside(service, postfix)}, where no path leads to {address}, so mail is not filtered"
        return f"{text}: {inside(where, service, postfix)}"
    fix = _change(service, "smtpd_milters", _with_ours(service, right, meant), postfix)
    if meant and service.chrooted:
        path = meant.partition(":")[2]
        inner = f"{postfix.queue_directory}/{path.lstrip('/')}"
        return (
            f"Postfix: {_outside(service, postfix)}, so that {meant} leads to {inner} and its mail never reaches "
            f"the filter at {address}: {fix}"
        )
    if meant:
        return (
            f"Postfix: smtpd_milters of {name} has {meant}, which is below {postfix.queue_directory} or another path "
            f"than {address}: its mail never reaches the filter: {fix}"
        )
    now = ", ".join(service.milters) or "nothing"
    return (
        f"Postfix: smtpd_milters of {name} is {now}, not our socket {address}: its mail never reaches the filter: {fix}"
    )


def _outside(service: Service, postfix: Postfix) -> str:
    return f"{service.name} runs in a chroot in {postfix.queue_directory}"


def inside(where: Socket, service: Service, postfix: Postfix) -> str:
    """What brings socket and chroot together."""
    name = where.path.rpartition("/")[2]
    queue = postfix.queue_directory
    return (
        f'set [milter] socket = "unix:{queue}/dmarcmilter/{name}" and {postfix.postconf} -e '
        f"'smtpd_milters = unix:dmarcmilter/{name}', or run it outside of the chroot: {postfix.postconf} -F "
        f"'{service.name}/chroot=n' && {postfix.reload}"
    )


def _meant(service: Service, where: Socket) -> str:
    """An entry that has our socket's name and leads somewhere else: the path as seen from the wrong side."""
    if where.family != "unix":
        return ""
    name = where.path.rpartition("/")[2]
    own = [one for one in service.milters if one.startswith("unix:") and one.rpartition("/")[2].endswith(name)]
    same = [one for one in own if one.partition(":")[2] == where.path]
    return next(iter((*same, *own)), "")


def _with_ours(service: Service, right: str, meant: str) -> str:
    """Its list with our socket, in the place of the entry that was meant for it."""
    words = list(milter_words(service.settings.get("smtpd_milters", ""))) or list(service.milters)
    for index, word in enumerate(words):
        if meant and milter_name(word) == meant:
            words[index] = word.replace(meant, right)
            return ",".join(words)
    return ",".join([*words, right])


def _change(service: Service, name: str, value: str, postfix: Postfix) -> str:
    """The command that gives a parameter of the service that value: in master.cf if it is set there."""
    if name not in service.overridden:
        return f"{postfix.postconf} -e '{name} = {value}' && {postfix.reload}"
    return _override(service, name, value, postfix)


def _override(service: Service, name: str, value: str, postfix: Postfix) -> str:
    return f"{postfix.postconf} -P '{service.name}/{name}={value}' && {postfix.reload}"


def _kept_away(service: Service, postfix: Postfix) -> list[Finding]:
    """The service names us, and the filter still sees no message, or not all of one."""
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


def _reached(service: Service, where: Socket, postfix: Postfix) -> list[Finding]:
    """Tried with Postfix's rights, where this process may take them."""
    milter = next(one for one in service.milters if _leads(one, service, where, postfix))
    account = accounts.account(postfix.owner)
    problem = socket_access.connect_as(account, milter, service, postfix)
    if account is None or problem in {0, socket_access.CANNOT_TRY, errno.ENOENT, errno.ECONNREFUSED}:
        return []  # that nobody listens is told where the filter itself is asked
    head = f"Postfix: {service.name} cannot connect to {milter} as user {account.name}"
    head = f"{head}, so its mail is {_without_us(service)}"
    if problem in {errno.EACCES, errno.EPERM}:
        return [error(f"{head}: {socket_access.why_refused(account, milter, service, postfix)}")]
    return [error(f"{head}: {errno.errorcode.get(problem, problem)}")]


def _without_us(service: Service) -> str:
    word = _word(service.settings.get("milter_default_action", ""))
    return {"accept": "delivered unfiltered", "reject": "refused", "quarantine": "put on hold"}.get(word, "deferred")


def _word(text: str) -> str:
    return text.split(maxsplit=1)[0].lower() if text.split() else "tempfail"


def _settings(service: Service, where: Socket, postfix: Postfix) -> list[Finding]:
    """What the entry for our socket, or master.cf, sets otherwise than main.cf; that is judged once for all."""
    words = milter_words(service.settings.get("smtpd_milters", ""))
    ours = next((word for word in words if _leads(milter_name(word), service, where, postfix)), "")
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
    return [one for one in findings if one.severity is not ok("").severity]


def protocol(value: str, place: str, fix: str) -> Finding:
    version = value.split()[:1]
    if version and version[0].isdigit() and int(version[0]) >= PROTOCOL:
        return ok(f"Postfix: {place} is {version[0]}")
    return error(f"Postfix: {place} is {value or 'empty'}; the filter needs {PROTOCOL}, else DKIM fails: {fix}")


def default_action(value: str, place: str, fix: str) -> Finding:
    word = _word(value)
    good, meaning = DEFAULT_ACTIONS.get(word, (False, "not a word that is known here"))
    text = f"Postfix: {place} is {word}: {meaning}"
    return ok(text) if good else warning(f"{text}: {fix}")


# --- services for other mail


def _own(config: Config, service: Service, where: Socket, postfix: Postfix) -> list[Finding]:
    """Services that should not name us, and inherit our socket from main.cf."""
    if not is_named(service, where, postfix):
        return []
    rest = ",".join(
        word
        for word in milter_words(service.settings.get("smtpd_milters", ""))
        if not _leads(milter_name(word), service, where, postfix)
    )
    fix = _override(service, "smtpd_milters", rest, postfix)
    if service.kind is Kind.SUBMISSION:
        text = f"Postfix: {service.name} hands the filter the mail of your own users"
        if config.ignore.authenticated:
            return [
                warning(f"{text}; those who log in are not evaluated, but deferred while the filter is down: {fix}")
            ]
        return [
            error(f"{text}, which is evaluated as if strangers had sent it, as [ignore] authenticated is false: {fix}")
        ]
    text = f"Postfix: {service.name}, where a content filter hands mail back, names our socket, too"
    return [_a_second_time(config, text, fix)]


def _not_by_smtp(config: Config, where: Socket, postfix: Postfix) -> list[Finding]:
    """non_smtpd_milters: mail of programs on this machine; Postfix says that it comes from 127.0.0.1."""
    words = milter_words(postfix.main.get("non_smtpd_milters", ""))

    def ours(word: str) -> bool:
        # Read by cleanup(8), which has a chroot of its own.
        return any(names(milter_name(word), where, postfix.queue_directory, chrooted=one) for one in (True, False))

    if not any(map(ours, words)):
        return []
    rest = ",".join(word for word in words if not ours(word))
    fix = f"{postfix.postconf} -e 'non_smtpd_milters = {rest}' && {postfix.reload}"
    return [_a_second_time(config, "Postfix: non_smtpd_milters has our socket: mail of this machine's programs", fix)]


def _a_second_time(config: Config, text: str, fix: str) -> Finding:
    """Mail that comes from 127.0.0.1, whoever wrote it."""
    if any(ip_address("127.0.0.1") in network for network in config.ignore.parsed()):
        return warning(f"{text}; it is left alone, as [ignore] networks has 127.0.0.1: {fix}")
    return error(
        f"{text}; it is evaluated with the client address 127.0.0.1, so SPF fails and good mail is refused: {fix}"
    )
