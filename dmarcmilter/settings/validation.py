"""What types alone do not say of the conf file: ranges, names, texts. One sentence for the administrator each."""

import re
from ipaddress import ip_network
from typing import Any

from dmarcmilter.dmarc import domain as domains
from dmarcmilter.endpoint import parse_listen, parse_nameserver, parse_socket
from dmarcmilter.reports import confcheck
from dmarcmilter.settings import Config, wording


class UnusableError(ValueError):
    """A value that cannot be used; the text names the key."""


def check(config: Config) -> None:
    """What types alone do not say."""
    _parsed(parse_socket, config.milter.socket, "[milter] socket")
    _require(
        re.fullmatch(r"0?[0-7]{3}", config.milter.socket_mode), "[milter] socket_mode: three octal digits, as 0660"
    )
    _require(0 <= config.milter.workers <= 512, "[milter] workers: 0 (one for each core) to 512")
    _require(0 <= config.milter.drain_timeout <= 86_400, "[milter] drain_timeout: seconds, not negative, at most a day")
    _require(config.milter.max_header_fields >= 100, "[milter] max_header_fields: at least 100")
    _require(config.milter.max_header_bytes >= 65_536, "[milter] max_header_bytes: at least 65536")
    for text in config.ignore.networks:
        _parsed(ip_network, text, "[ignore] networks", strict=False)
    for text in config.dns.nameservers:
        _parsed(parse_nameserver, text, "[dns] nameservers")
    _require(0 < config.dns.timeout <= 60, "[dns] timeout: seconds, above 0, at most 60")
    _require(0 < config.dns.message_budget <= 240, "[dns] message_budget: seconds, above 0, at most 240")
    _require(config.dns.message_queries >= 20, "[dns] message_queries: at least 20")
    _require(config.dns.cache_entries >= 0, "[dns] cache_entries: not negative")
    _require(config.dns.cache_megabytes >= 0, "[dns] cache_megabytes: not negative")
    _require(0 <= config.history.retention_days <= 36_500, "[history] retention_days: 0 (for ever) to 36500")
    _require(
        0 <= config.history.delete_journal_after_days <= 36_500,
        "[history] delete_journal_after_days: 0 (never) to 36500",
    )
    if config.metrics.listen:
        _parsed(parse_listen, config.metrics.listen, "[metrics] listen")
        _require(config.metrics.listen != config.milter.socket, "[metrics] listen: that is the milter socket")
    _check_names(config)
    wrong = confcheck.problem(config.reports)
    _require(not wrong, f"[reports] {wrong}")
    wrong = wording.problem(config.policy, config.quarantine)
    _require(not wrong, wrong)


def _check_names(config: Config) -> None:
    for name in config.arc.trusted_sealers:
        _require(domains.parse(name), f"[arc] trusted_sealers: {name!r} is not a domain name")
    for key in ("authserv_id", "remove_authserv_ids"):
        value = getattr(config.identity, key)
        for name in (value,) if isinstance(value, str) else value:
            _require(re.fullmatch(r"[\w.-]*", name, re.ASCII), f"[identity] {key}: {name!r} is not a plain name")


def _require(condition: object, message: str) -> None:
    if not condition:
        raise UnusableError(message)


def _parsed(parser: Any, text: str, where: str, **options: Any) -> None:
    try:
        parser(text, **options)
    except ValueError as error:
        raise UnusableError(f"{where}: {error}") from None
