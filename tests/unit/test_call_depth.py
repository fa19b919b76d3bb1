"""No input makes calls nest deeply. Compiled code has no recursion limit: a call too deep would end the worker.

libmilter's threads have 8 MB of stack, or 2 MB where `ulimit -s` is unlimited. Here the inputs with the most levels are
read with a small part of that.
"""

import threading
from ipaddress import ip_address

import pytest

from dmarcmilter.auth import authentication_results_reader, spf
from dmarcmilter.auth.forged_authentication_results import forged
from dmarcmilter.auth.results import SpfWord
from dmarcmilter.auth.spf_plain import MAX_LOOKUPS
from dmarcmilter.dmarc.author import AuthorProblem, author_domain
from dmarcmilter.dmarc.discovery import Method
from dmarcmilter.dns.wire_names import MAX_POINTERS, read_name
from dmarcmilter.mail.address_list import MAX_FIELD
from dmarcmilter.mail.message import Header
from dmarcmilter.pipeline import process, read
from dmarcmilter.reasons import Code, Reason
from dmarcmilter.value import replace
from tests.support import outcomes
from tests.support.zone import Zone

STACK = 128 * 1024
"""Bytes of stack: a sixteenth of the least that libmilter's threads have."""
LEVELS = 5000
"""Nested comments and the like; a message may have as many."""


def with_little_stack(function, *arguments, **keywords):
    """The result of a call in a thread with STACK bytes; one too deep ends the process."""
    results = []
    before = threading.stack_size(STACK)
    try:
        thread = threading.Thread(target=lambda: results.append(function(*arguments, **keywords)))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    (result,) = results
    return result


@pytest.mark.parametrize(
    "body",
    [
        b"(" * LEVELS + b")" * LEVELS + b" <a@b.example>",
        b"(" * MAX_FIELD,
        b"(\\(" * LEVELS + b")" * LEVELS + b"a@b.example",
        b"a: " * LEVELS + b"a@b.example" + b";" * LEVELS,
        b"<" * LEVELS + b"a@b.example" + b">" * LEVELS,
        b"[" * LEVELS + b"]" * LEVELS,
        b'"a\\"' * LEVELS,
        b"=?utf-8?Q?" * LEVELS + b"a@b.example" + b"?=" * LEVELS,
        b"@a," * LEVELS + b":a@b.example",
    ],
)
def test_from_field(body):
    author = with_little_stack(author_domain, [Header(b"From", body)], rewrites=True)
    assert author.problem in (None, AuthorProblem.MALFORMED, AuthorProblem.SEVERAL_FIELDS)


@pytest.mark.parametrize("opening", [b"(", b"(\\(", b'("'])
def test_authentication_results(opening):
    value = b" mx.example; dmarc=pass " + opening * LEVELS + b")" * LEVELS
    assert with_little_stack(forged, [value, opening * LEVELS + value], ["mx.example"]) == (2, 1)
    assert with_little_stack(authentication_results_reader.parse, value.strip()) is not None


@pytest.mark.parametrize("links", [MAX_POINTERS, MAX_POINTERS + 1, 8000])
def test_compressed_names(links):
    """A chain of pointers, each to the one before (RFC 1035 4.1.4)."""
    wire = b"\0" + b"".join((0xC000 + max(0, at - 2)).to_bytes(2, "big") for at in range(1, 1 + 2 * links, 2))
    if links <= MAX_POINTERS:
        assert with_little_stack(read_name, wire, len(wire) - 2) == (b"\0", len(wire))
    else:
        assert with_little_stack(_refuses, wire)


def _refuses(wire):
    try:
        read_name(wire, len(wire) - 2)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize("term", ["include:{} -all", "redirect={}", "a:{} include:{} ~all", "include:{} ptr -all"])
@pytest.mark.parametrize("loop", [False, True])
def test_spf_records_that_name_each_other(term, loop):
    names = [f"n{number}.example" for number in range(2 if loop else LEVELS)]
    following = [*names[1:], names[0]]
    records = {
        name: {"TXT": [f"v=spf1 {term.format(next_name, next_name)}"], "A": ["198.51.100.1"]}
        for name, next_name in zip(names, following, strict=True)
    }
    zone = Zone(records)
    envelope = outcomes.envelope(client_ip=ip_address("192.0.2.1"), mail_from=b"a@n0.example")
    result = with_little_stack(spf.check, envelope, zone, receiver="mx.example")
    assert result.result is SpfWord.PERMERROR
    assert len({name for name, rdtype in zone.asked if rdtype == "TXT"}) <= MAX_LOOKUPS + 2


@pytest.mark.parametrize("method", [Method.TREEWALK, Method.PSL])
def test_whole_message(method):
    author = ".".join("a" * 120) + ".example"
    nested = b"(" * LEVELS + b")" * LEVELS
    names = (
        b"DKIM-Signature",
        b"ARC-Seal",
        b"ARC-Message-Signature",
        b"Authentication-Results",
        b"List-Id",
        b"Subject",
    )
    headers = (
        Header(b"From", f" u@{author}".encode()),
        *(Header(name, b" " + nested) for name in names),
        Header(b"ARC-Authentication-Results", nested + b" i=1; " + nested),
        *(Header(b"Received", b" from " + nested + b" by " + nested) for _ in range(50)),
    )
    message = replace(outcomes.message(mail_from=f"u@{author}".encode()), headers=headers)
    zone = Zone({"_dmarc.example": {"TXT": ["v=DMARC1; p=reject"]}})
    settings = outcomes.settings(method=method)

    def recorded():
        return process(message, read(headers), zone, settings, authserv_id="mx.example")[0].record()

    record = with_little_stack(recorded)
    assert (record.author_domain, record.dmarc.result) == (author, "fail" if method is Method.TREEWALK else "none")


def test_reasons_within_reasons():
    """Made by this program; the deepest has three levels."""
    reason = Reason.of(Code.KEY_MISSING)
    for _ in range(20):
        reason = Reason.of(Code.ARC_SEAL, number=1, reason=reason)
    assert with_little_stack(str, reason).endswith(str(Reason.of(Code.KEY_MISSING)))
    assert with_little_stack(repr, reason)
    assert with_little_stack(hash, reason) == hash(reason)
