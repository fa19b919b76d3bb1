"""Ranges and names in the conf file: the last value that is allowed, and the first that is not."""

import pytest

from dmarcmilter.config import load
from dmarcmilter.config.load import ConfigError

LIMITS = [
    ("milter", "workers", (0, 512), (-1, 513)),
    ("milter", "drain_timeout", (0.0, 86_400.0), (-0.1, 86_400.1)),
    ("milter", "max_header_fields", (100,), (99,)),
    ("milter", "max_header_bytes", (65_536,), (65_535,)),
    ("dns", "timeout", (0.1, 60.0), (0.0, 60.1)),
    ("dns", "message_budget", (0.1, 240.0), (0.0, 240.1)),
    ("dns", "unaligned_budget", (0.0, 240.0), (-0.1, 240.1)),
    ("dns", "message_queries", (20,), (19,)),
    ("dns", "cache_entries", (0,), (-1,)),
    ("dns", "cache_megabytes", (0,), (-1,)),
    ("history", "retention_days", (0, 36_500), (-1, 36_501)),
    ("history", "delete_journal_after_days", (0, 36_500), (-1, 36_501)),
    ("defer", "cap", (0.1, 432_000.0), (0.0, 432_000.1)),
    ("policy", "rollout_percent", (0, 100), (-1, 101)),
    ("recipients", "timeout", (0.1, 10.0), (0.0, 10.1)),
    ("recipients", "cache_seconds", (0.0, 86_400.0), (-0.1, 86_400.1)),
]
GOOD = [(section, key, value) for section, key, good, _ in LIMITS for value in good]
BAD = [(section, key, value) for section, key, _, bad in LIMITS for value in bad]


@pytest.mark.parametrize(("section", "key", "value"), GOOD)
def test_the_last_number_that_is_allowed(section, key, value):
    assert getattr(getattr(load.parse(f"[{section}]\n{key} = {value}\n"), section), key) == value


NOT_NUMBERS = [(*limit[:2], "nan") for limit in LIMITS if isinstance(limit[2][0], float)]


@pytest.mark.parametrize(("section", "key", "value"), [*BAD, *NOT_NUMBERS])
def test_the_first_number_that_is_not_allowed(section, key, value):
    with pytest.raises(ConfigError, match=rf"^conf: line 2, column 1: \[{section}\] {key}: "):
        load.parse(f"[{section}]\n{key} = {value}\n")


SEAL = '[arc.seal]\ndomain = "example.net"\nselector = "s"\nkey_file = "/k"\n'
VALID = [
    '[milter]\nsocket_mode = "660"',
    '[milter]\nsocket_mode = "0660"',
    '[ignore]\nnetworks = ["192.0.2.1/24", "::1"]',
    '[identity]\nauthserv_id = "mx.example.net"\nremove_authserv_ids = ["a_b", "mx-1.example.net"]',
    '[arc]\ntrusted_sealers = ["b\u00fccher.example"]',
    '[recipients]\ndatabase = "sqlite:////d"\nquery = "SELECT c FROM t WHERE a = :address"',
    SEAL,
    SEAL + 'recipients = ["joe@example.net", "example.org", "\\"a b\\"@example.net"]',
]
INVALID = [
    ('[milter]\nsocket_mode = "0888"', r"\[milter\] socket_mode: '0888' is not three octal digits"),
    ('[milter]\nsocket_mode = "1660"', r"\[milter\] socket_mode"),
    ('[ignore]\nnetworks = ["192.0.2.0/33"]', r"\[ignore\] networks: '192.0.2.0/33'"),
    ('[identity]\ntrusted_networks = ["mx.example.net"]', r"\[identity\] trusted_networks: "),
    ('[identity]\nauthserv_id = "mx example"', r"\[identity\] authserv_id: 'mx example' is not a plain name"),
    ('[identity]\nauthserv_id = "mx\\r\\nX: y"', r"\[identity\] authserv_id: .* is not a plain name"),
    ('[identity]\nremove_authserv_ids = ["a", "b;c"]', r"\[identity\] remove_authserv_ids: 'b;c'"),
    ('[arc]\ntrusted_sealers = ["a b"]', r"\[arc\] trusted_sealers: 'a b' is not a domain name"),
    ('[policy]\nmailing_lists = ["*.example"]', r"\[policy\] mailing_lists: "),
    ('[policy]\nrollout_domains = [""]', r"\[policy\] rollout_domains: "),
    ('[forwarders]\nnames = ["mx@a.example"]', r"\[forwarders\] names: "),
    ('[metrics]\nlisten = "unix:/run/f.sock"\n[milter]\nsocket = "unix:/run/f.sock"',
     r"\[metrics\] listen: that is the milter socket"),
    ('[recipients]\nquery = "SELECT 1 WHERE :address = 1"', r"\[recipients\] query: it and database go together"),
    ('[recipients]\ndatabase = "sqlite:////d"', r"\[recipients\] query: it and database go together"),
    ('[recipients]\ndatabase = "sqlite:////d"\nquery = "SELECT 1"', r"\[recipients\] query: without :address"),
    ('[arc.seal]\nselector = "s"', r"\[arc.seal\] selector: seals nothing without a domain"),
    ('[arc.seal]\nrecipients = ["a.example"]', r"\[arc.seal\] recipients: seals nothing without a domain"),
    ('[arc.seal]\ndomain = "localhost"\nselector = "s"\nkey_file = "/k"', r"\[arc.seal\] domain: 'localhost'"),
    ('[arc.seal]\ndomain = "example.net"\nkey_file = "/k"', r"\[arc.seal\] selector: '' is not a selector"),
    ('[arc.seal]\ndomain = "example.net"\nselector = "s"\nkey_file = "k"', r"\[arc.seal\] key_file: the whole path"),
    (SEAL + 'recipients = ["@example.net"]', r"\[arc.seal\] recipients: '@example.net' is neither"),
    (SEAL + 'recipients = ["joe@"]', r"\[arc.seal\] recipients: "),
]  # fmt: skip


@pytest.mark.parametrize("text", VALID)
def test_valid(text):
    load.parse(text)


@pytest.mark.parametrize(("text", "message"), INVALID)
def test_invalid(text, message):
    with pytest.raises(ConfigError, match=rf"^conf: line \d+, column \d+: {message}"):
        load.parse(text)
