"""Validation of values beyond their types: ranges, names, texts. Each error is one sentence for the administrator."""

import re
from ipaddress import ip_network
from typing import Any

from dmarcmilter.config import override_entries, report_validation, text_validation
from dmarcmilter.config.endpoint import parse_listen, parse_nameserver, parse_socket
from dmarcmilter.config.schema import IGNORED, Config, RecipientsSection, SealSection
from dmarcmilter.history.database_url import has_open_at_sign
from dmarcmilter.mail import domain as domains


class UnusableError(ValueError):
    """A value that cannot be used; the text names its key."""


def check(config: Config) -> None:
    """Raise UnusableError for the first value that cannot be used."""
    _parsed(parse_socket, config.milter.socket, "[milter] socket")
    _require(
        re.fullmatch(r"0?[0-7]{3}", config.milter.socket_mode),
        f"[milter] socket_mode: {config.milter.socket_mode!r} is not three octal digits, as 0660",
    )
    _require(0 <= config.milter.workers <= 512, "[milter] workers: 0 (one for each core) to 512")
    _require(0 <= config.milter.drain_timeout <= 86_400, "[milter] drain_timeout: seconds, not negative, at most a day")
    _require(config.milter.max_header_fields >= 100, "[milter] max_header_fields: at least 100")
    _require(config.milter.max_header_bytes >= 65_536, "[milter] max_header_bytes: at least 65536")
    for text in config.ignore.networks:
        _parsed(ip_network, text, "[ignore] networks", strict=False)
    for text in config.identity.trusted_networks:
        if text != IGNORED:
            _parsed(ip_network, text, "[identity] trusted_networks", strict=False)
    for text in config.dns.nameservers:
        _parsed(parse_nameserver, text, "[dns] nameservers")
    _require(0 < config.dns.timeout <= 60, "[dns] timeout: seconds, above 0, at most 60")
    _require(0 < config.dns.message_budget <= 240, "[dns] message_budget: seconds, above 0, at most 240")
    _require(config.dns.message_queries >= 20, "[dns] message_queries: at least 20")
    _require(config.dns.cache_entries >= 0, "[dns] cache_entries: not negative")
    _require(config.dns.cache_megabytes >= 0, "[dns] cache_megabytes: not negative")
    _require(0 <= config.history.retention_days <= 36_500, "[history] retention_days: 0 (never deleted) to 36500")
    _require(
        0 <= config.history.delete_journal_after_days <= 36_500,
        "[history] delete_journal_after_days: 0 (never) to 36500",
    )
    _check_listen(config)
    _check_databases(config)
    _check_names(config)
    _check_rules(config)
    _check_recipients(config.recipients)
    _require(0 <= config.dns.unaligned_budget <= 240, "[dns] unaligned_budget: seconds, not negative, at most 240")
    _require(0 < config.defer.cap <= 432_000, "[defer] cap: seconds, above 0, at most 432000 (5 days)")
    _check_seal(config.arc.seal)
    wrong = report_validation.problem(config.reports)
    _require(not wrong, f"[reports] {wrong}")
    wrong = report_validation.failure_problem(config.reports.failure)
    _require(not wrong, f"[reports.failure] {wrong}")
    wrong = text_validation.problem(config.policy, config.quarantine)
    _require(not wrong, wrong)


def _check_listen(config: Config) -> None:
    if config.metrics.listen:
        _parsed(parse_listen, config.metrics.listen, "[metrics] listen")
        _require(config.metrics.listen != config.milter.socket, "[metrics] listen: that is the milter socket")


def _check_databases(config: Config) -> None:
    for where, url in (("[history]", config.history.database), ("[recipients]", config.recipients.database)):
        # The text after the first @ would be taken for the host, and would appear in errors.
        _require(not has_open_at_sign(url), f"{where} database: an @ in a password is written %40")


def _check_names(config: Config) -> None:
    for name in config.arc.trusted_sealers:
        _require(domains.parse(name), f"[arc] trusted_sealers: {name!r} is not a domain name")
    for key in ("authserv_id", "remove_authserv_ids"):
        value = getattr(config.identity, key)
        for name in (value,) if isinstance(value, str) else value:
            _require(re.fullmatch(r"[\w.-]*", name, re.ASCII), f"[identity] {key}: {name!r} is not a plain name")


def _check_seal(seal: SealSection) -> None:
    """Require all keys or none: with half of them an operator would think that mail is sealed."""
    where = "[arc.seal]"
    if not seal.domain:
        for key in ("selector", "key_file", "recipients"):
            _require(not getattr(seal, key), f"{where} {key}: seals nothing without a domain")
        return
    _require("." in (domains.parse(seal.domain) or ""), f"{where} domain: {seal.domain!r} is not a domain name")
    _require(domains.parse(seal.selector), f"{where} selector: {seal.selector!r} is not a selector (RFC 6376 3.1)")
    _require(seal.key_file.startswith("/"), f"{where} key_file: the whole path of the private key")
    for text in seal.recipients:
        local, at, name = text.rpartition("@")
        fit = domains.parse(name) and text.isprintable() and (local or not at)
        _require(fit, f"{where} recipients: {text!r} is neither an address nor a domain name")


def _check_recipients(recipients: RecipientsSection) -> None:
    where = "[recipients]"
    _require(bool(recipients.database) == bool(recipients.query), f"{where} query: it and database go together")
    _require(
        ":address" in recipients.query or not recipients.query,
        f"{where} query: without :address it selects nothing",
    )
    _require(0 < recipients.timeout <= 10, f"{where} timeout: seconds, above 0, at most 10")
    _require(0 <= recipients.cache_seconds <= 86_400, f"{where} cache_seconds: not negative, at most a day")


def _check_rules(config: Config) -> None:
    """Check rollout, forwarders, mailing lists and override entries."""
    _require(0 <= config.policy.rollout_percent <= 100, "[policy] rollout_percent: 0 to 100")
    for text in config.forwarders.networks:
        _parsed(ip_network, text, "[forwarders] networks", strict=False)
    named = {
        "[policy] rollout_domains": config.policy.rollout_domains,
        "[policy] mailing_lists": config.policy.mailing_lists,
        "[forwarders] names": config.forwarders.names,
    }
    for where, names in named.items():
        for name in names:
            _require(domains.parse(name), f"{where}: {name!r} is not a domain name")
    try:
        override_entries.parsed(config.override)
    except ValueError as error:
        raise UnusableError(str(error)) from None


def _require(condition: object, message: str) -> None:
    if not condition:
        raise UnusableError(message)


def _parsed(parser: Any, text: str, where: str, **options: Any) -> None:
    try:
        parser(text, **options)
    except ValueError as error:
        raise UnusableError(f"{where}: {error}") from None
