import json

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.cli.check import CHUNK
from dmarcmilter.cli.demo import STATE_CONF, socket_for_postfix
from dmarcmilter.config import load
from dmarcmilter.config.schema import Config
from dmarcmilter.testing.name_server import NameServer

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
MESSAGE = b"From: A <a@example.com>\r\nTo: b@example.net\r\nSubject: x\r\n\r\nHello.\r\n"
ENVELOPE = ["--helo", "mta.example.net", "--mail-from", "<user@example.com>"]


@pytest.fixture(scope="module")
def server():
    with NameServer(ZONE) as running:
        yield running


@pytest.fixture
def conf(tmp_path, server):
    return write_conf(tmp_path, server.port)


def write_conf(tmp_path, port, more=""):
    (tmp_path / "list.dat").write_text("com\nexample\n", encoding="utf-8")
    path = tmp_path / "conf.toml"
    path.write_text(
        f'[dns]\nnameservers = ["127.0.0.1:{port}"]\ntimeout = 2.0\n[dmarc]\npsl_file = "{tmp_path}/list.dat"\n'
        f'[history]\njournal = "{tmp_path}/journal"\n[policy]\nsampling_key = "{tmp_path}/key"\n{more}',
        encoding="utf-8",
    )
    return str(path)


def run(*arguments, stdin=None):
    return CliRunner().invoke(main, arguments, input=stdin, catch_exceptions=False)


def check(conf, message, *more, ip="192.0.2.1", stdin=None):
    return run("check", "--config", conf, "--ip", ip, *ENVELOPE, *more, str(message), stdin=stdin)


@pytest.fixture
def message(tmp_path):
    path = tmp_path / "m.eml"
    path.write_bytes(MESSAGE)
    return path


def test_check_passes(conf, message):
    result = check(conf, message)
    assert result.exit_code == 0
    assert "DMARC passes: SPF of example.com is aligned with the Author Domain." in result.stdout
    assert result.stdout.endswith("The message is accepted.\n")
    assert result.stderr == ""


def test_check_fails(conf, message):
    result = check(conf, message, ip="192.0.2.2")
    assert result.exit_code == 1
    assert "It asks for p=reject when a message fails." in result.stdout


@pytest.mark.parametrize(
    ("author", "status", "word"),
    [
        ("a@good.example", 1, "fail"),
        ("a@nothing.example", 0, "none"),
        ("a@unusable.example", 0, "none"),
        ("a@broken.example", 2, "temperror"),
        ("a@good.example, b@example.com", 2, "permerror"),
    ],
)
def test_check_exit_status(author, status, word, conf, tmp_path):
    path = tmp_path / "other.eml"
    path.write_bytes(MESSAGE.replace(b"A <a@example.com>", author.encode()))
    result = check(conf, path, "--json", ip="192.0.2.2")
    assert (result.exit_code, json.loads(result.stdout)["dmarc"]["result"]) == (status, word)


def test_check_json_is_the_outcome_object(conf, message):
    result = check(conf, message, "--json", "--queue-id", "4XYZ", "--rcpt", "secret@example.net", ip="192.0.2.2")
    record = json.loads(result.stdout)
    assert result.stdout.count("\n") == 1
    assert (record["queue_id"], record["client_ip"], record["helo"]) == ("4XYZ", "192.0.2.2", "mta.example.net")
    assert (record["spf"]["result"], record["mail_from_domain"]) == ("fail", "example.com")
    assert record["dns"]["queries"] > 0
    assert record["size"] == len(MESSAGE)
    assert "secret" not in result.stdout


def test_check_of_standard_input_with_lf(conf):
    result = check(conf, "-", stdin=MESSAGE.replace(b"\r\n", b"\n"))
    assert result.exit_code == 0


def test_check_of_the_null_sender(conf, message):
    result = run(
        *["check", "--config", conf, "--ip", "192.0.2.1", "--helo", "example.com", "--mail-from", ""],
        *["--json", str(message)],
    )
    record = json.loads(result.stdout)
    assert (record["spf"]["scope"], record["spf"]["result"], record["mail_from_domain"]) == ("helo", "pass", None)


def test_check_hands_the_body_over_in_chunks(conf, tmp_path):
    path = tmp_path / "large.eml"
    path.write_bytes(MESSAGE + b"x" * 3 * CHUNK)
    record = json.loads(check(conf, path, "--json").stdout)
    assert record["size"] == len(MESSAGE) + 3 * CHUNK


def test_check_has_the_daemons_limits(tmp_path, server, message):
    conf = write_conf(tmp_path, server.port, "[milter]\nmax_header_fields = 100\n")
    long = tmp_path / "long.eml"
    long.write_bytes(b"X: y\r\n" * 100 + MESSAGE)
    record = json.loads(check(conf, long, "--json").stdout)
    assert (record["truncated"], record["author_problem"]) == ("max_header_fields", "malformed")
    assert record["size"] == 600 + len(MESSAGE)


@pytest.mark.parametrize("ip", ["127.0.0.9", "::ffff:127.0.0.9"])
def test_check_says_when_the_daemon_would_not_look(ip, conf, message):
    result = check(conf, message, ip=ip)
    assert "[ignore] networks" in result.stderr


