"""The messages of the benchmark, each with its envelope and the results that a filter must come to.

The results are known from how the messages are made, not from a verifier. The same seed gives the same bytes, and a
message depends on the seed and its position only, so a longer corpus begins with the shorter one.
"""

import base64
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from unittest.mock import patch

import dkim

from bench.peers import message_text
from bench.peers.message_text import WORDS, MessageText, words
from bench.peers.organizations import ORGANIZATIONS, Organization, Relay, pick, senders
from bench.peers.signing_keys import SigningKey
from dmarcmilter.value import Value

KINDS = {
    "rsa-2048": 50, "rsa-1024": 6, "ed25519": 4, "double": 16, "third party": 4, "broken": 5, "unsigned": 9, "arc": 6,
}  # fmt: skip
"""How a message is signed, to its share in percent."""
RETURN_PATHS = {"own": 52, "bounce": 25, "provider": 20, "null": 3}
CANONICALIZATIONS = {"relaxed/relaxed": 88, "relaxed/simple": 9, "simple/simple": 3}
START = datetime(2025, 6, 1, tzinfo=UTC)
"""Time of the first message: all signatures were made in the past."""
RECEIVER = "rx-receiver.net"
SIGNED = ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type")
SIGNED_IF_PRESENT = ("Reply-To", "List-Unsubscribe", "List-Unsubscribe-Post", "In-Reply-To", "References")
FOOTER = b"_______________________________\r\nlist mailing list\r\n"


class Expected(Value):
    """Results by method. `dkim`: the domains with a passing signature, sorted. `arc`: None without an ARC Set."""

    has_mail_from: bool
    """SPF is that of MAIL FROM; else that of HELO (RFC 7208 2.4)."""
    spf: str
    dkim: tuple[str, ...]
    dmarc: str
    arc: str | None


class CorpusMessage(Value):
    kind: str
    address: str
    client_name: str
    """Reverse name of the client; its address in brackets if it has none."""
    helo: str
    mail_from: str
    """Address, empty for the null reverse-path."""
    rcpts: tuple[str, ...]
    raw: bytes
    expected: Expected


class _Client(Value):
    address: str
    name: str
    helo: str
    mail_from: str
    spf_domain: str
    spf: str


class _Signed(Value):
    raw: bytes
    domains: tuple[str, ...]
    """Domains with a passing signature."""


class Corpus:
    def __init__(self, seed: str, organizations: int = ORGANIZATIONS) -> None:
        self._seed = seed
        self._senders = senders(seed, organizations)
        self._text = MessageText(seed)
        self.records = self._senders.records
        """The DNS zone of all names in the messages."""

    def messages(self, count: int) -> Iterator[CorpusMessage]:
        for position in range(count):
            chance = random.Random(f"{self._seed} message {position}")  # noqa: S311  no secret
            yield self._message(chance, position)

    def _message(self, chance: random.Random, position: int) -> CorpusMessage:
        kind, date = pick(chance, KINDS), START + timedelta(seconds=37 * position)
        own_key = kind if kind in ("rsa-1024", "ed25519") else "rsa-2048"
        able = [sender for sender in self._senders.organizations if own_key in sender.keys]
        sender = chance.choices(able, [sender.weight for sender in able])[0]
        author_domain = f"news.{sender.name}" if chance.random() < 0.25 else sender.name
        client = _client(chance, sender, "provider" if kind == "third party" else pick(chance, RETURN_PATHS))
        rcpts = tuple(f"{chance.choice(WORDS)}{n}@{RECEIVER}" for n in range(chance.choice([1, 1, 1, 1, 2, 3])))
        content, body = self._text.make(chance, message_text.size(chance, position))
        core = [
            ("From", _author(chance, author_domain)),
            *_core_fields(chance, author_domain, rcpts[0], date),
            *content,
        ]
        chance.shuffle(core)
        optional = chance.sample(_optional_fields(chance, sender), chance.randint(1, 13))
        fields = [*_received(chance, sender, rcpts[0], date), *core, *optional]
        unsigned = "".join(f"{name}: {value}\r\n" for name, value in fields).encode() + b"\r\n" + body
        signed = _signed(chance, sender, kind, author_domain, unsigned)
        arc = None
        if kind == "arc":
            relay = chance.choice(self._senders.lists)
            signed, arc = self._through_lists(chance, relay, signed, date)
            client = _relayed(chance, relay, sender, client)
        dmarc = _dmarc(sender, author_domain, client, signed.domains)
        return CorpusMessage(
            kind=kind,
            address=client.address,
            client_name=client.name,
            helo=client.helo,
            mail_from=client.mail_from,
            rcpts=rcpts,
            raw=signed.raw,
            expected=Expected(bool(client.mail_from), client.spf, tuple(sorted(signed.domains)), dmarc, arc),
        )

    def _through_lists(
        self, chance: random.Random, last: Relay, signed: _Signed, date: datetime
    ) -> tuple[_Signed, str]:
        """Through one mailing list or two, each of which seals; some change the message before or after that."""
        raw, passing = signed.raw, signed.domains
        if chance.random() < 0.5:
            raw, passing = raw + FOOTER, ()
        lists = (
            [last] if chance.random() < 0.67 else [next(one for one in self._senders.lists if one is not last), last]
        )
        for number, relay in enumerate(lists):
            result = f"pass header.d={passing[0]}" if passing else "fail"
            chain = "; arc=pass" if number else ""
            raw = f"Authentication-Results: {relay.servers[0][0]}; dkim={result}{chain}\r\n".encode() + raw
            raw = b"".join(_seal(relay, raw, date + timedelta(seconds=number))) + raw
        if chance.random() < 0.15:
            return _Signed(raw + b"changed after sealing\r\n", ()), "fail"
        return _Signed(raw, passing), "pass"


