r"""The world around a message: a zone, an envelope and a site, each from a few octets of fuzzer input.

A zone is lines of `name TYPE data`; the data `!` stands for a server failure, `\n` in it for a line end.
An envelope is one line of tab-separated client address, HELO name, reverse-path, and `psl` for discovery by list.
"""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from dmarcmilter.config.schema import PolicySection
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dns.lookup import Answer, Lookup
from dmarcmilter.mail.message import Envelope
from dmarcmilter.receiver import Receiver
from dmarcmilter.response.reply_templates import ReplyTexts
from tests.support import outcomes
from tests.support.zone import Zone

FAILURE = "!"
MAX_RECORDS = 60
"""Lines of a zone that are read: the fake DNS is not fast."""


class AnyCaseZone(Zone):
    """Letter case does not matter in DNS (RFC 4343)."""

    def __call__(self, name: str, rdtype: str) -> Answer:
        return super().__call__(name.lower(), rdtype)


def zone(text: bytes) -> Zone:
    records: dict[str, dict[str, list[object]]] = {}
    failed: list[str] = []
    for line in text.decode("latin-1").split("\n", MAX_RECORDS)[:MAX_RECORDS]:
        name, rdtype, data = [*line.split(" ", 2), "", ""][:3]
        name = name.lower()
        if data == FAILURE:
            failed.append(name if rdtype == "*" else f"{name} {rdtype}")
        elif rdtype and (rdtype not in ("A", "AAAA") or _is_address(data)):
            records.setdefault(name, {}).setdefault(rdtype, []).append(_data(rdtype, data))
    return AnyCaseZone(records, failed)


def _is_address(text: str) -> bool:
    """The resolver hands over nothing else."""
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def _data(rdtype: str, data: str) -> object:
    if rdtype == "MX":
        preference, _, host = data.partition(" ")
        return (int(preference) if preference.isascii() and preference.isdigit() else 0, host)
    return data.replace("\\n", "\n") if rdtype == "TXT" else data


def zone_text(table: dict[str, dict[str, Any]]) -> bytes:
    """The zone of a shared vector in our form."""
    lines: list[str] = []
    for name, types in table.items():
        for rdtype, data in types.items():
            if rdtype == "_":
                broken = data if isinstance(data, dict) else {"*": data}
                lines += [f"{name} {kind} {FAILURE}" for kind in broken]
            else:
                lines += [f"{name} {rdtype} {_data_text(rdtype, item)}" for item in data]
    return "\n".join(lines).encode("latin-1", "replace")


def _data_text(rdtype: str, item: Any) -> str:
    if rdtype == "MX":
        return f"{item[0]} {item[1]}"
    return ("".join(item) if isinstance(item, list) else str(item)).replace("\n", "\\n")


def envelope(line: bytes) -> tuple[Envelope, Method]:
    client, helo, sender, method = [*line.split(b"\t"), b"", b"", b"", b""][:4]
    try:
        address = ip_address(client.decode("latin-1").partition("%")[0])
    except ValueError:
        address = None
    made = outcomes.envelope(client_ip=address, helo=helo, mail_from=sender, recipients=(b"v@mx.test.example",))
    return made, Method.PSL if method == b"psl" else Method.TREEWALK


def envelope_text(vector: dict[str, Any]) -> bytes:
    sender = vector.get("mail_from") or ""
    discovery = (vector.get("conf") or {}).get("discovery")
    words = [vector.get("client_ip", "192.0.2.1"), vector.get("helo") or "mx.example.net", sender.strip("<>")]
    return "\t".join([*words, "psl" if discovery == "rfc7489" else ""]).encode("latin-1", "replace")


def receiver(method: Method, **rules: Any) -> Receiver:
    policy = PolicySection()
    texts = ReplyTexts(policy.reject_text, policy.author_text, policy.defer_text, "https://example.net/why")
    settings = outcomes.settings(
        rules=outcomes.rules(**rules),
        texts=texts,
        further_ids=("b\u00fccher.example",),
        method=method,
        sampling_key=b"k" * 32,
        host_name="mx.test.example",
    )
    return outcomes.receiver(settings, authserv_id="mx.test.example")


def counted(lookup: Lookup, limit: int) -> Callable[[str, str], Answer]:
    """The lookup, with an end: more than so many different questions is a bug."""
    asked: set[tuple[str, str]] = set()

    def ask(name: str, rdtype: str) -> Answer:
        asked.add((name, rdtype))
        assert len(asked) <= limit, f"more than {limit} different questions"
        return lookup(name, rdtype)

    return ask
