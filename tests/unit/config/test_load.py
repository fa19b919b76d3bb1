import re
import tomllib
import typing
from ipaddress import ip_network

import pytest

from dmarcmilter.config import load as config
from dmarcmilter.config.load import ConfigError, load, parse
from dmarcmilter.config.schema import Config
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.policy.rules import Mode
from dmarcmilter.value import Value
from tests.support.paths import PROJECT

SAMPLE = PROJECT / "conf" / "dmarcmilter.toml"


def _is_table(hint):
    return isinstance(hint, type) and issubclass(hint, Value)


KEYS = [
    (section, name)
    for section, table in typing.get_type_hints(Config).items()
    if _is_table(table)
    for name in table.__struct_fields__
]
DEEP_KEYS = [
    (f"{section}.{name}", key)
    for section, table in typing.get_type_hints(Config).items()
    if _is_table(table)
    for name, inner in typing.get_type_hints(table).items()
    if _is_table(inner)
    for key in inner.__struct_fields__
]
"""Of tables within sections."""


def test_an_empty_file_is_the_defaults():
    assert parse("") == Config()


def test_sample_conf_equals_the_defaults():
    assert load(str(SAMPLE)) == Config()


def test_sample_conf_has_every_key_with_a_comment():
    values = tomllib.loads(SAMPLE.read_text(encoding="utf-8"))
    assert [(section, key) for section, table in values.items() for key in table] == KEYS
    deep = [
        (f"{section}.{name}", key)
        for section, table in values.items()
        for name, inner in table.items()
        if isinstance(inner, dict)
        for key in inner
    ]
    assert deep == DEEP_KEYS
    assert "\n\n\n" not in SAMPLE.read_text(encoding="utf-8")


def test_values_are_taken_over():
    found = parse(
        '[milter]\nsocket = "inet:8893@127.0.0.1"\ndrain_timeout = 5\n[ignore]\nnetworks = ["192.0.2.7/24"]\n'
        '[dns]\nnameservers = ["127.0.0.1:5353", "[::1]:54", "::2"]\n'
        '[dmarc]\ndiscovery = "psl"\n[policy]\nmode = "monitor"\n[arc]\ntrusted_sealers = ["Bücher.example"]\n'
    )
    assert found.milter.drain_timeout == 5.0
    assert found.ignore.parsed() == (ip_network("192.0.2.0/24"),)
    assert found.dns.servers() == (("127.0.0.1", 5353), ("::1", 54), ("::2", 53))
    assert (found.dmarc.discovery, found.policy.mode) == (Method.PSL, Mode.MONITOR)
    assert found.milter.workers == Config().milter.workers


UNKNOWN = [
    ("[polcy]\n", "unknown section [polcy]; the nearest known is policy"),
    ("[policy]\nmod = 1\n", "[policy]: unknown key mod; the nearest known is mode"),
    ("[policy]\nrejectaction = 1\n", "[policy]: unknown key rejectaction; the nearest known is reject_action"),
    ("[policy]\ndiscovery = 'psl'\n", "[policy]: unknown key discovery; it belongs in [dmarc] discovery"),
    ("mode = 'monitor'\n", "key mode outside of any [section]; it belongs in [policy] mode"),
    ("[milter.deep]\n", "[milter]: unknown key deep"),
]


@pytest.mark.parametrize(("text", "message"), UNKNOWN)
def test_unknown_names_the_nearest(text, message):
    with pytest.raises(ConfigError) as raised:
        parse(text, where="f.toml")
    assert re.sub("line [12], column 1: ", "", str(raised.value)).startswith(f"f.toml: {message}")