def _client(chance: random.Random, sender: Organization, return_path: str) -> _Client:
    """The client and its MAIL FROM. One in seven is a host that no SPF record authorizes."""
    host, address = chance.choice(sender.provider.servers if return_path == "provider" else sender.servers)
    is_own = chance.random() < 0.86
    name = helo = host
    if not is_own:
        address = ".".join(["91", *(str(chance.randint(1, 250)) for _ in range(3))])
        name = f"[{address}]"
        helo = host if return_path == "null" else f"host-{address.replace('.', '-')}.dynamic-pool.net"
    if return_path == "null":
        return _Client(address, name, helo, "", helo, "pass" if is_own else "fail")
    if return_path == "provider":
        domain = f"bounces.{sender.provider.name}"
        result = "pass" if is_own else "softfail"
    else:
        domain = sender.name if return_path == "own" else f"bounce.{sender.name}"
        result = "pass" if address in sender.authorized else sender.spf_otherwise
    return _Client(address, name, helo, f"b{chance.getrandbits(30)}@{domain}", domain, result)


def _relayed(chance: random.Random, relay: Relay, sender: Organization, before: _Client) -> _Client:
    """The mailing list as the client; three of five rewrite the return path."""
    host, address = chance.choice(relay.servers)
    if chance.random() < 0.6:
        mail_from = f"SRS0={chance.getrandbits(16):04x}=xx={sender.name}=user@{relay.name}"
        return _Client(address, host, host, mail_from, relay.name, "pass")
    if not before.mail_from:
        return _Client(address, host, host, "", host, "pass")
    is_provider = before.spf_domain.endswith(sender.provider.name)
    result = "softfail" if is_provider else sender.spf_otherwise
    return _Client(address, host, host, before.mail_from, before.spf_domain, result)


def _author(chance: random.Random, domain: str) -> str:
    given, family = words(chance, 2, 2).title().split()
    name = f"{given} {family}" if chance.random() < 0.7 else f'"{family}, {given}"'
    return f"{name} <{chance.choice(WORDS)}@{domain}>"


def _core_fields(chance: random.Random, author_domain: str, rcpt: str, date: datetime) -> list[tuple[str, str]]:
    subject = words(chance, 3, 9).capitalize()
    if chance.random() < 0.2:
        subject = f"=?UTF-8?B?{base64.b64encode(f'{subject[:40]} ü'.encode()).decode()}?="
    return [
        ("To", f"<{rcpt}>" if chance.random() < 0.5 else rcpt),
        ("Subject", subject),
        ("Date", format_datetime(date)),
        ("Message-ID", f"<{chance.getrandbits(96):024x}@{author_domain}>"),
    ]


def _received(chance: random.Random, sender: Organization, rcpt: str, date: datetime) -> Iterator[tuple[str, str]]:
    for hop in range(chance.randint(1, 4)):
        application = f"app{hop}.{sender.name}"
        came = f"from {application} ({application} [10.{hop}.0.{hop + 1}])"
        to = f"by {sender.servers[0][0]} (Postfix) with ESMTPS id {chance.getrandbits(40):010X}"
        when = format_datetime(date - timedelta(seconds=3 * hop))
        yield "Received", f"{came}\r\n\t{to}\r\n\tfor <{rcpt}>; {when}"


