"""OpenDMARC's conf file as ours: each of its settings (cases/opendmarc.toml), and files that are odd or hostile."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmarcmilter.config import load
from dmarcmilter.opendmarc import config_file, host_lists, value_conversion
from dmarcmilter.opendmarc.config_conversion import convert, render
from dmarcmilter.opendmarc.setting_table import KEYS, RENAMED, Fate
from tests.support.cases import case_table
from tests.support.paths import PROJECT

ROWS = case_table("opendmarc")["setting"]
DOCS = (PROJECT / "docs" / "from-opendmarc.md").read_text(encoding="utf-8")
FILES = {
    "hosts": b"# ours\nlocalhost\n192.0.2.0/24\n!192.0.2.128/25\n2001:db8::/32\n198.51.100.7 # one\n\n"
    b"mail.example.net\n.example.org\n",
    "locals": b"LocalHost\nip6-localhost.\n[::1]\n!127.0.0.0/8\n[2001:db8::]/32 # out\n!2001:db8::/32\n",
    "whitelist": b"hop.example\n# no more\nLIST.example\n",
    "noreports": b"dmarc@example.com\nexample.org\n",
}
MANUAL = """AuthservID AuthservIDWithJobID AutoRestart AutoRestartCount AutoRestartRate Background BaseDirectory
ChangeRootDirectory CopyFailuresTo DNSTimeout DomainWhitelist DomainWhitelistFile DomainWhitelistSize EnableCoredumps
FailureReports FailureReportsBcc FailureReportsOnNone FailureReportsSentBy HistoryFile HoldQuarantinedMessages
IgnoreAuthenticatedClients IgnoreHosts IgnoreMailFrom IgnoreMailTo MilterDebug PidFile PublicSuffixList
RecordAllMessages RejectFailures RejectMultiValueFrom RejectString ReportCommand RequiredHeaders Socket SoftwareHeader
SPFIgnoreResults SPFSelfValidate Syslog SyslogFacility TrustedAuthservIDs UMask UserID"""
"""opendmarc.conf(5) of version 1.4.2."""
FURTHER = {"TestDNSData", "NoReportsList", "RequiredFrom"}


def read_file(path):
    if path not in FILES:
        raise FileNotFoundError(2, "No such file or directory", path)
    return FILES[path]


def converted(text, **options):
    raw = text if isinstance(text, bytes) else text.encode()
    found = convert(config_file.parse(raw), read_file, **options)
    load.parse(render(found, "opendmarc.conf"))  # whatever it was, it loads
    return found


def note_of(found, name):
    (note,) = [note for note in found.notes if note.name == name and note.value]
    return note


def flat(values):
    return {f"{section}.{key}": value for section, keys in values.items() for key, value in keys.items()}


def test_every_setting_of_opendmarc_is_in_the_table():
    assert {key.name for key in KEYS.values()} == set(MANUAL.split()) | FURTHER
    assert len(KEYS) == 45


def test_every_setting_has_a_row():
    rows = {RENAMED.get(row["key"].lower(), row["key"].lower()) for row in ROWS}
    assert rows >= set(KEYS)
    taken = {row["key"].lower() for row in ROWS if "ours" in row}
    assert taken >= {name for name, key in KEYS.items() if key.fate is Fate.TAKEN}


def test_converters_are_of_settings_that_exist():
    names = {key.name for key in KEYS.values()}
    assert set(value_conversion.CONVERTERS) <= names
    assert set(value_conversion.UNSET) <= names
    assert {key.name for key in KEYS.values() if key.fate is Fate.TAKEN} <= set(value_conversion.CONVERTERS)


def test_the_documentation_has_the_same_table():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]+ \|$", DOCS, re.MULTILINE))
    assert rows == {key.name: str(key.fate) for key in KEYS.values()}
    for key in KEYS.values():
        assert f"| `{key.name}` | {key.fate} | {key.becomes} |" in DOCS


@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
def test_setting(row):
    found = converted(f"{row['key']}\t {row['value']}  # as it was\n")
    name = row.get("as", row["key"])
    known = KEYS.get(name.lower())
    note = note_of(found, known.name if known else name)
    assert str(note.fate or "") == row.get("fate", "")
    assert row.get("text", "") in note.text
    ours = flat(found.values)
    expected = row.get("ours", {})
    assert {key: ours.get(key) for key in expected} == expected
    unset = {f"{section}.{key}" for pairs in value_conversion.UNSET.values() for section, key in pairs}
    assert set(ours) - unset <= set(expected)


def test_without_a_setting_nothing_more_is_enforced_than_was():
    found = converted("")
    assert flat(found.values) == {"policy.mode": "monitor", "policy.quarantine_action": "header"}
    said = {note.name: note.text for note in found.notes}
    assert 'mode = "monitor"' in said["RejectFailures"]
    assert {"IgnoreAuthenticatedClients", "RejectMultiValueFrom"} <= set(said)


@pytest.mark.parametrize("text", ["", "RejectFailures maybe\n", "RejectFailures\n", "Syslog true\n"])
def test_the_mode_is_always_written(text):
    assert '\nmode = "monitor"\n' in render(converted(text), "o.conf")


def test_both_lists_of_sealers_count():
    found = converted("DomainWhitelist a.example\nDomainWhitelistFile whitelist\n")
    assert found.values["arc"]["trusted_sealers"] == ["a.example", "hop.example", "list.example"]


def test_relative_paths_are_completed():
    asked = []
    convert(config_file.parse(b"BaseDirectory /base\nIgnoreHosts hosts\n"), lambda path: asked.append(path) or b"")
    assert asked == ["/base/hosts"]


def test_a_socket_for_a_trial():
    found = converted("Socket local:/run/o.sock\n", socket="inet:8899@127.0.0.1")
    assert found.values["milter"]["socket"] == "inet:8899@127.0.0.1"
    assert converted("", socket="inet:8899@127.0.0.1").values["milter"]["socket"] == "inet:8899@127.0.0.1"


def test_authors_to_ignore_are_a_suggestion_that_a_person_completes():
    text = render(converted('IgnoreMailFrom example.com,a"b\n'), "o.conf")
    block = (
        text.partition("# To be completed by hand:\n")[2]
        .replace("# ", "", 5)
        .replace("client = []", 'client = ["192.0.2.1"]')
        .replace('"a?b"', '"ab.example"')
    )
    assert load.parse(block).override[0].from_domain == ("example.com", "ab.example")


def test_the_last_of_several_counts():
    assert flat(converted("RejectFailures no\nrejectfailures yes\n").values)["policy.mode"] == "enforce"


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("010", 8), ("0x1F", 31), ("-3", -3), ("", None), ("x", None), ("08", None), ("9" * 30, None)],
)
def test_number(text, value):
    assert config_file.number(text) == value


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('Socket "a b"', "a b"),
        ("Socket 'a'", "a"),
        ('\tSocket\t"a"\t# why\r', "a"),
        ('Socket "a\\"b"', 'a"b'),
        ('Socket "a', '"a'),
        ("Socket \"a'", "\"a'"),
        ('Socket "', '"'),
        ("\ufeffSocket a", "a"),
        ('Socket ""', None),
        ('Socket " "', None),
    ],
)
def test_values_in_quotes(line, value):
    setting = config_file.parse(f"{line}\n".encode()).settings.get("socket")
    assert (setting and setting.value) == value


def test_limits_of_the_file():
    parsed = config_file.parse(b"a 1\n" * (config_file.MAX_FILE // 4) + b"Syslog true\n")
    assert list(parsed.settings) == ["a"]
    assert parsed.notes
    many = config_file.parse(b"".join(b"k%d 1\n" % number for number in range(config_file.MAX_SETTINGS + 10)))
    assert len(many.settings) == config_file.MAX_SETTINGS
    long = config_file.parse(b"Socket " + b"x" * (config_file.MAX_VALUE + 1) + b"\n" + b"y" * 65 + b" 1\nSyslog\n")
    assert not long.settings
    assert len(long.notes) == 3
    assert len(config_file.parse(b"x\n" * 1000).notes) == config_file.MAX_NOTES


def test_limits_of_lists():
    names = b"".join(b"n%d.example\n" % number for number in range(value_conversion.MAX_NAMES + 5))
    found = convert(config_file.parse(b"DomainWhitelistFile f\nIgnoreMailFrom " + b"a.b," * 1500), lambda _: names)
    assert len(found.values["arc"]["trusted_sealers"]) == value_conversion.MAX_NAMES
    assert "5 left out" in note_of(found, "DomainWhitelistFile").text


@pytest.mark.slow
def test_exceptions_that_cannot_be_cut_out_take_their_network_with_them():
    many = host_lists.parse(b"10.0.0.0/8\n" + b"".join(b"!10.%d.%d.1\n" % (n % 250, n // 4) for n in range(900)))
    assert len(many.networks) <= host_lists.MAX_NETWORKS
    assert not any("10.0.0.0/8" in network for network in many.networks)
    assert any(entry.startswith("!10.") for entry in many.left_out)


def test_many_networks_are_bounded():
    found = host_lists.parse(b"".join(b"10.%d.%d.0/24\n" % (n % 250, n // 250) for n in range(1200)))
    assert len(found.networks) == host_lists.MAX_NETWORKS
    assert len(found.left_out) == 200


def test_a_whole_network_as_exception():
    assert host_lists.parse(b"192.0.2.0/25\n!192.0.2.0/24\n").networks == ()


NAMES = st.sampled_from([key.name for key in KEYS.values()])
ODD = ["true", "0", "local:/x", "hosts", "whitelist", "%s{", "x\x85y", "inet:1@::", "-", "0x", "a,,b"]
VALUES = st.one_of(st.text(max_size=60), st.sampled_from(ODD))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_any_values_make_a_file_that_loads(pairs):
    converted("".join(f"{name} {value}\n" for name, value in pairs).encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_octets_make_a_file_that_loads(raw):
    converted(raw)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_any_list_of_hosts(raw):
    found = host_lists.parse(raw)
    load.parse(f"[ignore]\nnetworks = {list(found.networks)!r}\n")
