"""What others rely on from outside, stated once: commands, conf keys, the outcome object, what the MTA sees.

Nothing here looks inside. What a later version adds passes; what it renames, drops or gives another meaning does not.
"""

import json
import re
import subprocess
import sys
import tomllib
from datetime import datetime
from importlib.metadata import entry_points

import pytest
from click.testing import CliRunner

from dmarcmilter.cli import main
from dmarcmilter.testing.milter_client import MilterAction, MilterClient
from dmarcmilter.testing.name_server import NameServer
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import PROJECT

AUTHSERV_ID = "mx.test.example"
ZONE = {
    "good.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"], "A": ["192.0.2.1"]},
    "_dmarc.good.example": {"TXT": ["v=DMARC1; p=reject; sp=quarantine; pct=100; rua=mailto:r@good.example; fo=1"]},
    "_dmarc.forged.example": {"TXT": ["v=DMARC1; p=reject; rua=mailto:r@forged.example"]},
    "_dmarc.odd.example": {"TXT": ["v=DMARC1; p=quarantine; t=n; psd=n; np=reject"]},
    "_dmarc.broken.example": {"_": "servfail"},
    "nothing.example": {"A": ["192.0.2.9"]},
    "_dmarc.two.example": {"TXT": ["v=DMARC1; p=reject; sp=none"]},
}
# (queue id, header, MAIL FROM, action, dmarc, disposition, what the SMTP client is told)
MESSAGES = [
    ("4PASS", "From: a@good.example", "a@good.example", "accept", "pass", "none", None),
    ("4REJECT", "From: a@forged.example", "a@good.example", "reject", "fail", "reject", 550),
    ("4HOLD", "From: a@odd.example", "", "quarantine", "fail", "quarantine", None),
    ("4DEFER", "From: a@broken.example", "a@good.example", "tempfail", "temperror", "none", 451),
    ("4NONE", "From: a@nothing.example", "a@good.example", "accept", "none", "none", None),
    ("4NOFROM", "Subject: x", "a@good.example", "reject", "permerror", "reject", 550),
    ("4TWO", "From: a@good.example\r\nFrom: a@two.example", "a@good.example", "reject", "permerror", "reject", 550),
]
IDS = [message[0] for message in MESSAGES]
SIGNATURE = "DKIM-Signature: v=1; a=rsa-sha256; d=good.example; s=s; h=from; bh=AAAA; b=AAAA"

OLD_CONF = """
[milter]
socket = "unix:/run/dmarcmilter/dmarcmilter.sock"
workers = 0
[identity]
authserv_id = "mx.example.net"
[ignore]
authenticated = true
networks = ["127.0.0.0/8", "::1/128"]
[dns]
nameservers = ["127.0.0.1:53"]
timeout = 5.0
message_budget = 20.0
[dmarc]
discovery = "treewalk"
psl_file = ""
pct = "rfc7489"
temperror = "accept"
[policy]
mode = "enforce"
reject_action = "reject"
quarantine_action = "hold"
[author]
on_missing = "reject"
on_multiple = "reject"
on_malformed = "reject"
[arc]
trusted_sealers = []
[history]
journal = "/var/lib/dmarcmilter/journal"
database = "sqlite:////var/lib/dmarcmilter/history.db"
"""
"""All keys that were promised at first, with their defaults."""
EXAMPLES = {("identity", "authserv_id"): "", ("dns", "nameservers"): [], ("policy", "mode"): "monitor"}
"""Keys whose value above is not the default: the MTA's {j} or the host's name; the system's name servers; the default
mode has changed since."""
OTHER_WORDS = [
    ("milter", "socket", ["inet:8893@127.0.0.1", "inet6:8893@::1"]),
    ("dns", "nameservers", [["192.0.2.53"], ["192.0.2.53:5353"], ["[2001:db8::53]:5353"]]),
    ("dmarc", "discovery", ["psl"]),
    ("dmarc", "pct", ["ignore"]),
    ("dmarc", "temperror", ["tempfail"]),
    ("policy", "mode", ["monitor"]),
    ("policy", "reject_action", ["quarantine", "none"]),
    ("policy", "quarantine_action", ["header", "none"]),
    *(("author", key, ["quarantine", "accept"]) for key in ("on_missing", "on_multiple", "on_malformed")),
    ("history", "database", ["postgresql+psycopg://dmarc@localhost/dmarc"]),
]

