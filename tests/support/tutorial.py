"""A week of mail at a small site, for the tutorials: sent through the filter itself, so that what they show is real.

The filter runs with a name server of its own. Afterwards the times of the outcomes are spread over the last days;
nothing else of them is changed.
"""

import json
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import authheaders

from dmarcmilter.testing.milter_client import MilterClient
from dmarcmilter.testing.name_server import NameServer
from dmarcmilter.value import replace
from tests.support.filter_daemon import FilterDaemon
from tests.support.mta.mail_chain import PRIVATE, public_key, signed

BANK, SHOP, FREEMAIL, LIST, ESP, UNIVERSITY, SPAMMER, BOTS = (
    "192.0.2.10", "192.0.2.20", "192.0.2.30", "192.0.2.40", "192.0.2.50", "192.0.2.60", "198.51.100.66", "203.0.113.9",
)  # fmt: skip
SEED = 20_270_115
FIELDS = [b"from", b"to", b"subject", b"date", b"message-id"]
LIST_ID = "List-Id: Allotment gardeners <gardeners.lists.example>\r\n"


def _domain(name: str, policy: str, client: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: {"TXT": [f"v=spf1 ip4:{client} -all"], "MX": [[10, f"mail.{name}"]]},
        f"mail.{name}": {"A": [client]},
        f"s._domainkey.{name}": {"TXT": [public_key()]},
    }
    if policy:
        found[f"_dmarc.{name}"] = {"TXT": [f"v=DMARC1; {policy}"]}
    return found


ZONE = {
    **_domain("bank.example", "p=reject; rua=mailto:dmarc@bank.example", BANK),
    **_domain("shop.example", "p=quarantine; rua=mailto:dmarc@shop.example", SHOP),
    **_domain("freemail.example", "p=none; sp=quarantine; rua=mailto:dmarc@freemail.example", FREEMAIL),
    **_domain("club.example", "p=reject; adkim=s; pct=100", "192.0.2.51"),
    **_domain("office.example", "p=reject", "192.0.2.70"),
    **_domain("lists.example", "", LIST),
    **_domain("newsletter.example", "p=none", ESP),
    **_domain("university.example", "p=quarantine", UNIVERSITY),
    **_domain("small.example", "", "192.0.2.80"),
    **_domain("bots.example", "", BOTS),
    "_dmarc.broken.example": {"TXT": ["v=DMARC1; p=reject"], "_": "servfail"},
}


@dataclass(frozen=True, slots=True)
class Kind:
    """Messages of one kind: how many in a week, the From domain, who hands them in, and what is made of them before."""

    number: int
    author: str
    client: str
    sender: str
    make: Callable[[bytes, str], bytes] = lambda message, author: message


def _from_the_list(message: bytes, author: str) -> bytes:
    """Signed by its author, changed by the list, signed by the list."""
    changed = signed(message, author).replace(b"\r\nworld", b"\r\nworld\r\n-- \r\nTo leave this list: ...")
    return signed(LIST_ID.encode() + changed, "lists.example")


def _by_the_newsletter_service(message: bytes, _: str) -> bytes:
    return signed(message, "newsletter.example")


def _forwarded(message: bytes, author: str) -> bytes:
    """Signed by its author, changed on the way, and sealed by who changed it."""
    changed = signed(message, author).replace(b"Subject: ", b"Subject: [alumni] ")
    results = f"Authentication-Results: university.example; arc=none; dmarc=pass header.from={author}\r\n".encode()
    fields = authheaders.sign_message(
        results + changed, b"s", b"university.example", PRIVATE, FIELDS,
        sig="ARC", srv_id=b"university.example", standardize=False,
    )  # fmt: skip
    return b"".join(fields) + changed


WEEK = [
    Kind(120, "bank.example", BANK, "bank.example", signed),
    Kind(60, "shop.example", SHOP, "shop.example"),
    Kind(30, "freemail.example", FREEMAIL, "freemail.example", signed),
    Kind(30, "small.example", "192.0.2.80", "small.example"),
    Kind(20, "bots.example", BOTS, "bots.example"),
    Kind(31, "bank.example", SPAMMER, "bots.example"),
    Kind(12, "shop.example", SPAMMER, "bots.example"),
    Kind(24, "office.example", LIST, "lists.example", _from_the_list),
    Kind(14, "club.example", ESP, "newsletter.example", _by_the_newsletter_service),
    Kind(9, "bank.example", UNIVERSITY, "university.example", _forwarded),
    Kind(6, "freemail.example", SPAMMER, "bots.example"),
    Kind(3, "office.example", BOTS, ""),
    Kind(2, "bank.example>, <x@shop.example", SPAMMER, "bots.example"),
    Kind(1, "broken.example", SPAMMER, "bots.example"),
]


