"""Reading the conf file: TOML to one frozen Config, complete and checked before anything starts.

An unknown key is an error that names the nearest known one; a value of the wrong type or outside its choices is an
error that names the key.
"""

import dataclasses
import difflib
import re
import tomllib
import typing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from dmarcmilter.dmarc import domain as domains
from dmarcmilter.endpoint import parse_nameserver, parse_socket
from dmarcmilter.reports import confcheck
from dmarcmilter.settings import Config

DEFAULT_PATH = "/etc/dmarcmilter/dmarcmilter.toml"
PLACEHOLDERS = ("domain", "policy_domain", "queue_id", "reason", "info_url")
"""Of the texts in [policy]."""


class ConfigError(Exception):
    """A conf file that cannot be used; the text is for the administrator."""


def load(path: str) -> Config:
    """The conf file at path; ConfigError when it cannot be read or used."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    return parse(text, where=path)


def parse(text: str, *, where: str = "conf") -> Config:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: {error}") from error
    try:
        _refuse_unknown(values)
        config = msgspec.convert(values, Config)
        _check(config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {_in_our_words(str(error))}") from error
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    return config


def _refuse_unknown(values: dict[str, Any]) -> None:
    sections = typing.get_type_hints(Config)
    for name, table in values.items():
        if name not in sections:
            raise ConfigError(f"unknown section [{name}]{_nearest(name, sections)}")
        known = [entry.name for entry in dataclasses.fields(sections[name])]
        for key in table if isinstance(table, dict) else ():
            if key not in known:
                elsewhere = [
                    f"[{s}] {f.name}" for s, c in sections.items() for f in dataclasses.fields(c) if f.name == key
                ]
                hint = f"; it belongs in {elsewhere[0]}" if elsewhere else _nearest(key, known)
                raise ConfigError(f"[{name}]: unknown key {key}{hint}")


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.0)
    return f"; the nearest known is {close[0]}" if close else ""


def _in_our_words(message: str) -> str:
    """Turn msgspec's "... - at `$.milter.workers`" into "[milter] workers: ..."."""
    found = re.fullmatch(r"(.*) - at `\$\.(\w+)(?:\.(\w+))?(.*)`", message)
    if not found:
        return message
    what, section, key, _ = found.groups()
    return f"[{section}] {key or ''}: {what}".replace(" :", ":")


def _check(config: Config) -> None:
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
    _check_names(config)
    wrong = confcheck.problem(config.reports)
    _require(not wrong, f"[reports] {wrong}")
    for key in ("reject_text", "author_text", "defer_text", "info_url"):
        _check_text(key, getattr(config.policy, key))


def _check_names(config: Config) -> None:
    for name in config.arc.trusted_sealers:
        _require(domains.parse(name), f"[arc] trusted_sealers: {name!r} is not a domain name")
    for key in ("authserv_id", "remove_authserv_ids"):
        value = getattr(config.identity, key)
        for name in (value,) if isinstance(value, str) else value:
            _require(re.fullmatch(r"[\w.-]*", name, re.ASCII), f"[identity] {key}: {name!r} is not a plain name")


def _check_text(key: str, text: str) -> None:
    _require(text.isascii() and text.isprintable(), f"[policy] {key}: one line of ASCII text")
    _require(len(text) <= 300, f"[policy] {key}: at most 300 characters")
    unknown = [name for name in re.findall(r"\{([^{}]*)\}", text) if name not in PLACEHOLDERS]
    _require(not unknown, f"[policy] {key}: unknown placeholder {unknown}; known are {', '.join(PLACEHOLDERS)}")


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ConfigError(message)


def _parsed(parser: Any, text: str, where: str, **options: Any) -> None:
    try:
        parser(text, **options)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def changed(config: Config) -> dict[str, dict[str, Any]]:
    """Only what differs from the defaults, as plain values."""
    mine, defaults = plain(config), plain(Config())
    found = {s: {k: v for k, v in table.items() if v != defaults[s][k]} for s, table in mine.items()}
    return {section: table for section, table in found.items() if table}


def plain(config: Config) -> dict[str, dict[str, Any]]:
    """Sections of keys with plain TOML values."""
    result: dict[str, dict[str, Any]] = msgspec.to_builtins(config)
    return result