TEXT, NUMBER, MAYBE = str, int | float, type(None)
OUTCOME = {
    "v": int,
    "time": TEXT,
    "queue_id": TEXT,
    "client_ip": TEXT | MAYBE,
    "helo": TEXT,
    "mail_from_domain": TEXT | MAYBE,
    "author_domain": TEXT | MAYBE,
    "author_problem": TEXT | MAYBE,
    "size": int,
    "spf": {"result": TEXT, "domain": TEXT | MAYBE, "scope": TEXT},
    "dkim": [
        {
            "result": TEXT,
            "domain": TEXT | MAYBE,
            "selector": TEXT | MAYBE,
            "algorithm": TEXT | MAYBE,
            "reason": TEXT,
        }
    ],
    "arc": {"result": TEXT, "sealers": [dict], "oldest_pass": int | MAYBE},
    "policy": MAYBE,
    "dmarc": {
        "result": TEXT,
        "aligned": [{"mechanism": TEXT, "domain": TEXT, "mode": TEXT}],
        "requested": TEXT | MAYBE,
        "tag": TEXT | MAYBE,
        "reason": TEXT,
    },
    "disposition": TEXT,
    "overrides": [{"type": TEXT, "comment": TEXT}],
    "sampled_out": bool,
    "mode": TEXT,
    "action": TEXT,
    "dns": {"queries": int, "cache_hits": int, "milliseconds": NUMBER},
    "milliseconds": NUMBER,
}
POLICY = {
    "domain": TEXT,
    "p": TEXT,
    "sp": TEXT | MAYBE,
    "np": TEXT | MAYBE,
    "adkim": TEXT,
    "aspf": TEXT,
    "pct": int | MAYBE,
    "t": TEXT | MAYBE,
    "psd": TEXT,
    "fo": TEXT,
    "rua": [TEXT],
    "ruf": [TEXT],
    "record": TEXT,
    "discovery": TEXT,
    "organizational_domain": TEXT | MAYBE,
}


def departures(value, promised, path="outcome"):
    """Where a value is not of the promised shape; more keys than promised are welcome."""
    if isinstance(promised, dict):
        if not isinstance(value, dict):
            return [f"{path}: {value!r}"]
        lacking = [f"{path}.{key}: missing" for key in promised if key not in value]
        inner = [departures(value[key], kind, f"{path}.{key}") for key, kind in promised.items() if key in value]
        return lacking + [found for some in inner for found in some]
    if isinstance(promised, list):
        if not isinstance(value, list):
            return [f"{path}: {value!r}"]
        return [found for item in value for found in departures(item, promised[0], f"{path}[]")]
    is_flag_for_number = isinstance(value, bool) and promised is not bool
    return [] if isinstance(value, promised) and not is_flag_for_number else [f"{path}: {value!r}"]


def run(*arguments, stdin=b""):
    done = CliRunner().invoke(main, arguments, input=stdin)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exc_info
    return done.exit_code, done.stdout, done.stderr


def message(header):
    return f"{header}\r\nTo: b@rcpt.example\r\n{SIGNATURE}\r\n\r\nHello.\r\n".encode()


@pytest.fixture(scope="module")
def dns():
    with NameServer(ZONE) as running:
        yield running


def sections(dns, **more):
    own = {
        "identity": {"authserv_id": AUTHSERV_ID},
        "dns": {"nameservers": [f"127.0.0.1:{dns.port}"]},
        "dmarc": {"temperror": "tempfail"},
    }
    return own | more


def deliver(daemon, queue_id, header, mail_from):
    with MilterClient(daemon.address, timeout=60) as client:
        return client.deliver(message(header), queue_id=queue_id, mail_from=mail_from)


@pytest.fixture(scope="module")
def daemon(dns):
    with FilterDaemon(sections(dns)) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def answers(daemon):
    return {queue_id: deliver(daemon, queue_id, header, mail_from) for queue_id, header, mail_from, *_ in MESSAGES}


# --- the outcome object, and what the MTA sees


@pytest.mark.parametrize(("queue_id", "verdict"), [(m[0], m[3:6]) for m in MESSAGES], ids=IDS)
def test_each_message_has_one_outcome_of_the_promised_shape(daemon, answers, queue_id, verdict):
    record = daemon.record(queue_id)
    assert answers[queue_id].queue_id == queue_id
    assert departures(record, OUTCOME | {"policy": dict | MAYBE}) == []
    assert record["policy"] is None or departures(record["policy"], POLICY) == []
    assert (record["action"], record["dmarc"]["result"], record["disposition"]) == verdict
    assert (record["author_domain"] is None) is (record["author_problem"] is not None)
    assert record["mode"] == "enforce"
    assert record["time"].endswith("Z")
    assert datetime.fromisoformat(record["time"]).utcoffset().total_seconds() == 0


