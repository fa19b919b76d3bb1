"""The second opinion of pyspf, dkimpy and authheaders: agreement, differences and their causes, and what they raise."""

from datetime import UTC, datetime
from ipaddress import ip_address

import dkim
import pytest
import spf

from dmarcmilter.mail import message_file
from dmarcmilter.mail.message import Message
from dmarcmilter.pipeline import read
from dmarcmilter.second_opinion import libraries, opinions_on
from dmarcmilter.second_opinion import opinion as opinion_module
from tests.support import dkimpy_oracle, outcomes, signing
from tests.support.zone import Zone

ADDRESS = "192.0.2.1"
ZONE = {
    "_dmarc.example.com": "v=DMARC1; p=reject",
    "example.com": f"v=spf1 ip4:{ADDRESS} -all",
    "sel._domainkey.example.com": dkimpy_oracle.record().decode(),
    "arc._domainkey.hop1.example": dkimpy_oracle.record().decode(),
    "_dmarc.my-bank.example": "v=DMARC1; p=reject",
    "my-bank.example": "v=spf1 -all",
    "mx.example": "v=spf1 mx -all",
}
BODY = b"Hello.\r\n"


def text(author="u@example.com", more=b""):
    return more + f"From: {author}\r\nTo: v@example.net\r\nSubject: Hi\r\n".encode() + b"\r\n" + BODY


def signed(message, **options):
    field = dkim.sign(message, b"sel", b"example.com", dkimpy_oracle.pem(), **options)
    return field + message


def changed_tag(body=BODY, **tags):
    """A message with a signature of the tests' own making, for what dkimpy does not sign."""
    message = text().removesuffix(BODY) + body
    own = {"d": "example.com", "t": None} | tags
    field = signing.dkim(message_file.parse(message).headers, body, **own)
    return field.name + b":" + field.value + b"\r\n" + message


def opinions(raw, zone=ZONE, *, failed=(), client=ADDRESS, mail_from=b"u@example.com", helo=b"mta.example.net"):
    """Each opinion on a message by what it is about."""
    lookup = Zone(zone, failed)
    parsed = message_file.parse(raw)
    address = ip_address(client) if client else None
    envelope = outcomes.envelope(received_at=datetime.now(UTC), client_ip=address, mail_from=mail_from, helo=helo)
    message = Message(envelope, parsed.headers, len(raw))
    reading = read(message.headers)
    reading.body.feed(parsed.body)
    outcome = outcomes.processed(message, reading, lookup, outcomes.settings())
    return {opinion.what: opinion for opinion in opinions_on(outcome, parsed, lookup)}


def results(opinions):
    return {what: (opinion.ours, opinion.theirs, opinion.same) for what, opinion in opinions.items()}


def test_agreement_on_a_signed_message():
    answers = opinions(signed(text()))
    assert results(answers) == {
        "SPF": ("pass", "pass", True),
        "DKIM signature 1": ("pass", "pass", True),
        "ARC": ("none", "none", True),
        "DMARC": ("pass", "pass", True),
    }
    assert [opinion.by for opinion in answers.values()] == ["pyspf", "dkimpy", "dkimpy", "authheaders"]
    assert answers["SPF"].line() == "same: SPF: ours pass, pyspf pass"


def test_agreement_on_an_unsigned_forgery():
    assert results(opinions(text(), client="198.51.100.7")) == {
        "SPF": ("fail", "fail", True),
        "ARC": ("none", "none", True),
        "DMARC": ("fail", "fail", True),
    }


def test_agreement_on_a_sealed_message():
    assert results(opinions(dkimpy_oracle.sealed_message()))["ARC"] == ("pass", "pass", True)


def test_each_signature_has_its_opinion():
    message = signed(text())
    both = results(opinions(b"DKIM-Signature: v=1; d=example.com\r\n" + message))
    ours, theirs, same = both["DKIM signature 1"]
    assert (ours, same) == ("neutral", True)
    assert theirs.startswith("raised ValidationError: ")
    assert both["DKIM signature 2"] == ("pass", "pass", True)


def test_a_signature_that_verifies_for_neither_is_agreement():
    """dkimpy has one word for it."""
    message = signed(text())
    for damaged, word in ((message.replace(b"Hi", b"Ho"), "fail"), (message.replace(b"s=sel", b"s=no"), "permerror")):
        assert results(opinions(damaged))["DKIM signature 1"] == (word, "fail", True)


def test_without_a_client_spf_is_not_asked():
    assert "SPF" not in opinions(text(), client=None)


