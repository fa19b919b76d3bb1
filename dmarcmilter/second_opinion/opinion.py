"""Opinion: what a library says about one result, beside ours; and the opinions on a whole message."""

import functools

from dmarcmilter.auth.results import DkimResult, DkimWord
from dmarcmilter.dns.lookup import Lookup
from dmarcmilter.mail.message_file import MailFile
from dmarcmilter.outcome import Outcome
from dmarcmilter.second_opinion import known_differences, libraries
from dmarcmilter.second_opinion.libraries import LibraryAnswer, answer_of
from dmarcmilter.value import Value

UNKNOWN_CAUSE = "The cause is not known."
MAX_LINE = 100_000
"""Longest line of a message, in bytes, that dkimpy and authheaders are asked about; with a longer one they are not.

They take time quadratic in its length, within one regular expression that the limit on CPU time ends only now and then.
"""


class Opinion(Value):
    """What a library says, beside our result."""

    what: str
    """SPF, DKIM signature 1 and so on, ARC, DMARC."""
    by: str
    """The library."""
    ours: str
    theirs: str
    """Its result, or what it raised. Printable ASCII."""
    same: bool
    cause: str = ""
    """A sentence on why the two may differ; empty: they do not, or it is not known."""

    def line(self) -> str:
        """The opinion in one line, which begins with whether it is the same."""
        line = f"{self.what}: ours {self.ours}, {self.by} {self.theirs}"
        return f"same: {line}" if self.same else f"different: {line}. {self.cause or UNKNOWN_CAUSE}"


def opinions_on(outcome: Outcome, parsed: MailFile, lookup: Lookup) -> tuple[Opinion, ...]:
    """Ask the libraries about a message that this program has evaluated.

    `lookup` limits the DNS time and queries of all of them together. Without a client address SPF is not checked.
    """
    opinions = []
    if outcome.message.envelope.client_ip is not None:
        opinions.append(_on_spf(outcome, lookup))
    raw = b"".join(b"%s:%s\r\n" % (field.name, field.value) for field in parsed.headers) + b"\r\n" + parsed.body
    if outcome.message.truncated or max(map(len, raw.split(b"\n"))) > MAX_LINE:
        cause = "dkimpy and authheaders would take very long for a header or a line of this length."
        opinions.append(
            Opinion("DMARC", "authheaders", outcome.evaluation.result, "not asked", same=False, cause=cause)
        )
        return tuple(opinions)
    opinions += _on_signatures(outcome, parsed, raw, lookup)
    opinions.append(_on_chain(outcome, parsed, raw, lookup))
    opinions.append(_on_dmarc(outcome, raw, lookup, has_difference=not all(opinion.same for opinion in opinions)))
    return tuple(opinions)


def _on_spf(outcome: Outcome, lookup: Lookup) -> Opinion:
    envelope, ours = outcome.message.envelope, outcome.auth.spf
    theirs = answer_of(functools.partial(libraries.spf_by_pyspf, envelope, lookup))
    same = theirs.word == ours.result
    cause = "" if same else known_differences.on_spf(ours, theirs, envelope)
    return Opinion("SPF", "pyspf", ours.result, theirs.text, same, cause)


def _on_signatures(outcome: Outcome, parsed: MailFile, raw: bytes, lookup: Lookup) -> list[Opinion]:
    results = outcome.auth.dkim
    signatures = sum(field.key == b"dkim-signature" for field in parsed.headers)
    if signatures != len(results):
        # Which of the fields our results are about is not recorded, and dkimpy hashes the body for each.
        cause = f"Of {signatures} signatures, not all are evaluated."
        return [Opinion("DKIM", "dkimpy", f"{len(results)} results", "not asked", same=False, cause=cause)]
    opinions = []
    for index, ours in enumerate(results):
        theirs = answer_of(functools.partial(libraries.signature_by_dkimpy, raw, index, lookup))
        same = _is_same_verdict(ours.result, theirs)
        cause = ""
        if not same:
            cause = known_differences.on_signature(ours, theirs, parsed.body, keys=_key_records(ours, lookup))
        opinions.append(Opinion(f"DKIM signature {index + 1}", "dkimpy", ours.result, theirs.text, same, cause))
    return opinions


def _key_records(result: DkimResult, lookup: Lookup) -> int:
    """The number of TXT records at the name of the signature's key, known by now; 0 if it names none."""
    if result.selector is None or result.domain is None:
        return 0
    return len(lookup(f"{result.selector}._domainkey.{result.domain}", "TXT").texts)


def _is_same_verdict(ours: DkimWord, theirs: LibraryAnswer) -> bool:
    """Whether the signature verifies for both or for neither: dkimpy has no words for why it does not."""
    if ours is DkimWord.PASS:
        return theirs.word == "pass"
    return theirs.word == "fail" and ours is not DkimWord.TEMPERROR


def _on_chain(outcome: Outcome, parsed: MailFile, raw: bytes, lookup: Lookup) -> Opinion:
    ours = outcome.auth.arc
    theirs = answer_of(functools.partial(libraries.chain_by_dkimpy, raw, lookup))
    same = theirs.word == ours.result
    cause = "" if same else known_differences.on_chain(ours, theirs, parsed.body)
    return Opinion("ARC", "dkimpy", ours.result, theirs.text, same, cause)


def _on_dmarc(outcome: Outcome, raw: bytes, lookup: Lookup, *, has_difference: bool) -> Opinion:
    envelope, ours = outcome.message.envelope, outcome.evaluation.result
    theirs = answer_of(functools.partial(libraries.dmarc_by_authheaders, raw, envelope, lookup))
    same = theirs.word == ours
    cause = "" if same else known_differences.on_dmarc(outcome, theirs, has_difference=has_difference)
    return Opinion("DMARC", "authheaders", ours, theirs.text, same, cause)
