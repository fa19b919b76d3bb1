"""`dmarcmilter check` and the daemon come to the same outcome object for the same octets.

Left out of the comparison: `time` (when it was), `queue_id` (the MTA's), `dns` and `milliseconds` (the daemon has a
cache and asks ahead). Left out of the vectors: what `check` has no word for (several messages on a connection, raw
protocol, clients without an address, logins, 8-bit HELO names), and DNS that fails, which is remembered for seconds.
"""

import contextlib
import json
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest

from dmarcmilter.cli.check import evaluate
from dmarcmilter.config import load as configuration
from dmarcmilter.mail.message import Envelope
from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer
from dmarcmilter.testing.postfix_headers import as_queued, split_message
from tests.support import outcomes
from tests.support.filter_daemon import FilterDaemon
from tests.support.paths import SHARED

VECTORS = SHARED / "vectors"
CATEGORIES = ("spf", "dkim", "arc", "dmarc", "attack", "robust", "behaviour")
EVERY = 3
AT_MOST = 35
"""Vectors of each category, evenly spread."""
DIFFERENT = ("time", "queue_id", "dns", "milliseconds")
DISCOVERY = {"rfc7489": "psl", "rfc9989": "treewalk"}


def octets(message) -> bytes:
    """The vectors' grammar: text with one octet a character, or a list of texts and repetitions."""
    parts = [message] if isinstance(message, str) else message
    found = []
    for part in parts:
        if isinstance(part, str):
            found.append(part)
        else:
            found += [part["repeat"].replace("{i}", str(number)) for number in range(part["times"])]
    return "".join(found).encode("latin-1")


def is_address(text) -> bool:
    try:
        return bool(ip_address(text))
    except ValueError:  # also `unix` and `unknown`
        return False


def is_usable(vector) -> bool:
    texts = [vector.get("helo") or "", vector.get("mail_from", ""), *vector.get("rcpts", [])]
    return (
        "message" in vector
        and not {"repeat", "auth_user", "macros", "mail_from_raw"} & vector.keys()
        and is_address(vector.get("client_ip", "192.0.2.1"))
        and all(text.isascii() and "\0" not in text for text in texts)
        and not any("_" in node for node in vector.get("zone", {}).values())
    )


