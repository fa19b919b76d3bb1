"""The rows of tests/cases/pipeline.toml, and what the pipeline makes of one."""

from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dns.lookup import Answer, Status
from dmarcmilter.mail.message import Message
from dmarcmilter.pipeline import read
from dmarcmilter.reasons.recorded import recognized
from dmarcmilter.value import replace
from tests.support import outcomes, signing
from tests.support.cases import case_table
from tests.support.zone import Zone

ROWS = case_table("pipeline")["row"]
BODY = b"Hello.\r\n"
KEY = signing.key_record(signing.ed25519_key()).decode()


def message_of(row):
    headers = outcomes.fields(*row.get("header", ["From: A <a@example.com>", "To: b@example.net", "Subject: x"]))
    body = BODY
    for domain in row.get("signed", ()):
        name, _, fault = domain.partition(" ")
        signed = signing.dkim(list(headers), BODY, signing.ed25519_key(), a="ed25519-sha256", d=name)
        headers = (signed, *headers)
        body = b"changed\r\n" if fault == "changed" else body
    envelope = outcomes.envelope(mail_from=row.get("from", "bounce@example.com").encode())
    # The clock of the test signatures.
    envelope = replace(envelope, received_at=outcomes.datetime.fromtimestamp(signing.NOW, outcomes.UTC))
    return Message(envelope, headers, size=100), body


def zone_of(row):
    zone = Zone(row.get("zone", {}), row.get("failed", ()))
    for name in row.get("keys", ()):
        zone.records[f"sel._domainkey.{name}"] = {"TXT": (KEY.encode(),)}
    return zone


def processed(row, **changes):
    message, body = message_of(row)
    reading = read(message.headers, truncated=row.get("truncated", ""))
    reading.body.feed(body[:3])
    reading.body.feed(body[3:])
    settings = outcomes.settings(
        rules=outcomes.rules(**row.get("rules", {})), method=Method(row.get("method", "treewalk")), **changes
    )
    zone = zone_of(row)
    # The lookup of unaligned names is out of time where the row says so.
    unaligned = out_of_time if row.get("strangers") == "out of time" else None
    return outcomes.processed(message, reading, zone, settings, unaligned=unaligned), zone


def out_of_time(_name, _rdtype):
    return Answer(Status.FAILED, reason=recognized("out of time"))


def junk(domain, count=1, **tags):
    """Signatures that verify for no key, above those that a test makes."""
    value = {"v": "1", "a": "rsa-sha256", "d": domain, "s": "s", "h": "from", "bh": "AAAA", "b": "AAAA"} | tags
    return [f"DKIM-Signature: {'; '.join(f'{name}={word}' for name, word in value.items())}"] * count


FROM = ["From: A <a@sub.example.com>", "To: b@example.net", "Subject: x"]
REJECT = {"_dmarc.example.com": "v=DMARC1; p=reject"}


CUT_OFF = {
    "signatures of the Author Domain": [*junk("sub.example.com", 11)],
    "a signature of the organization beyond ten nearer ones": [*junk("sub.example.com", 10), *junk("example.com")],
    "domains beyond those that are named": [*(line for n in range(25) for line in junk(f"d{n}.sub.example.com"))],
    "more fields than are read": [*junk("other.example", 1001)],
    "a field that is too long": [*junk("sub.example.com", zz="x" * 20_000)],
    "more names in h= than are read": [*junk("sub.example.com", h=":".join(["from"] * 301))],
}