WRONG = [
    ("milter", "socket", '"nowhere"'),
    ("milter", "socket", "5"),
    ("milter", "socket_mode", '"0999"'),
    ("milter", "socket_mode", "0o660"),
    ("milter", "socket_group", "1"),
    ("milter", "workers", "-1"),
    ("milter", "workers", "513"),
    ("milter", "workers", "1.5"),
    ("milter", "workers", "true"),
    ("milter", "drain_timeout", "-1"),
    ("milter", "drain_timeout", "nan"),
    ("milter", "drain_timeout", "inf"),
    ("milter", "max_header_fields", "99"),
    ("milter", "max_header_bytes", "65535"),
    ("milter", "on_internal_error", '"ignore"'),
    ("identity", "authserv_id", '"mx example"'),
    ("identity", "authserv_id", '"mx;example"'),
    ("identity", "authserv_id", '"m\\u00fcx.example"'),
    ("identity", "remove_authserv_ids", '["ok.example", "a\\nb"]'),
    ("identity", "remove_authserv_ids", '"one"'),
    ("identity", "trusted_networks", '["ignore"]'),
    ("identity", "trusted_networks", '["192.0.2.0/33"]'),
    ("ignore", "authenticated", '"yes"'),
    ("ignore", "networks", '["127.0.0.0/33"]'),
    ("ignore", "networks", "[1]"),
    ("dns", "nameservers", '["localhost"]'),
    ("dns", "nameservers", '["127.0.0.1:0"]'),
    ("dns", "timeout", "0"),
    ("dns", "timeout", "61.0"),
    ("dns", "timeout", "nan"),
    ("dns", "message_budget", "0.0"),
    ("dns", "message_budget", "inf"),
    ("dns", "message_queries", "19"),
    ("dns", "unaligned_budget", "-0.1"),
    ("dns", "unaligned_budget", "nan"),
    ("dns", "cache_entries", "-1"),
    ("dns", "cache_megabytes", "-1"),
    ("dmarc", "discovery", '"tree"'),
    ("dmarc", "psl_file", "[]"),
    ("dmarc", "pct", "true"),
    ("dmarc", "temperror", '"reject"'),
    ("policy", "mode", '"Enforce"'),
    ("policy", "reject_action", '"discard"'),
    ("policy", "quarantine_action", '"spam"'),
    ("policy", "mailing_list_traces", '"accept"'),
    ("policy", "on_unsigned_duplicate", '"reject"'),
    ("policy", "reject_text", '"two\\nlines"'),
    ("policy", "reject_text", '"caf\\u00e9"'),
    ("policy", "reject_text", f'"{"x" * 301}"'),
    ("policy", "reject_text", '"{domian}"'),
    ("policy", "author_text", '"{}"'),
    ("policy", "defer_text", '"{queue_id!r}"'),
    ("policy", "info_url", '"https://a.example/\\u0000"'),
    ("policy", "info_url", '"https://a.example/ b"'),
    ("policy", "info_url", '"https://a.example/{reason}"'),
    ("policy", "reject_text", '" "'),
    ("policy", "sampling_key", "1"),
    ("policy", "rollout_percent", "101"),
    ("policy", "rollout_percent", "-1"),
    ("policy", "rollout_percent", "12.5"),
    ("policy", "rollout_domains", '["a..b"]'),
    ("policy", "mailing_lists", '"lists.example"'),
    ("policy", "mailing_lists", '["a@lists.example"]'),
    ("quarantine", "header_name", '"DMARC-Quarantine"'),
    ("quarantine", "header_name", '"X-A: b"'),
    ("quarantine", "header_name", '"X-Spam-Flag"'),
    ("quarantine", "header_value", '""'),
    ("quarantine", "header_value", '"a\\nb"'),
    ("quarantine", "header_value", '" a"'),
    ("quarantine", "subject_tag", '""'),
    ("quarantine", "subject_tag", '"[x] "'),
    ("quarantine", "subject_tag", '"a\\tb"'),
    ("quarantine", "subject_tag", '"\\u202eab"'),
    ("quarantine", "subject_tag", '"=?utf-8?q?a?="'),
    ("quarantine", "subject_tag", f'"{"ä" * 23}"'),
    ("quarantine", "mailbox", '"quarantine"'),
    ("quarantine", "mailbox", '"a b@example.net"'),
    ("quarantine", "mailbox", '"<a@example.net>"'),
    ("quarantine", "mailbox", '"a@example..net"'),
    ("quarantine", "record_recipients", '"yes"'),
    ("defer", "policy", '"reject"'),
    ("defer", "dkim_key", "true"),
    ("defer", "spf", '"defer"'),
    ("defer", "cap", "0"),
    ("defer", "cap", "432001"),
    ("defer", "directory", "1"),
    ("recipients", "default", '"opt-out"'),
    ("recipients", "file", "[]"),
    ("recipients", "database", "1"),
    ("recipients", "query", '"SELECT 1"'),
    ("recipients", "timeout", "0"),
    ("recipients", "timeout", "11"),
    ("recipients", "timeout", "nan"),
    ("recipients", "cache_seconds", "-1"),
    ("author", "on_missing", '"none"'),
    ("author", "on_multiple", '"tempfail"'),
    ("author", "on_malformed", "1"),
    ("arc", "trusted_sealers", '["not a domain"]'),
    ("arc", "trusted_sealers", '["a..b"]'),
    ("history", "journal", "1"),
    ("history", "database", "1"),
    ("history", "retention_days", "-1"),
    ("history", "delete_journal_after_days", "-1"),
    ("reports", "enabled", '"yes"'),
    ("reports", "email", '"a@Example.net"'),
    ("reports", "email", '"a b@example.net"'),
    ("reports", "org_name", '"two\\nlines"'),
    ("reports", "contact", f'"{"x" * 256}"'),
    ("reports", "submitter", '"mx example"'),
    ("reports", "format", '"rfc9991"'),
    ("reports", "relay", '"mx.example.net:0"'),
    ("reports", "relay", '"mx.example.net:smtp"'),
    ("reports", "starttls", '"yes"'),
    ("reports", "relay_ca_file", "1"),
    ("reports", "relay_username", "1"),
    ("reports", "relay_password_file", "1"),
    ("reports", "sendmail", "1"),
    ("reports", "bounce_address", '"b+{tokens}"'),
    ("reports", "sign_domain", '"Example.net"'),
    ("reports", "sign_selector", "1"),
    ("reports", "sign_key", "1"),
    ("reports", "archive", "1"),
    ("reports", "exclude", '["not a domain"]'),
    ("reports", "only_authenticated", "1"),
    ("reports", "max_per_hour", "0"),
    ("reports", "max_per_domain", "0"),
    ("reports", "max_per_organization", "0"),
    ("reports", "max_message_bytes", "9999"),
    ("metrics", "listen", '"9810"'),
    ("metrics", "listen", '"localhost:9810"'),
    ("metrics", "listen", '"127.0.0.1:0"'),
    ("metrics", "listen", '"::1:9810"'),
    ("metrics", "listen", '"unix:metrics.sock"'),
    ("metrics", "listen", f'"{Config().milter.socket}"'),
    ("reports", "failure", "1"),
    ("reports.failure", "enabled", "1"),
    ("reports.failure", "spool", "1"),
    ("reports.failure", "key", "1"),
    ("reports.failure", "on_none", "1"),
    ("reports.failure", "max_per_hour", "0"),
    ("reports.failure", "max_per_domain", "0"),
    ("arc", "trusted_hops", '"oldest"'),
    ("forwarders", "networks", '["10.0.0.0/33"]'),
    ("forwarders", "networks", '["mx.example.net"]'),
    ("forwarders", "names", '["*.example.net"]'),
    ("arc", "seal", "1"),
    ("arc.seal", "domain", '"example"'),
    ("arc.seal", "domain", '"a..b"'),
    ("arc.seal", "selector", '"s1"'),
    ("arc.seal", "key_file", '"/key.pem"'),
    ("arc.seal", "recipients", '["a@example.net"]'),
    ("log", "syslog_facility", '"news"'),
    ("log", "level", '"trace"'),
]