def chosen(category):
    paths = sorted(VECTORS.glob(f"*/{category}.jsonl"))
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    usable = [vector for vector in map(json.loads, lines) if is_usable(vector)]
    if len(usable) <= AT_MOST:
        return usable
    return usable[:: max(EVERY, -(-len(usable) // AT_MOST))]


def sections(dns, wanted):
    return {
        "identity": {"authserv_id": "mx.test.example"},
        "ignore": {"networks": []},
        "dns": {"nameservers": [f"127.0.0.1:{dns.port}"]},
        "dmarc": {
            "discovery": DISCOVERY[wanted.get("discovery", "rfc9989")],
            "pct": "rfc7489" if wanted.get("pct", True) else "ignore",
        },
        "arc": {"trusted_sealers": wanted.get("trusted_arc_sealers", [])},
    }


def by_daemon(daemon, vector, raw, queue_id):
    with MilterClient(daemon.address, timeout=60) as client:
        client.deliver(
            raw,
            queue_id=queue_id,
            client_ip=vector.get("client_ip", "192.0.2.1"),
            helo=vector.get("helo", "client.example"),
            mail_from=vector.get("mail_from", "<sender@client.example>").strip("<>"),
        )
    return daemon.record(queue_id)


def by_check(config, vector, raw, rcpts=()):
    address = ip_address(vector.get("client_ip", "192.0.2.1"))
    envelope = Envelope(
        queue_id="-",
        received_at=datetime.now(UTC),
        client_ip=getattr(address, "ipv4_mapped", None) or address,
        client_name="",
        helo=(vector.get("helo", "client.example") or "").encode(),
        mail_from=vector.get("mail_from", "<sender@client.example>").strip("<>").encode(),
        recipients=tuple(path.encode() for path in rcpts),
    )
    return json.loads(json.dumps(outcomes.recorded(evaluate(envelope, raw, config))))


def as_handed_over(message: bytes) -> bytes:
    """What an MTA makes of the message before any filter sees it: line ends, fields cut at its limit."""
    fields, body = split_message(message)
    header = [name + b":" + value + b"\r\n" for name, value in map(as_queued, fields)]
    return b"".join(header) + b"\r\n" + body


def comparable(record):
    return {key: value for key, value in record.items() if key not in DIFFERENT}


@pytest.mark.parametrize("category", CATEGORIES)
def test_same_outcome(category):
    if not VECTORS.is_dir():
        pytest.skip("NO COMPARISON OF check AND DAEMON: shared/vectors is not beside the project")
    vectors = chosen(category)
    groups = {}
    for vector in vectors:
        groups.setdefault(json.dumps(vector.get("conf", {}), sort_keys=True), []).append(vector)
    compared, different = 0, {}
    for wanted, group in groups.items():
        with contextlib.ExitStack() as stack:
            dns = stack.enter_context(NameServer({}))
            daemon = stack.enter_context(FilterDaemon(sections(dns, json.loads(wanted))))
            config = configuration.load(str(daemon.conf))
            for number, vector in enumerate(group):
                dns.load(vector.get("zone", {}))
                raw = as_handed_over(octets(vector["message"]))
                told = comparable(by_daemon(daemon, vector, raw, f"4C{number:05X}"))
                found = comparable(by_check(config, vector, raw))
                compared += 1
                if told != found:
                    keys = [key for key in told.keys() | found.keys() if told.get(key) != found.get(key)]
                    different[vector["id"]] = {key: (told.get(key), found.get(key)) for key in keys}
    assert compared == len(vectors)
    assert compared > 0 or category == "behaviour"
    assert different == {}


# --- the choices of an operator that the vectors do not know: recipients, exceptions, forwarders, lists, rollout

ZONE = {
    "_dmarc.brand.example": {"TXT": ["v=DMARC1; p=reject"]},
    "_dmarc.soft.example": {"TXT": ["v=DMARC1; p=quarantine; pct=40"]},
    "_dmarc.broken.example": {"_": "servfail"},
    "lists.example": {"TXT": ["v=spf1 ip4:192.0.2.1 -all"]},
    "client.example": {"TXT": ["v=spf1 -all"]},
    "7.113.0.203.in-addr.arpa": {"PTR": ["mx.forward.example"]},
    "mx.forward.example": {"A": ["203.0.113.7"]},
}
CHOICES = {
    "everything": {
        "policy": {"mailing_lists": ["lists.example"]},
        "forwarders": {"names": ["forward.example"]},
        "dmarc": {"temperror": "tempfail"},
        "override": [
            {"name": "joe", "recipient": "joe@rcpt.example", "client": "192.0.2.0/24", "action": "accept"},
            {"name": "own", "from_domain": "nothing.example", "action": "reject"},
        ],
    },
    "rollout": {"policy": {"rollout_percent": 40, "rollout_domains": ["brand.example", "soft.example"]}},
    "monitor": {"policy": {"mode": "monitor", "quarantine_action": "subject"}},
    "redirected": {"policy": {"quarantine_action": "redirect"}, "quarantine": {"mailbox": "q@rcpt.example"}},
}
LISTED = "List-Id: <users.lists.example>\r\n"
SITUATIONS = [
    (author, more, client, sender, rcpts)
    for author in ("brand.example", "soft.example", "nothing.example", "broken.example")
    for more, client, sender, rcpts in (
        ("", "192.0.2.1", "x@client.example", ("ann@rcpt.example",)),
        ("", "192.0.2.1", "x@client.example", ("joe@rcpt.example",)),
        ("", "192.0.2.1", "x@client.example", ("joe+news@rcpt.example", "free@rcpt.example")),
        ("", "203.0.113.7", "", ("ann@rcpt.example",)),
        (LISTED, "192.0.2.1", "x@lists.example", ("ann@rcpt.example",)),
        (LISTED, "192.0.2.1", "x@client.example", ("free@rcpt.example",)),
    )
]


@pytest.mark.parametrize("name", CHOICES)
def test_same_outcome_with_an_operators_choices(name, tmp_path):
    """Sealing is no part of judging: `check` does none."""
    path = tmp_path / "recipients"
    path.write_text("free@rcpt.example exempt\n", encoding="utf-8")
    different = {}
    with NameServer(ZONE) as dns:
        own = sections(dns, {}) | CHOICES[name] | {"recipients": {"file": str(path)}}
        with FilterDaemon(own) as daemon, MilterClient(daemon.address, timeout=60) as client:
            config = configuration.load(str(daemon.conf))
            for number, (author, more, address, sender, rcpts) in enumerate(
                SITUATIONS if name == "everything" else SITUATIONS[::3]
            ):
                raw = f"From: a@{author}\r\n{more}Subject: {number}\r\n\r\nHello.\r\n".encode()
                vector = {"client_ip": address, "mail_from": sender}
                client.deliver(raw, queue_id=f"4D{number:05X}", client_ip=address, mail_from=sender, rcpts=rcpts)
                told = comparable(daemon.record(f"4D{number:05X}"))
                found = comparable(by_check(config, vector, raw, rcpts))
                # The daemon has deferred it since; it had not been when it came.
                if told["action"] == "tempfail":
                    del told["deferred_for"], found["deferred_for"]
                if told != found:
                    keys = [key for key in told.keys() | found.keys() if told.get(key) != found.get(key)]
                    different[number] = {key: (told.get(key), found.get(key)) for key in keys}
            acted = {record["action"] for record in daemon.records()}
    assert different == {}
    # The rollout draws by a key that is new each time, so all of it may be left out.
    if name != "rollout":
        assert ("reject" in acted) is (name != "monitor")
