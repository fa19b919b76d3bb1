"""Validation of [reports] and [reports.failure]. Keys that only enabled reports need are required only then."""

import re
from ipaddress import ip_address

from dmarcmilter.config.schema import FailureReportsSection, ReportsSection, StartTls
from dmarcmilter.dmarc.report_uri import address_of
from dmarcmilter.mail import domain as domains
from dmarcmilter.mail.domain import is_within

MAX_TEXT = 255
"""Longest org_name and contact, in characters."""
SMALLEST_MESSAGE = 10_000
"""Smallest max_message_bytes allowed, in bytes."""
_LIMITS = ("max_per_hour", "max_per_domain")
_LIMITS_OF_AGGREGATE = (*_LIMITS, "max_per_organization")


def parse_relay(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `HOST` or `[IPv6]:PORT`; ValueError otherwise."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::(\d{1,5}))?", text)
    port = int(match[3] or 25) if match else 0
    if not match or not 0 < port < 65_536:
        raise ValueError(f"{text!r} is not HOST:PORT")
    return match[1] or match[2], port


def problem(reports: ReportsSection) -> str:
    """The first problem, as `key: problem`; empty: none."""
    wanted = reports.enabled or reports.failure.enabled
    return _wrong_value(reports) or (_missing(reports) if wanted else "")


def failure_problem(failure: FailureReportsSection) -> str:
    """The first problem of [reports.failure]; empty: none."""
    return next((f"{key}: at least 1" for key in _LIMITS if getattr(failure, key) < 1), "")


def _wrong_value(reports: ReportsSection) -> str:
    if reports.email and address_of(f"mailto:{reports.email}") != reports.email:
        return f"email: {reports.email!r} is not an address with its domain in lower-case ASCII"
    sample = reports.bounce_address.replace("{token}", "0" * 16)
    if sample and address_of(f"mailto:{sample}") is None:
        return f"bounce_address: {reports.bounce_address!r} is not an address"
    for key in ("submitter", "sign_domain"):
        name = getattr(reports, key)
        if name and domains.parse(name) != name:
            return f"{key}: {name!r} is not a domain name in lower-case ASCII"
    for key in ("org_name", "contact"):
        text = getattr(reports, key)
        if not text.isprintable() or len(text) > MAX_TEXT:
            return f"{key}: one line of at most {MAX_TEXT} characters"
    for entry in reports.exclude:
        if domains.parse(entry.rpartition("@")[2]) is None:
            return f"exclude: {entry!r} is neither a domain name nor an address"
    return _wrong_number(reports) or _wrong_relay(reports)


def _wrong_number(reports: ReportsSection) -> str:
    for key in _LIMITS_OF_AGGREGATE:
        if getattr(reports, key) < 1:
            return f"{key}: at least 1"
    if reports.max_message_bytes < SMALLEST_MESSAGE:
        return f"max_message_bytes: at least {SMALLEST_MESSAGE}"
    return ""


def _wrong_relay(reports: ReportsSection) -> str:
    try:
        host, _ = parse_relay(reports.relay or "localhost")
    except ValueError as error:
        return f"relay: {error}"
    if reports.relay_username and not _is_here(host) and reports.starttls is not StartTls.REQUIRED:
        return 'starttls: "required" with relay_username, or the password can be read on its way to the relay'
    return ""


def _is_here(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _missing(reports: ReportsSection) -> str:
    if not reports.email:
        return "email: needed when reports are enabled"
    signing = (reports.sign_domain, reports.sign_selector, reports.sign_key)
    if any(signing) and not all(signing):
        return "sign_domain, sign_selector, sign_key: all three or none"
    host = domains.Domain(reports.email.rpartition("@")[2])
    mine = domains.Domain(reports.sign_domain)
    if mine and not is_within(host, mine) and not is_within(mine, host):
        return f"sign_domain: {mine} is not aligned with {host}, so reports would not pass DMARC (RFC 9990 3.5.2)"
    return ""