def test_more_signatures_than_are_evaluated_are_not_asked():
    answers = opinions(b"DKIM-Signature: v=1; d=example.com\r\n" * 30 + text())["DKIM"]
    assert (answers.theirs, answers.same, answers.cause) == (
        "not asked",
        False,
        "Of 30 signatures, not all are evaluated.",
    )


DIFFERENCES = {
    # authheaders reads my-bank.example as my, and finds no policy.
    "a hyphen in From": (
        {"raw": text("ceo@my-bank.example")},
        "DMARC",
        ("fail", "none"),
        "authheaders reads a domain in From up to",
    ),
    "l= leaves the end of the body unsigned": (
        {"raw": signed(text(), length=True) + b"More.\r\n"},
        *("DKIM signature 1", ("policy", "pass"), "dkimpy accepts an l= that leaves the end of the body unsigned"),
    ),
    "c= in upper case": (
        {"raw": changed_tag(c="Relaxed/Relaxed")},
        *("DKIM signature 1", ("pass", "raised MessageFormatError: "), "dkimpy reads c= in lower case"),
    ),
    "a list in q=": (
        {"raw": changed_tag(q="dns/txt:dns/other")},
        *("DKIM signature 1", ("pass", "raised ValidationError: "), "dkimpy reads q= in lower case only, and no list"),
    ),
    "a= in upper case": (
        {"raw": changed_tag(a="RSA-SHA256")},
        *("DKIM signature 1", ("pass", "raised ValidationError: "), "dkimpy reads a= in lower case only"),
    ),
    "a field name that is not ASCII": (
        {"raw": "Bücher: x\r\n".encode() + signed(text())},
        *("DKIM signature 1", ("pass", "raised MessageFormatError: "), "dkimpy refuses messages with a field name"),
    ),
    "a line feed alone in the body": (
        {"raw": changed_tag(body=b"Hello.\r\nA\nB\r\n")},
        *("DKIM signature 1", ("pass", "raised ValidationError: body hash"), "dkimpy takes a CR or LF alone"),
    ),
    "From is not signed": (
        {"raw": changed_tag(h="to:subject")},
        *("DKIM signature 1", ("permerror", "pass"), "dkimpy accepts signatures that do not cover From"),
    ),
    "two key records": (
        {
            "raw": signed(text()),
            "zone": ZONE | {"sel._domainkey.example.com": ["other text", dkimpy_oracle.record().decode()]},
        },
        *("DKIM signature 1", ("pass", "fail"), "Of several TXT records"),
    ),
    "the key cannot be looked up": (
        {"raw": signed(text()), "failed": ["sel._domainkey.example.com"]},
        *("DKIM signature 1", ("temperror", "fail"), "dkimpy has no result for a key that DNS does not give"),
    ),
    "the policy cannot be looked up": (
        {"raw": text(), "failed": ["_dmarc.example.com"]},
        *("DMARC", ("temperror", "raised DnsTimeoutError: DNS timeout"), "authheaders has no result for a failed DNS"),
    ),
    "an @ within quotes": (
        {"raw": text(), "mail_from": b'"a@b"@example.com'},
        *("SPF", ("pass", "none"), "pyspf takes the domain of MAIL FROM from its first"),
    ),
    "a single-label HELO name": (
        {"raw": text(), "zone": ZONE | {"host": "v=spf1 +all"}, "mail_from": b"", "helo": b"host"},
        *("SPF", ("none", "pass"), "This program checks no name that is not a domain name of two labels"),
    ),
    "a policy record with another version": (
        {"raw": text(), "zone": ZONE | {"_dmarc.example.com": "v=DMARC1x; p=reject"}},
        *("DMARC", ("none", "pass"), "authheaders accepts some policy records that are not valid"),
    ),
    "an Organizational Domain below a top-level domain that is not listed": (
        {"raw": text("u@sub.bank.example"), "zone": ZONE | {"_dmarc.bank.example": "v=DMARC1; p=reject"}},
        *("DMARC", ("fail", "none"), "authheaders finds Organizational Domains by a public suffix list of its own"),
    ),
    "two signatures": (
        {"raw": signed(text()).join([b"DKIM-Signature: v=1; d=example.com\r\n", b""]), "client": "198.51.100.7"},
        *("DMARC", ("pass", "fail"), "authheaders evaluates the first DKIM signature alone"),
    ),
    "MX hosts without an address": (
        {
            "raw": text(),
            "zone": ZONE | {"mx.example": {"TXT": ["v=spf1 mx -all"], "MX": [(1, f"m{n}.example") for n in range(3)]}},
            "mail_from": b"u@mx.example",
        },
        *("SPF", ("fail", "permerror"), "pyspf counts each host of mx"),
    ),
}