def test_check_errors(conf, message, tmp_path):
    for arguments in ((conf, tmp_path / "none.eml"), (conf, tmp_path), (str(tmp_path / "none.toml"), message)):
        result = check(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("dmarcmilter: ")
        assert str(tmp_path) in result.stderr
    result = check(conf, message, ip="localhost")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "localhost" in result.stderr
    assert check(conf, message, "--unknown").exit_code == 2


def test_check_without_the_suffix_list(conf, message, tmp_path):
    (tmp_path / "list.dat").unlink()
    result = check(conf, message)
    assert result.exit_code == 2
    assert "[dmarc] psl_file" in result.stderr


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


def test_the_usual_place_of_the_conf(conf, message, monkeypatch):
    monkeypatch.setattr(load, "DEFAULT_PATH", conf)
    assert run("lookup", "example.com").exit_code == 0
    assert run("check", "--ip", "192.0.2.1", *ENVELOPE, str(message)).exit_code == 0


def config_check(tmp_path, path):
    """Without the Postfix and the unit of this machine."""
    return run("config", "check", "--postfix", str(tmp_path), "--user", "", path)


def test_config_check(conf, tmp_path, server):
    result = config_check(tmp_path, conf)
    assert (result.exit_code, result.stdout.splitlines()[-1].startswith(f"{conf}: valid")) == (0, True)
    warned = write_conf(tmp_path, server.port, 'mode = "monitor"\n')
    result = config_check(tmp_path, warned)
    assert result.exit_code == 0
    assert result.stdout.startswith('warning: [policy] mode is "monitor"')
    assert "warnings" in result.stdout.splitlines()[-1]
    assert "ok: [policy] mode in force: monitor (no policy is enforced)\n" in result.stdout
    enforcing = write_conf(tmp_path, server.port, 'mode = "enforce"\nrollout_percent = 5\n')
    result = config_check(tmp_path, enforcing)
    assert "ok: [policy] mode in force: enforce for 5 % of messages\n" in result.stdout
    assert "mode is not written" not in result.stdout


def test_config_check_warns_where_the_mode_is_not_written(conf, tmp_path):
    result = config_check(tmp_path, conf)
    assert result.exit_code == 0
    assert 'warning: [policy] mode is not written, so the default applies, which has changed from "enforce"' in (
        result.stdout
    )


def test_config_check_refuses(tmp_path, server):
    result = run("config", "check", write_conf(tmp_path, server.port, "mod = 1\n"))
    assert result.exit_code == 2
    assert "unknown key mod; the nearest known is mode" in result.stderr
    assert run("config", "check", str(tmp_path / "none.toml")).exit_code == 2


TRICKY = """
author_text = 'quotes " and \\ backslash'
info_url = "https://a.example/?q=%20&x"
[identity]
remove_authserv_ids = ["a", "b.example"]
[ignore]
authenticated = false
networks = []
"""


def test_config_show_loads_back_equal(tmp_path, server):
    conf = write_conf(tmp_path, server.port, TRICKY)
    shown = run("config", "show", conf)
    assert shown.exit_code == 0
    assert load.parse(shown.stdout) == load.load(conf)
    assert run("config", "show").stdout == run("config", "show", "").stdout
    assert load.parse(run("config", "show").stdout) == Config()


def test_config_show_of_changes(tmp_path, server):
    conf = write_conf(tmp_path, server.port, TRICKY)
    shown = run("config", "show", "-n", conf).stdout
    assert load.parse(shown) == load.load(conf)
    assert "reject_action" not in shown
    assert run("config", "show", "-n").stdout == ""


@pytest.mark.parametrize(
    ("socket", "postfix"),
    [
        ("inet:8893@127.0.0.1", "inet:127.0.0.1:8893"),
        ("inet6:8893@::1", "inet:[::1]:8893"),
        ("unix:/run/f.sock", "unix:/run/f.sock"),
    ],
)
def test_demo_names_the_socket_as_postfix_does(socket, postfix, tmp_path):
    path = tmp_path / "conf.toml"
    path.write_text(STATE_CONF.format(socket=socket, state=tmp_path), encoding="utf-8")
    assert socket_for_postfix(path) == postfix


@pytest.fixture
def served(monkeypatch):
    """The conf files that a filter was started with, none of them really."""
    from dmarcmilter.daemon import supervisor
    from dmarcmilter.demo import show

    started = []
    monkeypatch.setattr(supervisor, "serve", lambda path: started.append(path) or 7)
    monkeypatch.setattr(show, "show", lambda: None)
    return started


def test_run_starts_the_daemon(served):
    assert run("run", "--config", "f.toml").exit_code == 7
    assert run("run").exit_code == 7
    assert served == ["f.toml", ""]


def test_demo_ends_after_the_show(served):
    assert run("demo").exit_code == 0
    assert served == []


def test_demo_that_stays_keeps_its_conf(served, tmp_path):
    state = tmp_path / "new" / "state"
    arguments = ["demo", "--stay", "--state", str(state), "--socket", "inet:8899@127.0.0.1"]
    result = run(*arguments)
    assert result.exit_code == 7
    assert "smtpd_milters = inet:127.0.0.1:8899" in result.stdout
    conf = state / "dmarcmilter.toml"
    assert served == [str(conf)]
    assert load.load(str(conf)).history.journal == f"{state}/journal"
    conf.write_text(conf.read_text(encoding="utf-8").replace("8899", "8900"), encoding="utf-8")
    assert "127.0.0.1:8900" in run(*arguments).stdout


def test_help_names_every_command():
    text = run("--help").stdout
    assert all(name in text for name in ("run", "check", "lookup", "config", "demo"))
    assert run("--version").exit_code == 0
