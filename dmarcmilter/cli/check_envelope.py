"""The envelope of a message in a file: from the options, else from Return-Path, Received and the mbox separator."""

import os
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address

from dmarcmilter.mail import mbox, received
from dmarcmilter.mail.domain import Domain
from dmarcmilter.mail.message import Envelope, path_of
from dmarcmilter.mail.message_file import MailFile
from dmarcmilter.outcome import shown
from dmarcmilter.value import Value


class Given(Value):
    """The options that describe the envelope; None: not given."""

    client: IPv4Address | IPv6Address | None
    helo: str | None
    mail_from: str | None
    recipients: tuple[str, ...]
    queue_id: str


class Source(Value):
    """Where the parts of an envelope are from: a word for JSON each, and sentences for people."""

    client: str
    mail_from: str
    text: str


def envelope_of(
    parsed: MailFile,
    stored: mbox.Stored,
    given: Given,
    *,
    own_names: Collection[Domain],
    is_own: Callable[[IPv4Address | IPv6Address], bool],
) -> tuple[Envelope, Source]:
    """Make the envelope from the options, and what they leave open from the message; say where each part is from.

    `own_names` and `is_own` tell the names and addresses of the receiver's hosts.
    """
    entry = received.entry(parsed.headers, own_names, is_own)
    if given.client is not None and entry is not None and entry.hop.client != given.client:
        entry = None  # the field is about another client
    client, helo = given.client, given.helo
    if client is None and entry is not None:
        client = entry.hop.client
    if helo is None:
        helo = os.fsdecode(entry.hop.helo) if entry is not None else ""
    sender, sender_source = _sender(parsed, stored, given, entry)
    client_source = _client_source(given, entry)
    envelope = Envelope(
        queue_id=given.queue_id,
        received_at=datetime.now(UTC),
        # Without a sender there is no identity that SPF could check: the HELO name is for bounces only.
        client_ip=client if sender is not None else None,
        client_name="",
        helo=helo.encode("utf-8", "surrogateescape"),
        mail_from=sender or b"",
        recipients=tuple(path_of(recipient.encode("utf-8", "surrogateescape")) for recipient in given.recipients),
    )
    text = _source_text(envelope, entry, client_source, sender_source)
    return envelope, Source(client_source, sender_source, text)


def _client_source(given: Given, entry: received.NetworkEntry | None) -> str:
    if given.client is not None:
        return "option"
    if entry is None:
        return "unknown"
    return "received" if entry.is_ours else "guess"


def _sender(
    parsed: MailFile, stored: mbox.Stored, given: Given, entry: received.NetworkEntry | None
) -> tuple[bytes | None, str]:
    """Return the reverse-path (None: unknown) and where it is from."""
    if given.mail_from is not None:
        return path_of(given.mail_from.encode("utf-8", "surrogateescape")), "option"
    index, value = next(
        ((index, header.value) for index, header in enumerate(parsed.headers) if header.key == b"return-path"), (0, b"")
    )
    if value:
        # Final delivery writes Return-Path above all Received fields; the sender may have written one below them.
        is_above = entry is not None and index < entry.index
        return path_of(value.strip()), "return_path" if is_above else "guess"
    if entry is not None and entry.hop.mail_from is not None:
        return entry.hop.mail_from, "received" if entry.is_ours else "guess"
    if stored.sender:
        return b"" if stored.sender in (b"MAILER-DAEMON", b"<>") else path_of(stored.sender), "mbox"
    return None, "unknown"


def _source_text(
    envelope: Envelope, entry: received.NetworkEntry | None, client_source: str, sender_source: str
) -> str:
    """Sentences on what was taken from where; empty: the options gave all of it."""
    lines = []
    if client_source in ("received", "guess") and entry is not None:
        by = f"written by {entry.hop.by}" if entry.hop.by else "of a host without a name"
        sure = "a host of yours" if entry.is_ours else "not known as a host of yours: a guess"
        address = entry.hop.client
        lines.append(f"Client {address}, HELO {shown(envelope.helo)}: from the newest Received field, {by}, {sure}.")
    elif client_source == "unknown":
        lines.append("Client unknown: no Received field names one outside of [ignore] networks; give --ip and --helo.")
    where = {
        "return_path": "from Return-Path",
        "received": "from the Received field",
        "mbox": "from the mbox separator",
        "guess": "from a field that the sender may have written: a guess",
    }
    if sender_source in where:
        lines.append(f"MAIL FROM <{shown(envelope.mail_from)}>: {where[sender_source]}.")
    elif sender_source == "unknown":
        lines.append("MAIL FROM unknown: there is no Return-Path; give --mail-from.")
    if "unknown" in (client_source, sender_source):
        lines.append("SPF is not checked.")
    return "\n".join(lines)
