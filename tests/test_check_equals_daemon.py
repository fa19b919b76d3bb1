"""`dmarcmilter check` and the daemon come to the same outcome object for the same octets.

Left out of the comparison: `time` (when it was), `queue_id` (the MTA's), `dns` and `milliseconds` (the daemon has a
cache and asks ahead). Left out of the vectors: what `check` has no word for (several messages on a connection, raw
protocol, clients without an address, logins, 8-bit HELO names), and DNS that fails, which is remembered for seconds.
"""

import contextlib
import json
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from mta.daemon import FilterDaemon

from dmarcmilter import config as configuration
from dmarcmilter.cli.check import judge
from dmarcmilter.demo.mta.headers import as_queued, split_message
from dmarcmilter.demo.mta.milterclient import MilterClient
from dmarcmilter.demo.nameserver import NameServer
from dmarcmilter.message import Envelope

VECTORS = Path(__file__).parents[2] / "shared" / "vectors"
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
    with MilterClient(daemon.address, timeout=20) as client:
        client.deliver(
            raw,
            queue_id=queue_id,
            client_ip=vector.get("client_ip", "192.0.2.1"),
            helo=vector.get("helo", "client.example"),
            mail_from=vector.get("mail_from", "<sender@client.example>").strip("<>"),
        )
    return daemon.record(queue_id)


def by_check(config, vector, raw):
    address = ip_address(vector.get("client_ip", "192.0.2.1"))
    envelope = Envelope(
        queue_id="-",
        received_at=datetime.now(UTC),
        client_ip=getattr(address, "ipv4_mapped", None) or address,
        client_name="",
        helo=(vector.get("helo", "client.example") or "").encode(),
        mail_from=vector.get("mail_from", "<sender@client.example>").strip("<>").encode(),
    )
    return json.loads(json.dumps(judge(envelope, raw, config).record()))


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
