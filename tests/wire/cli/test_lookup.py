"""`dmarcmilter lookup` with a name server."""

import json

import pytest

from dmarcmilter.config import load
from dmarcmilter.testing.name_server import NameServer
from tests.support.commands import run, write_conf

ZONE = {
    "_dmarc.example.com": {"TXT": ["v=DMARC1; p=reject; sp=quarantine; pct=50; rua=nobody"]},
    "example.com": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"], "A": ["192.0.2.1"]},
    "_dmarc.good.example": {"TXT": ["v=DMARC1; p=none"]},
    "_dmarc.hostile.example": {"TXT": ["v=DMARC1; p=none; x=\\[/a]; y=[red]"]},
    "_dmarc.two.example": {"TXT": ["v=DMARC1; p=none", "v=DMARC1; p=reject"]},
    "_dmarc.a.b.example": {"TXT": ["v=DMARC1; p=none"]},
    "_dmarc.b.example": {"TXT": ["v=DMARC1; p=reject; psd=y"]},
    "_dmarc.broken.example": {"_": "servfail"},
    "plain.example": {"A": ["192.0.2.9"]},
    "silent.test": {"_": "servfail"},
    "_dmarc.silent.test": {"_": "servfail"},
    "_dmarc.unusable.example": {"TXT": ["v=DMARC1; p=maybe"]},
    "_dmarc.np.example": {"TXT": ["v=DMARC1; p=none; np=reject"]},
    "alias.np.example": {"CNAME": ["nowhere.hosting.example"]},
    "_dmarc.lame.good.example": {"_": "servfail"},
    "_dmarc.meant.example": {"TXT": ["v=dmarc1; p=reject", "unrelated", "[red] v=DMARC1; p=\x1b"]},
}


@pytest.fixture(scope="module")
def server():
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture
def conf(tmp_path, server):
    return write_conf(tmp_path, server.port)


def lookup(conf, domain, *more):
    return run("lookup", "--config", conf, *more, domain)


def test_lookup(conf):
    result = lookup(conf, "Sub.Example.com.")
    text = " ".join(result.stdout.split())
    assert result.exit_code == 0
    for words in ("mail From sub.example.com", "RFC 9989 tree walk (in", "quarantine"):
        assert words in text
    assert "fault in rua" in text
    assert "No fault" not in text


def test_lookup_of_a_good_record(conf):
    result = lookup(conf, "good.example")
    assert "No fault was found in the record." in result.stdout
    assert "differ" not in result.stdout


def test_lookup_json(conf):
    result = lookup(conf, "sub.example.com", "--json")
    report = json.loads(result.stdout)
    assert (report["domain"], report["discovery"], report["differ"]) == ("sub.example.com", "treewalk", False)
    for method in ("treewalk", "psl"):
        found = report[method]
        assert found["policy_domain"] == found["organizational_domain"] == "example.com"
        assert (found["tag"], found["published"], found["requested"]) == ("sp", "quarantine", "quarantine")
        assert found["when_not_selected"] == "none"
        faults = {fault["tag"]: fault for fault in found["faults"]}
        assert {"rua", "pct"} <= set(faults)
        assert all(fault["problem"] and fault["advice"] for fault in faults.values())


@pytest.mark.parametrize(
    "asked",
    ["_dmarc.good.example", "joe@good.example", "https://good.example/x", "GOOD.example.", "Joe <joe@good.example>"],
)
def test_lookup_takes_what_people_have(conf, asked):
    result = lookup(conf, asked, "--json")
    report = json.loads(result.stdout)
    assert (result.exit_code, report["domain"], report["asked"]) == (0, "good.example", asked)


@pytest.mark.parametrize(
    ("domain", "exists", "status", "words"),
    [
        ("nothing.test", False, 1, "The domain nothing.test does not exist (NXDOMAIN). No DMARC record applies"),
        ("plain.example", True, 1, "The domain plain.example exists. No DMARC record applies"),
        ("below.good.example", False, 0, "The domain below.good.example does not exist (NXDOMAIN)."),
        ("silent.test", None, 2, "DNS did not answer whether the domain silent.test exists: "),
        ("good.example", True, 0, "No fault was found"),
    ],
)
def test_lookup_says_whether_the_domain_exists(conf, domain, exists, status, words):
    result = lookup(conf, domain)
    text = " ".join(result.stdout.split())
    assert (result.exit_code, words in text) == (status, True), text
    assert ("does not exist" in text) is (exists is False)
    assert ("DNS did not answer" in text) is (exists is None)
    report = json.loads(lookup(conf, domain, "--json").stdout)
    assert (report["exists"], bool(report["existence_failed"])) == (exists, exists is None)