def _optional_fields(chance: random.Random, sender: Organization) -> list[tuple[str, str]]:
    domain, provider = sender.name, sender.provider.name
    return [
        ("Reply-To", f"reply-{chance.getrandbits(24)}@{domain}"),
        ("X-Mailer", f"Mailer {chance.randint(1, 9)}.{chance.randint(0, 9)}"),
        (
            "List-Unsubscribe",
            f"<mailto:unsubscribe@{domain}>,\r\n <https://click.{provider}/{chance.getrandbits(90):x}>",
        ),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("X-Campaign-ID", f"{chance.getrandbits(48):x}"),
        ("Feedback-ID", f"{chance.getrandbits(20)}:{chance.getrandbits(16)}:{chance.choice(WORDS)}:{provider}"),
        ("Precedence", "bulk"),
        ("X-Entity-Ref-ID", f"{chance.getrandbits(128):032x}"),
        ("Auto-Submitted", "auto-generated"),
        ("In-Reply-To", f"<{chance.getrandbits(96):024x}@{RECEIVER}>"),
        (
            "References",
            "\r\n ".join(f"<{chance.getrandbits(96):024x}@{RECEIVER}>" for _ in range(chance.randint(1, 4))),
        ),
        ("Thread-Index", base64.b64encode(chance.randbytes(22)).decode()),
        ("Content-Language", "en-US"),
        ("X-Originating-IP", f"[10.1.{chance.randint(0, 255)}.{chance.randint(0, 255)}]"),
        ("X-Report-Abuse", f"Please report abuse to https://{provider}/report?x={chance.getrandbits(128):x}"),
        ("X-Priority", "3"),
        ("User-Agent", f"Mail/{chance.randint(60, 140)}"),
    ]


def _signed(chance: random.Random, sender: Organization, kind: str, author_domain: str, raw: bytes) -> _Signed:
    """The message with its DKIM signatures, the last one on top."""
    own = author_domain if chance.random() < (0.8 if sender.strict_dkim else 0.4) else sender.name
    provider = sender.provider
    by_kind: dict[str, list[tuple[str, SigningKey | None]]] = {
        "rsa-1024": [(own, sender.keys.get("rsa-1024"))],
        "ed25519": [(own, sender.keys.get("ed25519")), (own, sender.keys["rsa-2048"])][: chance.choice([1, 2, 2])],
        "double": [(own, sender.keys["rsa-2048"]), (provider.name, provider.key)],
        "third party": [(provider.name, provider.key)],
        "unsigned": [],
    }
    names = list(SIGNED) + [name for name in SIGNED_IF_PRESENT if f"\r\n{name}: ".encode() in raw]
    # An oversigned field is in h= once more than in the header (RFC 6376 8.15).
    names += ["From"] * (chance.random() < 0.25)
    canonicalization = pick(chance, CANONICALIZATIONS)
    domains = []
    for domain, key in by_kind.get(kind, [(own, sender.keys["rsa-2048"])]):
        assert key, "the sender was chosen by its keys"
        raw = _signature(raw, domain, key, names, canonicalization) + raw
        domains.append(domain)
    if kind != "broken":
        return _Signed(raw, tuple(dict.fromkeys(domains)))
    middle = (raw.index(b"\r\n\r\n") + len(raw)) // 2
    changed = raw + b"-- \r\nfooter\r\n" if chance.random() < 0.5 else raw[:middle] + b"X" + raw[middle:]
    return _Signed(changed, ())


def _signature(raw: bytes, domain: str, key: SigningKey, names: list[str], canonicalization: str) -> bytes:
    # dkimpy dates a signature with the clock; the same corpus must have the same bytes tomorrow.
    with patch.object(dkim, "time", SimpleNamespace(time=START.timestamp)):
        field: bytes = dkim.DKIM(raw, signature_algorithm=key.algorithm).sign(
            key.selector.encode(),
            domain.encode(),
            key.private,
            canonicalize=tuple(canonicalization.encode().split(b"/")),
            include_headers=[name.lower().encode() for name in names],
        )
    return field


def _seal(relay: Relay, raw: bytes, date: datetime) -> list[bytes]:
    """The fields of the next ARC Set."""
    fields: list[bytes] = dkim.ARC(raw).sign(
        relay.key.selector.encode(),
        relay.name.encode(),
        relay.key.private,
        relay.servers[0][0].encode(),
        include_headers=[name.lower().encode() for name in SIGNED],
        timestamp=int(date.timestamp()),
    )
    assert fields, "dkimpy sealed nothing"
    return fields


def _dmarc(sender: Organization, author_domain: str, client: _Client, signing_domains: tuple[str, ...]) -> str:
    """RFC 9989 4.4, 4.7: a record of the Author Domain's own counts before the one of its organization."""
    if not sender.policy:
        return "none"
    has_own_record = author_domain != sender.name and bool(sender.news_policy)

    def is_aligned(domain: str, *, strict: bool) -> bool:
        if strict and not has_own_record:
            return domain == author_domain
        return domain == sender.name or domain.endswith(f".{sender.name}")

    by_spf = client.spf == "pass" and is_aligned(client.spf_domain, strict=sender.strict_spf)
    by_dkim = any(is_aligned(domain, strict=sender.strict_dkim) for domain in signing_domains)
    return "pass" if by_spf or by_dkim else "fail"