def _message(kind: Kind, queue_id: str) -> bytes:
    text = (
        f"From: <someone@{kind.author}>\r\nTo: <you@example.net>\r\nSubject: Hello\r\n"
        f"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <{queue_id}@{kind.client}>\r\n\r\nHello,\r\nworld.\r\n"
    )
    return kind.make(text.encode(), kind.author)


def _queue_ids() -> Iterator[str]:
    """As Postfix makes them with enable_long_queue_ids."""
    letters = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
    draw = random.Random(SEED)
    while True:
        yield "4f" + "".join(draw.choices(letters, k=4)) + "z" + "".join(draw.choices(letters, k=3))


def outcomes(kinds: list[Kind] = WEEK, **settings: Any) -> list[dict[str, Any]]:
    """What the filter writes down of them, in the order in which they came. `settings`: sections of its conf file."""
    mail = [kind for kind in kinds for _ in range(kind.number)]
    random.Random(SEED).shuffle(mail)
    with NameServer(ZONE, ttl=3600) as dns, tempfile.NamedTemporaryFile() as key:
        key.write(bytes(range(32)))  # the same draws each time
        key.flush()
        conf = {
            "identity": {"authserv_id": "mx.example.net"},
            "dns": {"nameservers": [f"127.0.0.1:{dns.port}"], "timeout": 1.0},
            "log": {"level": "warning"},
            **settings,
        }
        conf["policy"] = {"mode": "monitor", "sampling_key": key.name} | settings.get("policy", {})
        with FilterDaemon(conf) as daemon:
            for kind, queue_id in zip(mail, _queue_ids(), strict=False):
                _send(daemon, kind, queue_id)
            return daemon.records()


def _send(daemon: FilterDaemon, kind: Kind, queue_id: str) -> None:
    helo = f"mail.{kind.sender or 'office.example'}"
    envelope = {"client_ip": kind.client, "helo": helo, "mail_from": f"bounce@{kind.sender}" if kind.sender else ""}
    with MilterClient(daemon.address) as client:
        client.deliver(_message(kind, queue_id), queue_id=queue_id, **envelope)


def spread(records: list[dict[str, Any]], *, since: int = 7, until: int = 0) -> list[dict[str, Any]]:
    """Between so many days ago: less at night and at the end of the week."""
    now = datetime.now(UTC)
    hours = [now - timedelta(hours=n) for n in range(until * 24 + 1, since * 24 - 1)]
    weights = [(1 if when.hour < 6 else 4) * (1 if when.weekday() > 4 else 2) for when in hours]
    times = sorted(random.Random(SEED).choices(hours, weights, k=len(records)))
    return [
        record | {"time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z")}
        for record, when in zip(records, times, strict=True)
    ]


def more(factor: int) -> list[Kind]:
    return [replace(kind, number=kind.number * factor) for kind in WEEK]


def write_site(folder: Path, records: list[dict[str, Any]]) -> Path:
    """A journal in that folder, and the conf file of the filter that is said to have written it."""
    journal = folder / "journal"
    journal.mkdir()
    first = datetime.fromisoformat(records[0]["time"])
    # The filter has run for longer than the week, without mail on that day.
    (journal / _file_name(first - timedelta(days=1))).touch()
    (journal / _file_name(first)).write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    conf = folder / "dmarcmilter.toml"
    conf.write_text(conf_text(folder, '[policy]\nmode = "monitor"\n'), encoding="utf-8")
    return conf


def _file_name(began: datetime) -> str:
    """Name of a journal file."""
    return f"{began:%Y%m%d}-{int(began.timestamp() * 1000)}-17.jsonl"


def conf_text(folder: Path, settings: str) -> str:
    """Those settings, with the places of that folder."""
    return f'{settings}\n[history]\njournal = "{folder}/journal"\ndatabase = "sqlite:///{folder}/history.db"\n'