@pytest.mark.parametrize(("section", "key", "value"), WRONG)
def test_wrong_value_names_its_key(section, key, value):
    with pytest.raises(ConfigError) as raised:
        parse(f"[{section}]\n{key} = {value}\n", where="f.toml")
    # With the line of the key, or, where a key is missing, of its section.
    assert re.match(rf"f\.toml: line [12], column \d+: \[{section}(\] |\.){key}\]?: \S", str(raised.value)), (
        raised.value
    )


def test_every_key_has_a_wrong_value_in_this_test():
    assert {(section, key) for section, key, _ in WRONG} == {*KEYS, *DEEP_KEYS}


def test_a_section_that_is_none():
    with pytest.raises(ConfigError, match=r"^conf: line 1, column 1: \[milter\]: is a section with keys"):
        parse("milter = 5\n")


def test_not_toml():
    with pytest.raises(ConfigError, match=r"^conf: .*line 2"):
        parse("[milter]\nsocket =\n")


def test_unreadable_files(tmp_path):
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match=re.escape(str(path))):
            load(str(path))
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(str(latin))


def test_changed_is_only_what_differs():
    assert config.changed(Config()) == {}
    found = parse('[policy]\nmode = "enforce"\nreject_action = "reject"\n[dns]\nnameservers = ["::1"]\n')
    assert config.changed(found) == {"dns": {"nameservers": ("::1",)}, "policy": {"mode": "enforce"}}