def test_lookup_tells_what_was_meant_as_a_record(conf):
    result = lookup(conf, "sub.meant.example")
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert 'at _dmarc.meant.example: not a DMARC record: it begins with "v=dmarc1; p=reject"' in text
    assert "begin the record with v=DMARC1;" in text
    assert text.count("not a DMARC record") == 2
    assert "\x1b" not in result.stdout
    report = json.loads(lookup(conf, "sub.meant.example", "--json").stdout)
    for method in ("treewalk", "psl"):
        assert [miss["name"] for miss in report[method]["near_misses"]] == ["_dmarc.meant.example"] * 2
    assert json.loads(lookup(conf, "good.example", "--json").stdout)["psl"]["near_misses"] == []


@pytest.mark.parametrize(("domain", "tag", "exists"), [("alias", "p", True), ("nowhere", "np", False)])
def test_lookup_of_an_alias_to_nowhere(conf, domain, tag, exists):
    # RFC 8020 2, RFC 6604 3
    report = json.loads(lookup(conf, f"{domain}.np.example", "--json").stdout)
    for method in ("treewalk", "psl"):
        assert (report[method]["tag"], report[method]["author_exists"]) == (tag, exists)


def test_lookup_goes_on_past_a_name_that_does_not_answer(conf):
    result = lookup(conf, "lame.good.example")
    assert result.exit_code == 2
    text = " ".join(result.stdout.split())
    assert "own record is unknown: that of good.example applies" in text
    report = json.loads(lookup(conf, "lame.good.example", "--json").stdout)
    for method in ("treewalk", "psl"):
        assert report[method]["policy_domain"] == "good.example"
        assert "SERVFAIL" in report[method]["failed"]


def test_lookup_says_that_there_is_no_record(conf):
    result = lookup(conf, "nothing.test")
    assert "No DMARC record applies" in result.stdout
    assert result.exit_code == 1


def test_lookup_does_not_compare_what_dns_kept_back(conf):
    result = lookup(conf, "broken.example")
    assert "differ" not in result.stdout
    assert "No DMARC record applies" not in result.stdout


def test_lookup_tells_where_the_discoveries_differ(conf):
    report = json.loads(lookup(conf, "x.a.b.example", "--json").stdout)
    assert report["differ"] is True
    assert (report["treewalk"]["policy_domain"], report["psl"]["policy_domain"]) == ("a.b.example", "b.example")
    assert "The two ways of discovery differ" in lookup(conf, "x.a.b.example").stdout


@pytest.mark.parametrize(
    ("domain", "status", "words"),
    [
        ("nothing.example", 1, ""),
        ("unusable.example", 1, "fault in p"),
        ("two.example", 1, "several DMARC records at _dmarc.two.example"),
        ("broken.example", 2, "DNS failure"),
        ("not a domain", 2, "is not a domain name"),
        ("a..b", 2, "is not a domain name"),
    ],
)
def test_lookup_exit_status(domain, status, words, conf):
    result = lookup(conf, domain)
    assert result.exit_code == status
    assert words in " ".join(result.output.split())


def test_lookup_shows_records_as_they_are(conf):
    result = lookup(conf, "hostile.example")
    assert result.exit_code == 0
    assert "y=[red]" in "".join(result.stdout.replace("\u2502", "").split())


def test_lookup_without_the_suffix_list(conf, tmp_path):
    (tmp_path / "list.dat").unlink()
    result = lookup(conf, "example.com")
    assert result.exit_code == 2
    assert "list.dat" in result.stderr


def test_the_usual_place_of_the_conf(conf, monkeypatch):
    monkeypatch.setattr(load, "DEFAULT_PATH", conf)
    assert run("lookup", "example.com").exit_code == 0