@pytest.mark.parametrize(("case", "what", "words", "cause"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_a_difference_has_its_cause(case, what, words, cause):
    opinion = opinions(**case)[what]
    assert (opinion.ours, opinion.theirs.startswith(words[1]), opinion.same) == (words[0], True, False)
    assert opinion.cause.startswith(cause)
    assert opinion.line().startswith(f"different: {what}: ours {words[0]}, ")


def test_a_library_that_raises_gives_no_result():
    opinion = opinions(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=sel; h=from; bh=a===; b=a===\r\n" + text()
    )["DKIM signature 1"]
    assert opinion.theirs.startswith("raised ")
    no_author = opinions(b"To: v@example.net\r\n\r\n" + BODY)["DMARC"]
    assert (no_author.ours, no_author.same) == ("permerror", False)
    assert no_author.theirs.startswith("raised UnboundLocalError: ")


def test_a_signature_that_names_no_key_has_none_looked_up():
    """A name made of what is missing could be anybody's."""
    zone = ZONE | {"None._domainkey.None": ["v=DKIM1; p=", "v=DKIM1; p="]}
    field = b"DKIM-Signature: v=1; a=rsa-sha256; d=.; s=.; x=%s; h=from; bh=AAAA; b=AAAA\r\n" % (b"9" * 5000)
    signature = opinions(text(more=field), zone)["DKIM signature 1"]
    assert (signature.ours, signature.same) == ("neutral", False)
    assert "several TXT records" not in signature.cause


def test_an_exception_of_any_kind_is_an_answer(monkeypatch):
    def broken(*_arguments, **_options):
        raise RecursionError("too deep")

    monkeypatch.setattr(libraries.spf, "check2", broken)
    opinion = opinions(text())["SPF"]
    assert (opinion.theirs, opinion.same) == ("raised RecursionError: too deep", False)
    assert opinion.cause == "The library broke off, which says nothing about the message."


def test_a_difference_of_unknown_cause_says_so(monkeypatch):
    monkeypatch.setattr(libraries.spf, "check2", lambda *_: ("neutral", ""))
    assert opinions(text())["SPF"].line() == "different: SPF: ours pass, pyspf neutral. The cause is not known."


@pytest.mark.parametrize("hostile", [b"\x1b[2J\x07", b"\xe2\x80\xae", b"\xff\x00", b"\r\n same: DKIM"])
def test_hostile_text_in_an_exception_is_escaped_and_cut(hostile):
    tags = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=sel; h=from; q=" + hostile + b"; bh=YQ==; b=YQ==\r\n"
    for raw in (tags, tags.replace(b"q=", b"q=" + b"x" * 5000)):
        opinion = opinions(raw + text())["DKIM signature 1"]
        assert opinion.theirs.startswith("raised ValidationError: q= value is not dns/txt")
        assert opinion.theirs.isascii()
        assert opinion.theirs.isprintable()
        assert len(opinion.theirs) < 2000
        assert len(opinion.line().splitlines()) == 1


def test_a_header_field_that_dkimpy_would_read_for_minutes(monkeypatch):
    monkeypatch.setattr(libraries, "MAX_CPU_SECONDS", 0.1)
    field = b"DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=sel; h=from; bh=YQ==; b=A" + b" " * 58000 + b"!\r\n"
    opinion = opinions(field + text())["DKIM signature 1"]
    assert (opinion.theirs, opinion.same) == ("stopped after 0.1 seconds", False)


def test_a_line_that_dkimpy_would_read_for_hours():
    opinion = opinions(signed(text()) + b" " * opinion_module.MAX_LINE + b"x\r\n")
    assert list(opinion) == ["SPF", "DMARC"]
    assert (opinion["DMARC"].theirs, opinion["DMARC"].same) == ("not asked", False)
    assert "very long" in opinion["DMARC"].cause


def test_all_names_are_looked_up_with_our_lookup_and_pyspf_has_its_own_back(monkeypatch):
    def refused(*_arguments, **_options):
        raise AssertionError("a query that goes around our lookup")

    monkeypatch.setattr(spf, "DNSLookup", refused)
    answers = opinions(signed(text()))
    assert all(opinion.same for opinion in answers.values())
    assert spf.DNSLookup is refused