def test_a_policy_is_null_where_there_is_none(daemon, answers):
    assert answers
    assert daemon.record("4PASS")["policy"]["domain"] == "good.example"
    for queue_id in ("4NONE", "4NOFROM", "4DEFER"):
        assert daemon.record(queue_id)["policy"] is None


@pytest.mark.parametrize(("queue_id", "code"), [(m[0], m[6]) for m in MESSAGES], ids=IDS)
def test_what_the_smtp_client_is_told(answers, queue_id, code):
    answer = answers[queue_id]
    if code is None:
        assert answer.action is MilterAction.ACCEPT
        return
    told, text = answer.reply
    assert told == code
    assert text.startswith("5.7.1 " if code == 550 else "4.7.1 ")
    assert "DMARC" in text


def test_a_refusal_names_the_domain(answers):
    assert "forged.example" in answers["4REJECT"].reply[1]


def test_quarantine_is_the_milters_own_action(daemon, answers):
    assert answers["4HOLD"].quarantine
    assert not answers["4PASS"].quarantine
    assert daemon.record("4HOLD")["action"] == "quarantine"


@pytest.mark.parametrize("queue_id", ["4PASS", "4HOLD", "4NONE"])
def test_one_field_of_ours_at_the_top(answers, queue_id):
    answer = answers[queue_id]
    assert [name for name, _ in answer.added] == [b"Authentication-Results"]
    assert answer.headers[0] == answer.added[0]
    [ours] = answer.fields("Authentication-Results")
    assert ours.startswith(f"{AUTHSERV_ID};")


CLAIMS = [
    AUTHSERV_ID,
    AUTHSERV_ID.upper(),
    f'"{AUTHSERV_ID}"',
    f"(mine) {AUTHSERV_ID} 1",
    f"{AUTHSERV_ID} (version) 1",
    f"\r\n\t{AUTHSERV_ID}",
]


def test_every_field_that_claims_to_be_ours_is_taken_out(daemon):
    forged = [f"Authentication-Results: {claim}; dmarc=pass header.from=forged.example" for claim in CLAIMS]
    others = "Authentication-Results: mx.other.example; dmarc=pass"
    header = "\r\n".join([*forged, others, "From: a@nothing.example"])
    left = deliver(daemon, "4CLAIMS", header, "a@good.example").fields("Authentication-Results")
    assert len(left) == 2
    assert left[0].startswith(f"{AUTHSERV_ID};")
    assert "forged.example" not in left[0]
    assert left[1].startswith("mx.other.example;")


def test_quarantine_by_a_header_field_accepts(dns):
    with FilterDaemon(sections(dns, policy={"quarantine_action": "header"})) as daemon:
        answer = deliver(daemon, "4MARKED", "From: a@odd.example", "")
        assert (answer.action, answer.quarantine) == (MilterAction.ACCEPT, None)
        assert "dmarc=fail" in answer.fields("Authentication-Results")[0]
        record = daemon.record("4MARKED")
    assert (record["action"], record["disposition"]) == ("accept", "quarantine")


# --- the conf file


def test_the_old_conf_file_loads_and_holds_the_defaults(tmp_path):
    path = tmp_path / "old.toml"
    path.write_text(OLD_CONF, encoding="utf-8")
    status, effective, _ = run("config", "show", str(path))
    assert status == 0
    _, defaults, _ = run("config", "show")
    effective, defaults, promised = map(tomllib.loads, (effective, defaults, OLD_CONF))
    for section, keys in promised.items():
        for key, value in keys.items():
            assert effective[section][key] == value, (section, key)
            assert defaults[section][key] == EXAMPLES.get((section, key), value), (section, key)
    # Besides, nothing is on that the conf file of then did not ask for.
    for (section, key), value in EXAMPLES.items():
        effective[section][key] = value
    assert effective == defaults


def test_the_other_words_are_known(tmp_path):
    tables = tomllib.loads(OLD_CONF)
    path = tmp_path / "other.toml"
    for number in range(max(len(values) for _, _, values in OTHER_WORDS)):
        chosen = {(section, key): values[number % len(values)] for section, key, values in OTHER_WORDS}
        lines = []
        for section, keys in tables.items():
            lines.append(f"[{section}]")
            lines += [f"{key} = {json.dumps(chosen.get((section, key), value))}" for key, value in keys.items()]
        path.write_text("\n".join(lines), encoding="utf-8")
        status, shown, stderr = run("config", "show", str(path))
        assert (status, stderr) == (0, "")
        for (section, key), value in chosen.items():
            assert tomllib.loads(shown)[section][key] == value