@pytest.mark.parametrize("text", ["", "[policy]\n", '[policy]\nreject_action = "reject"\n', "policy = {}\n"])
def test_mode_that_is_not_written_is_monitor_and_a_warning(tmp_path, text):
    path = tmp_path / "f.toml"
    path.write_text(text, encoding="utf-8")
    found = config.read(str(path))
    assert (found.config.policy.mode, found.warnings) == (Mode.MONITOR, (config.MODE_NOT_WRITTEN,))
    assert 'write mode = "enforce"' in config.MODE_NOT_WRITTEN


@pytest.mark.parametrize("text", ['[policy]\nmode = "monitor"\n', 'policy.mode = "enforce"\n'])
def test_mode_that_is_written_is_no_warning(tmp_path, text):
    path = tmp_path / "f.toml"
    path.write_text(text, encoding="utf-8")
    assert config.read(str(path)).warnings == ()


def test_sample_conf_writes_the_mode():
    assert config.read(str(SAMPLE)).warnings == ()


def test_without_a_file_the_defaults_apply():
    assert config.read("") == config.Loaded(Config(), (config.MODE_NOT_WRITTEN,))


def test_plain_has_every_key():
    assert [(section, key) for section, table in config.plain(Config()).items() for key in table] == KEYS


def test_redirect_needs_a_mailbox():
    with pytest.raises(ConfigError, match=r"\[quarantine\] mailbox: quarantine_action"):
        parse('[policy]\nquarantine_action = "redirect"\n')
    found = parse('[policy]\nquarantine_action = "redirect"\n[quarantine]\nmailbox = "dmarc@example.net"\n')
    assert found.quarantine.mailbox == "dmarc@example.net"


def test_texts_that_would_crowd_out_the_page():
    with pytest.raises(ConfigError, match=r"\[policy\] reject_text: too long together with info_url"):
        parse(f'[policy]\nreject_text = "{"x" * 200}"\ninfo_url = "https://a.example/{"y" * 250}"\n')


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("domain", '""'),
        ("selector", '""'),
        ("selector", '"a b"'),
        ("key_file", '""'),
        ("key_file", '"key.pem"'),
        ("recipients", '["@example.net"]'),
        ("recipients", '["user@"]'),
        ("recipients", '["a b"]'),
        ("recipients", '["a\\n@example.net"]'),
    ],
)
def test_half_a_seal_is_none(key, value):
    values = {"domain": '"fwd.example"', "selector": '"s1"', "key_file": '"/key.pem"', "recipients": '["a@b.example"]'}
    parse("[arc.seal]\n" + "".join(f"{name} = {text}\n" for name, text in values.items()))
    wrong = "[arc.seal]\n" + "".join(f"{name} = {text}\n" for name, text in (values | {key: value}).items())
    with pytest.raises(ConfigError, match=rf"\[arc\.seal\] {'selector' if key == 'domain' else key}: \S"):
        parse(wrong)


@pytest.mark.parametrize(
    ("relay", "starttls", "is_fit"),
    [
        ("mx.example.net:587", "required", True),
        ("mx.example.net:587", "opportunistic", False),
        ("192.0.2.1", "never", False),
        ("localhost", "never", True),
        ("127.0.0.1:25", "opportunistic", True),
        ("[::1]:25", "never", True),
    ],
)
def test_a_password_goes_to_no_other_machine_in_clear(relay, starttls, is_fit):
    text = f'[reports]\nrelay = "{relay}"\nstarttls = "{starttls}"\n'
    parse(text)
    text += 'relay_username = "u"\nrelay_password_file = "/etc/password"\n'
    if is_fit:
        parse(text)
    else:
        with pytest.raises(
            ConfigError, match=r"^conf: line \d, column 1: \[reports\] starttls: \"required\" with relay_username"
        ):
            parse(text)