def test_an_unknown_key_is_an_error_that_names_the_nearest(tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text('[policy]\nquarantine_acton = "hold"\n', encoding="utf-8")
    for command in (("config", "check"), ("config", "show"), ("run", "--config")):
        status, _, stderr = run(*command, str(path))
        assert status == 2
        assert "quarantine_acton" in stderr
        assert "quarantine_action" in stderr


def test_config_check_and_show(daemon):
    status, stdout, _ = run("config", "check", str(daemon.conf))
    assert status in (0, 1)  # 1: something does not fit this machine
    assert "valid" in stdout
    status, stdout, _ = run("config", "show", str(daemon.conf), "-n")
    assert status == 0
    changed = tomllib.loads(stdout)
    assert changed["identity"] == {"authserv_id": AUTHSERV_ID}
    assert "author" not in changed


# --- the commands


def check(daemon, header, mail_from, *more, source="-"):
    envelope = ["--ip", "192.0.2.1", "--helo", "client.example", "--mail-from", mail_from]
    return run("check", "--config", str(daemon.conf), *envelope, *more, source, stdin=message(header))


STATUS = {"pass": 0, "none": 0, "fail": 1, "temperror": 2, "permerror": 2}


@pytest.mark.parametrize(("queue_id", "header", "mail_from"), [m[:3] for m in MESSAGES], ids=IDS)
def test_check_judges_as_the_daemon(daemon, answers, queue_id, header, mail_from):
    assert answers
    recipients = ("--rcpt", "b@rcpt.example", "--rcpt", "c@rcpt.example")
    status, stdout, _ = check(daemon, header, mail_from, *recipients, "--json")
    found, told = json.loads(stdout), daemon.record(queue_id)
    assert departures(found, OUTCOME | {"policy": dict | MAYBE}) == []
    same = [key for key in OUTCOME if key not in ("time", "queue_id", "dns", "milliseconds", "dmarc")]
    assert {key: found[key] for key in same} == {key: told[key] for key in same}
    assert found["dmarc"]["result"] == told["dmarc"]["result"]
    assert status == STATUS[found["dmarc"]["result"]]


def test_check_explains_a_file_too(daemon, tmp_path):
    path = tmp_path / "message.eml"
    path.write_bytes(message("From: a@forged.example"))
    status, stdout, _ = check(daemon, "", "<a@good.example>", source=str(path))
    assert status == 1
    assert "forged.example" in stdout
    status, _, stderr = check(daemon, "", "", source=str(tmp_path / "missing.eml"))
    assert (status, bool(stderr)) == (2, True)


def test_lookup_knows_both_discoveries(daemon):
    status, stdout, _ = run("lookup", "--config", str(daemon.conf), "--json", "good.example")
    assert status == 0
    found = json.loads(stdout)
    assert found["domain"] == "good.example"
    assert {"treewalk", "psl"} <= set(found)
    assert "p=reject" in found["treewalk"]["record"]
    status, stdout, _ = run("lookup", "--config", str(daemon.conf), "good.example")
    assert (status, "reject" in stdout) == (0, True)


def test_the_life_after_the_verdict(daemon, answers):
    assert answers
    conf = ("--config", str(daemon.conf))
    assert run("history", "ingest", *conf)[0] == 0
    status, stdout, _ = run("stats", *conf, "--json")
    assert (status, isinstance(json.loads(stdout), dict)) == (0, True)
    status, stdout, _ = run("explain", *conf, "4REJECT")
    assert (status, "forged.example" in stdout) == (0, True)
    assert run("explain", *conf, "4NOSUCH")[0] == 1
    assert run("replay", *conf, "--since", "7d")[0] == 0


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("run", "--config"),
        ("check", "--config --ip --helo --mail-from --rcpt --json"),
        ("lookup", "--config --json"),
        ("config check", ""),
        ("config show", "-n"),
        ("history ingest", "--config --follow"),
        ("stats", "--config"),
        ("explain", "--config"),
        ("replay", "--config --since"),
        ("report", ""),
    ],
)
def test_commands_and_options(command, options):
    status, stdout, _ = run(*command.split(), "--help")
    assert status == 0
    assert set(options.split()) <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", stdout))


def test_two_ways_to_start_it():
    [script] = entry_points(group="console_scripts", name="dmarcmilter")
    assert script.load() is main
    module = [sys.executable, "-m", "dmarcmilter", "lookup", "--help"]
    done = subprocess.run(module, cwd=PROJECT, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Usage: ")
